"""The package: what a wheel holds and that it works elsewhere; what no tracked file may hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def tracked() -> list[Path]:
    """Files that git knows or would add, as far as they are there."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def package_files() -> set[str]:
    """Every file of the package and of conf/, relative to the checkout."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in ("lenet_bench", "conf")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [*PIP, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        check=True, cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("lenet_bench-*.whl")
    return built


def test_the_wheel_holds_all_it_needs_and_no_more(wheel: Path) -> None:
    """conf/ lies in the package, the plugin in Hydra's namespace, which has no __init__.py."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = set()
    for name in package_files():
        if name.startswith("lenet_bench/plugins/"):
            expected.add(name.removeprefix("lenet_bench/plugins/"))
        elif name.startswith("conf/"):
            expected.add(f"lenet_bench/{name}")
        else:
            expected.add(name)
    assert names == expected
    assert "lenet_bench/conf/config.yaml" in names
    assert "lenet_bench/py.typed" in names
    assert "hydra_plugins/lenet_bench_launcher/stacked.py" in names
    assert "hydra_plugins/__init__.py" not in names


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere, without the checkout on the path."""
    target, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    # The environment's libraries without its .pth files, one of which leads to the checkout.
    libraries = [path for path in sys.path if path.endswith("-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *libraries])}
    where = "import lenet_bench, hydra_plugins.lenet_bench_launcher as p; print(p.__file__)"
    found = subprocess.run(
        [sys.executable, "-S", "-c", f"{where}; print(lenet_bench.__file__)"],
        cwd=folder, env=environment, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert all(Path(path).is_relative_to(target) for path in found)
    done = subprocess.run(
        [
            sys.executable, "-S", "-m", "lenet_bench", "dataset=fake", "dataset.images=200",
            "iterations=3", "batch_size=16", "probe.images=16", "seed=0,1",
            "hydra.launcher.workers=1",
        ],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = (folder / "runs").iterdir()
    assert len(list(sweep.glob("*/weights.pt"))) == 2
    assert (sweep / "summary.csv").exists()
    assert {path.name for path in folder.iterdir()} == {"runs"}


def test_no_tracked_file_names_this_machine_or_a_registry() -> None:
    """Neither a package index nor somebody's home."""
    # Written in parts, so that this file does not hold them either.
    forbidden = [
        re.compile(pattern)
        for pattern in (
            r"/ho" r"me/\w", r"/Us" r"ers/\w", r"/ro" r"ot/", r"/wo" r"rk/", r"index-" r"url",
            r"pypi\." r"org", r"files\.python" r"hosted", r"--find-" r"links",
        )
    ]  # fmt: skip
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image
        for pattern in forbidden:
            found = pattern.search(text)
            assert not found, f"{path.relative_to(ROOT)}: {found and found.group()}"


def test_importing_the_package_is_cheap() -> None:
    """Neither torch nor pandas until they are asked for; the reader of sweeps is at the top."""
    code = (
        "import sys, lenet_bench\n"
        "assert not {'torch', 'pandas', 'hydra', 'matplotlib'} & set(sys.modules)\n"
        "assert callable(lenet_bench.load_sweep)\n"
        "assert lenet_bench.__version__\n"
        "assert {'Sweep', 'load_sweep', '__version__'} <= set(dir(lenet_bench))\n"
        "try: lenet_bench.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
        "else: raise SystemExit('an attribute that there is not')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
