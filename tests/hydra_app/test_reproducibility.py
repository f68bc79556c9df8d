"""What a run says of how it was trained is enough to train it again, to the same bytes."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from lenet_bench import datasets
from lenet_bench.records.configuration import read_configuration
from lenet_bench.records.run_directory import read_status
from tests.conftest import Lenet

ROOT = Path(__file__).resolve().parents[2]

TINY = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=20",
    "evaluate.every=10", "probe.every=10", "probe.images=16", "model.channels=[2,4]",
    "model.hidden=[9]", "device=cpu",
)  # fmt: skip


@pytest.mark.usefixtures("without_report")
def test_a_status_holds_what_is_needed_to_repeat_a_run(lenet: Lenet) -> None:
    """Each fact is compared with where it comes from."""
    done = lenet(
        *TINY, "activation=relu,tanh", "seed=3,4", "hydra.launcher.workers=1",
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
