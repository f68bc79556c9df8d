"""`lenet-bench verify`: a sweep is what its runs give when they are trained once more."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_bench.commands import verify
from lenet_bench.execution import sweep as execution
from lenet_bench.execution.options import EngineOptions
from lenet_bench.execution.verification import StoredStack, choose_stacks
from lenet_bench.records.provenance import commit, source_digest, versions
from lenet_bench.records.run_directory import Run
from tests import warm
from tests.conftest import Configure
from tests.faults import read_only, without_root_rights
from tests.hydra_app.conftest import Command

TINY = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=20",
    "evaluate.every=10", "probe.every=10", "probe.images=16", "model.channels=[2,4]",
    "model.hidden=[9]",
)  # fmt: skip
RUNS = {"prelu-0": 0, "tanh-0": 0, "prelu-1": 1, "tanh-1": 1}  # two stacks, a seed each


@pytest.fixture(scope="module")
def trained(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two stacks."""
    folder = tmp_path_factory.mktemp("trained") / "sweep"
    runs = {
        folder / name: Run(
            configure(*TINY, f"activation={name.partition('-')[0]}", seed=seed), folder / name
        )
        for name, seed in RUNS.items()
    }
    folder.mkdir()
    execution.train(runs, EngineOptions(workers=1, stack_size=2), folder / "plan.json")
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The sweep, to be spoiled."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def change(file: Path, **values: Any) -> None:
    """Change a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def everything(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """All files and their times."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *sorted(folder.rglob("*"))]
    }


@pytest.mark.slow
def test_a_sweep_that_nobody_may_write_to_is_verified(trained: Path, tmp_path: Path) -> None:
    """By the real command: every run is the same, and nothing is left anywhere."""
    before = everything(trained)
    with read_only(trained):
        done = subprocess.run(
            [*without_root_rights(), sys.executable, "-m", "lenet_bench",
             "verify", str(trained), "--runs", "all"],
            cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *lines, conditions, result = done.stdout.splitlines()
    assert sorted(lines) == sorted(f"{name}: same" for name in RUNS)
    assert (conditions, result) == ("Same conditions.", "4 of 4 runs are the same.")
    assert "Stacks are trained whole: 4 runs in 2 of 2 stacks" in done.stderr
    assert everything(trained) == before
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of a CSV, a weight; and the conditions that may have changed."""
    table = copy / "prelu-0" / "train.csv"
    rows = table.read_text().splitlines(keepends=True)
    fields = rows[13].split(",")
    rows[13] = ",".join([*fields[:3], "0.125", *fields[4:]])
    table.write_text("".join(rows))
    weights = copy / "tanh-0" / "weights.pt"
    state = torch.load(weights, weights_only=True)
    was = state["fc1.bias"][2].item()
    state["fc1.bias"][2] = 0.75
    torch.save(state, weights)
    status = copy / "tanh-0" / "status.json"
    change(status, versions={**versions(), "torch": "1.0"}, source="0123456789abcdef")
    # The other stack is not the one that is chosen.
    shutil.rmtree(copy / "prelu-1")
    shutil.rmtree(copy / "tanh-1")
    assert verify.main([str(copy)]) == 1
    conditions = (
        f"Conditions that differ: versions.torch: 1.0, now {versions()['torch']}; source code: "
        f"0123456789abcdef (commit {commit()}), now {source_digest()} (commit {commit()})"
    )
    assert capsys.readouterr().out.splitlines() == [
        f"prelu-0: differs: train.csv, row 13, column loss: stored 0.125, now {fields[3]}",
        f"tanh-0: differs: weights.pt, fc1.bias[2]: stored 0.75, now {was}",
        conditions,
        "0 of 2 runs are the same.",
    ]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            lambda run: (run / "layers.csv").unlink(),
            "tanh-1: differs: layers.csv: stored missing",
        ),
        (
            lambda run: (run / "train.csv").write_text(
                "".join((run / "train.csv").open().readlines()[:8])
            ),
            "tanh-1: differs: train.csv, stored 7 rows, now 20",
        ),
        (
            lambda run: (run / "weights.pt").write_bytes(b"PK"),
            "weights.pt: is damaged, or was not written by torch.save",
        ),
    ],
)
def test_files_that_are_missing_or_damaged_differ(
    copy: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    expected: str,
) -> None:
    """A neighbour that has not ended is trained with it and not compared."""
    shutil.rmtree(copy / "prelu-0")
    shutil.rmtree(copy / "tanh-0")
    change(copy / "prelu-1" / "status.json", status="interrupted")
    spoil(copy / "tanh-1")
    assert verify.main([str(copy), "--runs", "1"]) == 1
    line, _, result = capsys.readouterr().out.splitlines()
    assert expected in line
    assert result == "0 of 1 run are the same."


@pytest.mark.parametrize(
    ("file", "values", "expected"),
    [
        (
            "status.json",
            {"dataset": {"name": "digits", "fingerprint": "ffff"}},
            "was trained on other images of dataset=digits: their fingerprint was ffff and is ",
        ),
        (
            "config.json",
            {"root": "/nowhere/photos"},
            "/nowhere/photos",
        ),
    ],
)
def test_other_data_are_refused_before_training(
    copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    values: dict[str, Any],
    expected: str,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for run in copy.glob("*-1"):
        shutil.rmtree(run)
    for run in copy.glob("*-0"):
        if file == "config.json":
            config = json.loads((run / file).read_text())["config"]
            images = {**config["dataset"], **values, "name": "image_folder", "size": 32}
            change(run / file, config={**config, "dataset": images})
        else:
            change(run / file, **values)
    assert verify.main([str(copy)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert expected in told.err.splitlines()[-1]
    assert told.err.splitlines()[-1].startswith("lenet-bench verify: ")
    assert "Training" not in told.err
    assert "Traceback" not in told.err


def test_a_sweep_that_is_being_trained_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody appends rows to a run that has not ended."""
    change(copy / "tanh-1" / "status.json", status="running")
    table, end = copy / "tanh-1" / "train.csv", threading.Event()

    def write() -> None:
        while not end.wait(0.01):
            with table.open("a") as file:
                file.write("21,1,0.1,1,1,1\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert verify.main([str(copy), "--runs", "1"]) == 1
    finally:
        end.set()
        writer.join()
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{copy}: its files have changed meanwhile; another command writes there" in told.err


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    with warm.Popen(
        [sys.executable, "-m", "lenet_bench", "verify", str(trained)],
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        end = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["~nobody-here"], "~nobody-here: there is no such directory"),
        (["nowhere"], "nowhere: there is no such directory"),
        (["file"], "file: there is no such directory"),
        (["empty"], "holds no runs (no subdirectory with a status.json)"),
        (["sweep/tanh-0"], "sweep/tanh-0: is a run; give the sweep directory, "),
        (["sweep", "--runs", "many"], "argument --runs: 'many': must be a number of runs >= 1"),
        (["sweep", "--runs", "0"], "argument --runs: '0': must be a number of runs >= 1, or all"),
        (["sweep", "--runs", "-1"], "argument --runs: "),
        (["sweep", "--runs", "2.5"], "argument --runs: '2.5': must be a number of runs"),
        (["sweep", "--runs"], "argument --runs: expected one argument"),
        (["sweep", "lr=0.1"], "unrecognized arguments: lr=0.1"),
        ([], "the following arguments are required: DIR"),
        (["begun"], "holds no run that can be trained again: none of its runs has finished"),
        (["older"], "status.json: does not say which runs were in its stack"),
        (["hostile"], "status.json: does not say which runs were in its stack"),
        (["broken"], "status.json, line 1: is not JSON"),
        (["lonely"], "lonely/prelu-0: is gone, which was in its stack"),
        (["strange"], "strange/tanh-0/config.json: "),
    ],
)
def test_mistakes_of_verify(
    command: Command, trained: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    """One line, exit code 1, and nothing heavy was loaded for it."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    if arguments and arguments[0].partition("/")[0] not in (
        "nowhere",
        "~nobody-here",
        "file",
        "empty",
    ):
        name = arguments[0].partition("/")[0]
        folder = Path(shutil.copytree(trained, tmp_path / name))
        for run in folder.glob("*-1"):
            shutil.rmtree(run)
        spoil_all(folder, name)
    answer = command.within(tmp_path, "verify", *arguments)
    assert "CODE 1 TORCH False" in answer.text, answer.text
    assert expected in answer.text
    assert answer.text.startswith("lenet-bench verify: ")
    assert "Traceback" not in answer.text
    assert len(answer.text.splitlines()) == 2


def spoil_all(folder: Path, how: str) -> None:
    """Make what `how` says of the sweep in a folder."""
    for run in folder.glob("*-0"):
        status = json.loads((run / "status.json").read_text())
        stack = status["stack"]
        if how == "begun":
            change(run / "status.json", status="running")
        elif how == "older":
            change(run / "status.json", stack={"index": 0, "size": 2, "position": 0})
        elif how == "hostile":
            change(run / "status.json", stack={**stack, "runs": ["../../x", run.name]})
        elif how == "broken":
            (run / "status.json").write_text("{")
        elif how == "strange":
            config = json.loads((run / "config.json").read_text())["config"]
            change(run / "config.json", config={**config, "lr": -1.0})
    if how == "lonely":
        shutil.rmtree(folder / "prelu-0")


def test_the_help_mentions_it(command: Command) -> None:
    assert "lenet-bench verify runs/SWEEP [--runs K]" in command("--help").text
    own = command("verify", "--help")
    assert own.code == 0
    assert re.search(r"usage: lenet-bench verify \[-h\] \[--runs K\] DIR", own.text)
    assert not own.imported_torch


# --- which stacks ---------------------------------------------------------------------------------


def stacks_of(*sizes: int) -> list[StoredStack]:
    """Stacks of finished runs, numbered."""
    return [
        StoredStack((Path(str(n)),), 1, 1.0, {Path(f"{n}/{k}"): {} for k in range(size)})
        for n, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "runs", "expected"),
    [
        ([1] * 9, 3, [1, 4, 7]),
        ([1] * 9, 1, [4]),
        ([1] * 3, 3, [0, 1, 2]),
        ([1] * 3, 7, [0, 1, 2]),
        ([16] * 5, 3, [2]),
        ([16] * 5, 17, [1, 3]),
        ([16], 1, [0]),
        ([2, 2, 2], None, [0, 1, 2]),
    ],
)
def test_as_few_stacks_as_hold_the_runs_are_chosen_evenly(
    sizes: list[int], runs: int | None, expected: list[int]
) -> None:
    chosen = choose_stacks(stacks_of(*sizes), runs)
    assert [int(str(stack.runs[0])) for stack in chosen] == expected
