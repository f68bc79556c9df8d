"""A new activation is one entry in one file: everything that lists activations follows from it.

A copy of the project gets `lecun_tanh`, 1.7159 tanh(2x/3) of LeCun et al. (1998), written into its
table as text. Then `make conf` runs, and what a user, a reader and the tests see is asked for.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("lenet_bench", "conf", "docs", "tests", "pyproject.toml", "README.md")
ENTRY = """    Activation(
        name="lecun_tanh",
        formula="1.7159 tanh(2 x / 3)",
        function=lambda x: 1.7159 * (x * (2 / 3)).tanh(),
        derivative=lambda x: 1.7159 * (2 / 3) * formulas.tanh_derivative(x * (2 / 3)),
        family="sigmoidal",
        output_range=_constant((-1.7159, 1.7159)),
        gain=_constant(1.0),
        max_slope=_constant(1.7159 * 2 / 3),
        reference="LeCun, Bottou, Orr & Müller 1998, Efficient BackProp, "
        "doi:10.1007/3-540-49430-8_2",
    ),
"""
pytestmark = pytest.mark.slow

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy of the project that has the entry."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    table = folder / "lenet_bench" / "choices" / "activations.py"
    text = table.read_text(encoding="utf-8")
    end = "\n)\n\nACTIVATIONS"
    assert text.count(end) == 1
    table.write_text(text.replace(end, f"\n{ENTRY}{end[1:]}"), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def python(checkout: Path) -> Python:
    """`python("-m", "lenet_bench", ...)` with the copy of the project, after `make conf`."""
    paths = [checkout, checkout / "lenet_bench" / "plugins"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    where = run("-c", "import lenet_bench; print(lenet_bench.__file__)").stdout
    assert Path(where.strip()).is_relative_to(checkout)
    for module in ("lenet_bench.hydra_app.conf_files", "docs.site.reference"):
        done = run("-m", module)
        assert done.returncode == 0, done.stdout + done.stderr
    return run


def test_help_and_messages_list_it(python: Python) -> None:
    help_ = python("-m", "lenet_bench", "--help").stdout
    (line,) = [line for line in help_.splitlines() if line.startswith("activation: ")]
    assert "lecun_tanh" in line.partition(": ")[2].split(", ")
    refused = python("-m", "lenet_bench", "activation=lecun_tan").stderr
    assert "did you mean lecun_tanh?" in refused
    assert "lecun_tanh" in refused.partition("allowed: ")[2].split(", ")


def test_presets_that_mean_all_train_it(python: Python) -> None:
    """One seed; what a sweep would train is in its plan."""
    for preset in ("all_activations", "learning_rate", "smoke"):
        few = ("lr=0.01", "optimizer=sgd", "seed=0", "plan=true")
        done = python("-m", "lenet_bench", f"experiment={preset}", *few)
        assert "23 runs in " in done.stdout, done.stdout + done.stderr


def test_it_is_trained_like_a_users_own_module(python: Python, checkout: Path) -> None:
    """The same formula by another way: `activation=custom`."""
    (checkout / "lecun.py").write_text(
        "import torch\n\n\n"
        "class LeCunTanh(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return 1.7159 * torch.tanh(2 * x / 3)\n",
        encoding="utf-8",
    )
    done = python(
        "-m", "lenet_bench", "activation=lecun_tanh,custom", "activation.path=lecun:LeCunTanh",
        "dataset=fake", "dataset.images=150", "batch_size=16", "iterations=3", "probe.every=1",
        "probe.images=16", "precision=float64", "device=cpu", "hydra.launcher.workers=1",
        "hydra.sweep.dir=runs/sweep",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lecun_tanh" in done.stdout
    losses = {}
    for table in (checkout / "runs" / "sweep").glob("*/train.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            losses[table.parent.name.partition("-")[0]] = [
                float(row["loss"]) for row in csv.DictReader(file)
            ]
    assert len(losses["lecun_tanh"]) == 3
    assert losses["lecun_tanh"] == pytest.approx(losses["custom"], rel=1e-12)


def test_figures_give_it_a_style_of_its_own(python: Python) -> None:
    code = (
        "from lenet_bench.choices.activations import ACTIVATIONS\n"
        "from lenet_bench.reporting.palette import activation_style\n"
        "styles = {name: activation_style(name) for name in [*ACTIVATIONS, 'custom']}\n"
        "assert 'lecun_tanh' in styles\n"
        "print(len(styles), len(set(styles.values())))\n"
    )
    done = python("-c", code)
    assert done.stdout.split() == ["24", "24"], done.stderr


@pytest.mark.usefixtures("python")
def test_the_configuration_and_the_documentation_show_it(checkout: Path) -> None:
    file = (checkout / "conf" / "activation" / "lecun_tanh.yaml").read_text(encoding="utf-8")
    assert "f(x) = 1.7159 tanh(2 x / 3)" in file
    assert "doi:10.1007/3-540-49430-8_2" in file
    page = (checkout / "docs" / "activations.md").read_text(encoding="utf-8")
    assert "lecun_tanh" in page
    assert "1.7159 tanh(2 x / 3)" in page


def test_the_tests_of_the_zoo_test_it(python: Python) -> None:
    """Derivative against finite differences, range, slope, gain, dtypes, files, presets."""
    files = ("tests/choices", "tests/config", "tests/test_presets.py")
    done = python("-m", "pytest", "-rp", *files, "-k", "lecun_tanh or header or files")
    assert done.returncode == 0, done.stdout
    passed = re.findall(r"^PASSED (\S+).*lecun_tanh", done.stdout, flags=re.MULTILINE)
    assert sum("test_activations.py" in test for test in passed) >= 10, done.stdout
