"""A sweep goes on: by the same command, by `resume=DIR`, or not at all where something differs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lenet_bench.records.run_directory import read_status
from tests import warm
from tests.conftest import Lenet
from tests.hydra_app.conftest import Command

TINY = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=20",
    "evaluate.every=10", "probe.every=10", "probe.images=16",
)  # fmt: skip
SWEEP = (*TINY, "activation=rrelu,tanh", "seed=0,1", "hydra.launcher.workers=1")
TABLES = ("train.csv", "evaluation.csv", "layers.csv")


def tables(sweep: Path) -> dict[str, bytes]:
    """The CSVs of all runs."""
    return {
        str(path.relative_to(sweep)): path.read_bytes()
        for name in TABLES
        for path in sorted(sweep.glob(f"*/{name}"))
    }


def unfinish(run: Path) -> None:
    """Leave a run as a process that was killed does."""
    content = read_status(run)
    content["status"] = "running"
    (run / "status.json").write_text(json.dumps(content))


@pytest.mark.usefixtures("without_report")
def test_a_finished_sweep_is_answered_without_composing_it(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the same command and by `resume=DIR`; nothing is written but the report."""
    done = lenet(*SWEEP, "hydra.sweep.dir=runs/mine")
    assert done.code == 0
    before = {path: path.stat().st_mtime_ns for path in done.folder.rglob("*.*")}
    for arguments in ([*SWEEP, "hydra.sweep.dir=runs/mine"], ["resume=runs/mine"]):
        capsys.readouterr()
        assert lenet(*arguments).code == 0
        text = capsys.readouterr().err
        assert "4 runs finished before; nothing is left to train." in text
        assert "composing" not in text
    assert {path: path.stat().st_mtime_ns for path in done.folder.rglob("*.*")} == before


@pytest.mark.usefixtures("without_report")
def test_what_is_left_is_trained_by_the_stored_plan(lenet: Lenet, tmp_path: Path) -> None:
    """From any folder, with the same threads, and to the same bytes."""
    done = lenet(*SWEEP, "hydra.sweep.dir=runs/mine", "hydra.launcher.stack_size=2")
    sweep = done.folder / "runs" / "mine"
    before, plan = tables(sweep), (sweep / "plan.json").read_text()
    for run in list(done.runs.values())[:3]:
        unfinish(run)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    assert lenet("resume=../runs/mine").code == 0
    assert tables(sweep) == before
    assert (sweep / "plan.json").read_text() == plan
    assert {read_status(run)["status"] for run in done.runs.values()} == {"finished"}
    assert list((tmp_path / "elsewhere").iterdir()) == []
    changed = json.loads(plan)
    for stack in changed["stacks"]:
        stack["threads"] = 2
    (sweep / "plan.json").write_text(json.dumps(changed))
    run = next(iter(done.runs.values()))
    unfinish(run)
    assert lenet("resume=runs/mine").code == 0  # the command has gone to where it was typed
    assert read_status(run)["threads"] == 2  # bits depend on them
    assert torch.get_num_threads() == 1


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "train.csv": (
        lambda path: path.write_text("".join(path.open().readlines()[:9])),
        "has 8 rows instead of 20",
    ),
    "layers.csv": (lambda path: path.write_bytes(os.urandom(300)), "has "),
    "evaluation.csv": (  # a loss of -5
        lambda path: path.write_text(re.sub(r",\d+\.\d+,", ",-5.0,", path.read_text(), count=1)),
        "has ",
    ),
    "weights.pt": (lambda path: os.truncate(path, 1000), "has 1000 bytes instead of "),
}


@pytest.mark.usefixtures("without_report")
def test_a_damaged_run_is_trained_again_by_name(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its status says finished, but its files do not hold what it says."""
    done = lenet(*SWEEP, "hydra.sweep.dir=runs/mine")
    sweep = done.folder / "runs" / "mine"
    before = tables(sweep)
    named = dict(zip(done.runs, DAMAGE, strict=True))
    for name, file in named.items():
        DAMAGE[file][0](done.runs[name] / file)
    assert tables(sweep) != before
    capsys.readouterr()
    assert lenet("resume=runs/mine").code == 0
    text = capsys.readouterr().err
    for name, file in named.items():
        assert text.count(f"{name} is trained again: {file} {DAMAGE[file][1]}") == 1
    assert tables(sweep) == before
    (done.runs[name] / "weights.pt").unlink()
    assert lenet("resume=runs/mine").code == 0
    text = capsys.readouterr().err
    assert text.count("is trained again") == text.count(f"{name} is trained again: weights.pt is ")
    assert (done.runs[name] / "weights.pt").exists()


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("iterations=30", "iterations: 20, now 30"),
        ("lr=0.5", "lr: 0.01, now 0.5"),
        ("hydra.launcher.workers=2", "workers: 1, now 2"),
        (
            "hydra.launcher.stack_size=1",
            "runs in each stack: 2, 2, now 1, 1, 1, 1 (another stack_size or memory)",
        ),
    ],
)
def test_a_changed_sweep_is_refused(
    lenet: Lenet, capsys: pytest.CaptureFixture[str], change: str, expected: str
) -> None:
    """What differs is told by name; nothing is trained, and what is there stays."""
    done = lenet(*SWEEP, "hydra.sweep.dir=runs/mine")
    sweep = done.folder / "runs" / "mine"
    unfinish(next(iter(done.runs.values())))
    before = {path: path.read_bytes() for path in sweep.glob("*/[!.]*.*")}
    key = change.partition("=")[0]
    arguments = [item for item in SWEEP if not item.startswith(f"{key}=")]
    capsys.readouterr()
    assert lenet(*arguments, change, "hydra.sweep.dir=runs/mine").code == 1
    text = capsys.readouterr().err
    assert "runs/mine was begun otherwise" in text
    assert f"\n  {expected}\n" in text
    assert "resume_anyway=true" in text
    assert {path: path.read_bytes() for path in sweep.glob("*/[!.]*.*")} == before
    assert len([path for path in sweep.iterdir() if "-seed" in path.name]) == 4


@pytest.mark.usefixtures("without_report")
def test_other_software_or_data_is_refused_unless_wanted(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """`resume_anyway=true` goes on and is written down; then the new conditions hold."""
    done = lenet(*SWEEP, "hydra.sweep.dir=runs/mine")
    sweep = done.folder / "runs" / "mine"
    run = next(iter(done.runs.values()))
    unfinish(run)
    plan = json.loads((sweep / "plan.json").read_text())
    plan["conditions"]["versions"]["torch"] = "1.0"
    plan["conditions"]["source"] = "0123456789abcdef"
    (sweep / "plan.json").write_text(json.dumps(plan))
    capsys.readouterr()
    assert lenet("resume=runs/mine").code == 1
    text = capsys.readouterr().err
    assert "\n  versions.torch: 1.0, now " in text
    assert "\n  source code: 0123456789abcdef (commit " in text
    assert read_status(run)["status"] == "running"
    assert lenet("resume=runs/mine", "resume_anyway=true").code == 0
    status = read_status(run)
    assert status["status"] == "finished"
    ((entry),) = status["resumed_anyway"]
    assert any(line.startswith("versions.torch: 1.0") for line in entry["differences"])
    unfinish(run)
    assert lenet("resume=runs/mine").code == 0
    assert len(read_status(run)["resumed_anyway"]) == 1

    unfinish(run)
    plan = json.loads((sweep / "plan.json").read_text())
    plan["conditions"]["datasets"] = dict.fromkeys(plan["conditions"]["datasets"], "ffff")
    (sweep / "plan.json").write_text(json.dumps(plan))
    capsys.readouterr()
    assert lenet("resume=runs/mine").code == 1
    assert ": fingerprint ffff, now " in capsys.readouterr().err


@pytest.mark.usefixtures("without_report")
def test_a_sweep_may_grow(lenet: Lenet) -> None:
    """New runs get stacks of their own; the stored ones stay as they are."""
    done = lenet(*SWEEP, "hydra.sweep.dir=runs/mine")
    sweep = done.folder / "runs" / "mine"
    before = tables(sweep)
    stacks = json.loads((sweep / "plan.json").read_text())["stacks"]
    more = [item for item in SWEEP if not item.startswith("seed=")]
    assert lenet(*more, "seed=0,1,2", "hydra.sweep.dir=runs/mine").code == 0
    after = json.loads((sweep / "plan.json").read_text())["stacks"]
    assert after[: len(stacks)] == stacks
    assert sorted(stack["stack"] for stack in after) == list(range(len(after)))
    assert before.items() <= tables(sweep).items()
    assert len(tables(sweep)) == 3 * 6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["resume=nowhere"], "resume=nowhere: there is no such folder"),
        (["resume=~nobody-here/runs"], "resume=~nobody-here/runs: there is no such folder"),
        (["+resume=empty"], "resume=empty: holds no sweep.json"),
        (["resume=empty"], "resume=empty: holds no sweep.json"),
        (["resume=bad"], "bad/sweep.json: does not hold the command of a sweep"),
        (["resume=deep"], "deep/sweep.json: is not JSON of a reasonable size"),
        (["resume=pipe"], "pipe/sweep.json: is a FIFO, not a file"),
        (["resume=elsewhere"], r"a\x00b\x1b[2J, where the sweep was begun, is gone"),
        (["resume=empty", "lr=0.1"], "lr=0.1: cannot stand beside resume=empty"),
        (["resume=empty", "resumed=1"], "resumed=1: cannot stand beside resume=empty"),
        (["resume=empty", "resume=bad"], "resume=bad: cannot stand beside resume=empty"),
        (["resume_anyway=2"], "resume_anyway=2: must be true or false"),
        (["resume_anyway=true,false"], "must be true or false, and cannot be swept"),
    ],
)
def test_what_cannot_be_resumed(
    command: Command, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    contents = {
        "bad": '{"arguments": "lr=1"}',
        "deep": "[" * 100_000,
        "elsewhere": json.dumps(
            {"arguments": ["lr=-1"], "folder": "a\0b\x1b[2J", "meaning": "other"}
        ),
    }
    for name in ("empty", "pipe", *contents):
        (tmp_path / name).mkdir()
    for name, content in contents.items():
        (tmp_path / name / "sweep.json").write_text(content)
    os.mkfifo(tmp_path / "pipe" / "sweep.json")
    answer = command.within(tmp_path, *arguments)
    assert "CODE 1 TORCH False" in answer.text, answer.text
    assert expected in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.slow
def test_the_last_line_after_ctrl_c_goes_on(tmp_path: Path) -> None:
    """A real process, a real signal, and the command that it prints."""
    arguments = [item for item in TINY if not item.startswith("iterations=")]
    arguments.append("iterations=100000")
    start = [sys.executable, "-m", "lenet_bench"]
    quoted = "hydra.sweep.dir='runs/my sweep, 1'"
    process = warm.Popen(
        [*start, *arguments, quoted], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    table = tmp_path / "runs" / "my sweep, 1"
    while not (rows := list(table.glob("*/train.csv"))) or rows[0].stat().st_size < 1000:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in text
    assert text.splitlines()[-1] == "To go on: lenet-bench resume='runs/my sweep, 1'"
    (run,) = [path.parent for path in table.glob("*/status.json")]
    status = read_status(run)
    assert status["status"] == "interrupted"
    assert list((table / "checkpoints").iterdir())
