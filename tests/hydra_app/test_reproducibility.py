"""What a run says of how it was trained is enough to train it again, to the same bytes."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import torch

from lenet_bench import datasets
from lenet_bench.records.configuration import read_configuration
from lenet_bench.records.run_directory import read_status
from tests import warm
from tests.conftest import Lenet

ROOT = Path(__file__).resolve().parents[2]

TINY = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8",
    "evaluate.every=10", "probe.every=10", "probe.images=16", "model.channels=[2,4]",
    "model.hidden=[9]", "device=cpu",
)  # fmt: skip


@pytest.mark.usefixtures("without_report")
def test_a_status_holds_what_is_needed_to_repeat_a_run(lenet: Lenet) -> None:
    """Each fact is compared with where it comes from."""
    done = lenet(
        *TINY, "iterations=20", "activation=relu,tanh", "seed=3,4", "hydra.launcher.workers=1",
        "hydra.launcher.stack_size=2", "hydra.sweep.dir=runs/mine",
    )  # fmt: skip
    assert done.code == 0
    plan = json.loads((done.folder / "runs/mine/plan.json").read_text())
    stacks = {name: stack for stack in plan["stacks"] for name in stack["runs"]}
    assert len(done.runs) == len(stacks) == 4
    data = datasets.load(name="digits", train_size=60, validation_size=30, split_seed=0)
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    commit = head.stdout.strip() + ("+" if changes.stdout else "") if not head.returncode else None
    for name, directory in done.runs.items():
        status = read_status(directory)
        versions = status["versions"]
        assert versions["python"] == platform.python_version()
        assert versions["torch"] == metadata.version("torch")
        assert versions["lenet-bench"] == metadata.version("lenet-bench")
        assert status["commit"] == commit
        assert re.fullmatch(r"[0-9a-f]{16}", status["source"])
        assert status["seed"] == read_configuration(directory).content["seed"]
        assert f"seed{status['seed']}" in name
        assert status["dataset"]["fingerprint"] == data.fingerprint
        assert (status["device"], status["device_name"]) == ("cpu", None)
        assert status["processor"] in (Path("/proc/cpuinfo").read_text() + platform.machine())
        assert status["instruction_set"] == torch.backends.cpu.get_cpu_capability()
        stack = stacks[name]
        assert status["threads"] == stack["threads"] == 1
        assert status["workers"] == plan["workers"] == 1
        assert (
            status["stack"].items()
            >= {
                "index": stack["stack"],
                "size": 2,
                "runs": stack["runs"],
                "position": stack["runs"].index(name),
            }.items()
        )


# --- reproducible=true ----------------------------------------------------------------------------

# Learned slopes, noise and batch norm: all that a run has besides weights.
HARD = ("model.batch_norm=before", "reproducible=true", "iterations=120", "checkpoint.every=25")
FILES = ("train.csv", "evaluation.csv", "layers.csv", "weights.pt", "config.json")


def files(directory: Path) -> dict[str, bytes]:
    """The files of a run that must have the same bytes however it was trained."""
    return {name: (directory / name).read_bytes() for name in FILES}


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_the_bytes_of_a_reproducible_run_depend_on_no_other(lenet: Lenet, tmp_path: Path) -> None:
    """Alone, beside others with one worker, and killed and gone on with by two workers.

    The process may use any number of threads for what it trains itself.
    """
    arguments = (*TINY, *HARD, "activation=rrelu,prelu", "seed=0,1")
    command = [sys.executable, "-m", "lenet_bench", *arguments]
    killed = tmp_path / "runs" / "killed"
    with warm.Popen(
        [*command, "hydra.launcher.workers=1", f"hydra.sweep.dir={killed}"],
        cwd=tmp_path, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        end = time.monotonic() + 60
        while not list(killed.glob("checkpoints/*")) and time.monotonic() < end:
            time.sleep(0.01)
        process.kill()
    ended = [read_status(path.parent)["status"] for path in killed.glob("*/status.json")]
    assert "running" in ended, "it was to be killed while it trains"
    # Without reproducible=true, other workers would be refused.
    assert lenet("resume=runs/killed", "hydra.launcher.workers=2").code == 0
    assert len({path.parent for path in killed.glob("*/status.json")}) == 4

    torch.set_num_threads(2)
    try:
        others = [*arguments, "hydra.launcher.workers=1", "hydra.sweep.dir=runs/others"]
        assert lenet(*others).code == 0
        alone = [*TINY, *HARD, "activation=rrelu", "seed=1", "hydra.launcher.stack_size=4"]
        assert lenet(*alone, "hydra.sweep.dir=runs/alone").code == 0
    finally:
        torch.set_num_threads(1)
    found = {
        folder: {path.parent.name[-8:]: path.parent for path in folder.glob("*/status.json")}
        for folder in (killed, tmp_path / "runs" / "others", tmp_path / "runs" / "alone")
    }
    by_two, by_one, only = found.values()
    assert by_two.keys() == by_one.keys() > only.keys()
    assert (len(by_one), len(only)) == (4, 1)
    for fingerprint, directory in by_one.items():
        assert files(by_two[fingerprint]) == files(directory)
    for fingerprint, directory in only.items():
        assert files(by_one[fingerprint]) == files(directory)
    for directory in (*by_one.values(), *by_two.values(), *only.values()):
        status = read_status(directory)
        assert (status["status"], status["threads"]) == ("finished", 1)
        assert status["stack"]["size"] == 1
    assert 2 in {read_status(directory)["workers"] for directory in by_two.values()}


@pytest.mark.usefixtures("without_report")
def test_reproducible_is_another_run_only_where_it_is_true(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it names and configurations are as ever; a sweep that switches it is refused."""
    arguments = (
        *(*TINY, "iterations=20", "seed=0,1"),
        *("hydra.launcher.workers=1", "hydra.sweep.dir=runs/mine"),
    )
    assert lenet(*arguments, "reproducible=false").code == 0
    done = lenet(*arguments)
    assert len(done.runs) == 2
    assert "2 runs finished before" in capsys.readouterr().err
    for name, directory in done.runs.items():
        content = read_status(directory)
        assert content["stack"]["size"] == 2
        assert "reproducible" not in read_configuration(directory).content
        (directory / "status.json").write_text(json.dumps({**content, "status": "running"}))
        assert "reproducible" not in name
    assert lenet(*arguments, "reproducible=true").code == 1
    text = capsys.readouterr().err
    assert "runs/mine was begun otherwise" in text
    assert "\n  reproducible: none, now True\n" in text
    assert len(done.runs) == 2

    assert lenet(*arguments, "reproducible=true", "plan=true").code == 0
    page = capsys.readouterr().out
    assert "2 runs in 2 stacks" in page
    assert "reproducible=true: a stack of its own and one thread for 2 runs." in page
