"""What a run leaves behind however it ends: exact numbers, strict JSON, nothing lost to Ctrl-C."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lenet_bench.config.schema import RunConfig
from lenet_bench.records.run_directory import (
    Run,
    RunRecorder,
    has_ended,
    mark_failed,
    mark_interrupted,
    read_status,
)
from lenet_bench.records.schema import TrainRow
from tests import warm
from tests.conftest import Configure, train
from tests.fabricate import configuration

SMALL = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=24",
    "evaluate.every=8", "probe.every=8", "probe.images=16",
)  # fmt: skip
MODULE = """
import torch

class Fine(torch.nn.Module):
    def forward(self, x):
        return x.clamp(min=0)

class Broken(Fine):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        if self.calls > 20:
            raise ArithmeticError("out of numbers\\nsecond line")
        return super().forward(x)
"""


class Exhausted(nn.Module):
    """A user's own activation that raises at its 15th call in training."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Tanh, 14 times."""
        self.calls += self.training
        if self.calls == 15:
            raise ArithmeticError("out of numbers\nsecond line")
        return x.tanh()


def strict(path: Path) -> dict[str, Any]:
    """A JSON file, read by a reader that knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return content


def run_in(directory: Path, preset: str | None = None) -> Run:
    return Run(RunConfig.model_validate(configuration()), directory, preset)


# --- the recorder ---------------------------------------------------------------------------------


def recorder(directory: Path) -> RunRecorder:
    record = RunRecorder(run_in(directory), {"device": "cpu", "stack": {"index": 0, "size": 2}})
    record.begin()
    return record


@given(st.lists(st.floats(), min_size=1))
def test_floats_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    directory = tmp_path_factory.mktemp("run")
    record = recorder(directory)
    record.write("train", [[n, 1, x, x, x, x] for n, x in enumerate(values)])
    found = pd.read_csv(directory / "train.csv")
    assert list(found.columns) == list(TrainRow._fields)
    for column in ("lr", "loss", "grad_norm"):
        for a, b in zip(found[column].astype(float), values, strict=True):
            assert struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))


def test_rows_are_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    record = recorder(tmp_path)
    record.write("evaluation", [[0, 0, "train", 2.5, 0.1]])
    text = (tmp_path / "evaluation.csv").read_text()
    assert text == "iteration,epoch,split,loss,accuracy\n0,0,train,2.5,0.1\n"
    record.write("layers", [[0, "logits", 0, *[None] * 10, 1.5, 0.5]])
    assert (tmp_path / "layers.csv").read_text().splitlines()[1] == "0,logits,0,,,,,,,,,,,1.5,0.5"


def test_a_status_holds_no_nan_and_merges_sections(tmp_path: Path) -> None:
    record = recorder(tmp_path)
    assert strict(tmp_path / "status.json")["status"] == "running"
    assert strict(tmp_path / "status.json")["ended"] is None
    record.status(
        "diverged",
        iteration=7,
        metrics={"a": math.nan, "b": math.inf, "c": 1.5},
        seconds=0.5,
        error="why",
        stack={"seconds": 1.0},
        failure={"traceback": "x", "values": [1.0, -math.inf]},
    )
    status = strict(tmp_path / "status.json")
    assert status["metrics"] == {"a": None, "b": None, "c": 1.5}
    assert status["stack"] == {"index": 0, "size": 2, "seconds": 1.0}
    assert status["failure"] == {"traceback": "x", "values": [1.0, None]}
    assert (status["status"], status["error"], status["iteration"]) == ("diverged", "why", 7)
    assert status["name"] == tmp_path.name
    assert status["started"] <= status["ended"]
    assert status["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json", "evaluation.csv", "layers.csv", "status.json", "train.csv",
    ]  # fmt: skip


def test_a_second_attempt_replaces_the_first(tmp_path: Path) -> None:
    first = recorder(tmp_path)
    first.write("train", [[1, 1, 0.1, 2.0, 0.5, 1.0]])
    first.weights({"a": torch.ones(2)})
    assert torch.load(tmp_path / "weights.pt", weights_only=True)["a"].tolist() == [1, 1]
    recorder(tmp_path)
    assert (tmp_path / "train.csv").read_text().count("\n") == 1
    assert not (tmp_path / "weights.pt").exists()


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "\xff"])
def test_a_missing_or_broken_status_is_empty_and_can_be_marked(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "status.json").write_bytes(content.encode("latin-1"))
    assert read_status(tmp_path) == {}
    mark_failed(run_in(tmp_path), "its worker died")
    status = strict(tmp_path / "status.json")
    assert (status["status"], status["error"]) == ("failed", "its worker died")


def test_marking_keeps_what_was_known(tmp_path: Path) -> None:
    record = recorder(tmp_path)
    record.status("running", iteration=500, metrics={"train_loss": 1.0}, seconds=3.0)
    mark_failed(run_in(tmp_path), "killed")
    status = read_status(tmp_path)
    assert status["iteration"] == 500
    assert status["metrics"] == {"train_loss": 1.0}
    assert status["device"] == "cpu"


def test_a_stopped_run_keeps_how_an_earlier_attempt_ended(tmp_path: Path) -> None:
    """A stop before it began anew leaves the rows of then, and their record."""
    mark_interrupted(run_in(tmp_path / "never"))
    status = read_status(tmp_path / "never")
    assert (status["status"], status["iteration"], status["error"]) == ("interrupted", 0, None)
    mark_failed(run_in(tmp_path / "before"), "out of memory")
    mark_interrupted(run_in(tmp_path / "before"))
    assert read_status(tmp_path / "before")["error"] == "out of memory"


def test_a_stopped_command_leaves_an_ended_run_as_it_was(tmp_path: Path) -> None:
    """Even where the command asked for it with other settings, and stopped before it began."""
    record = recorder(tmp_path)
    record.status("diverged", iteration=0, metrics={}, seconds=0.0, error="not finite")
    assert "config.json" in read_status(tmp_path)["files"]
    before = (tmp_path / "config.json").read_bytes()
    mark_interrupted(replace(run_in(tmp_path), preset="another"))
    assert (tmp_path / "config.json").read_bytes() == before
    assert has_ended(tmp_path)


# --- endings, in this process ---------------------------------------------------------------------


def test_a_stop_loses_no_iteration(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL)
    (whole,) = train([config], tmp_path / "whole")
    asked = iter(range(100))
    runs = train(
        [config, config.model_copy(update={"lr": 0.02})],
        tmp_path / "stopped",
        stopped=lambda: next(asked) == 13,
    )
    for run in runs:
        assert run.outcome.status == run.status["status"] == "interrupted"
        assert run.status["iteration"] == 13
        assert list(run.train["iteration"]) == list(range(1, 14))
        assert set(run.evaluation["iteration"]) == set(run.layers["iteration"]) == {0, 8}
        assert all(value.isfinite().all() for value in run.weights.values())
    difference = (runs[0].train - whole.train[:13]).abs().to_numpy()
    assert difference.max() < 1e-3


def test_an_interrupt_that_nobody_handles_loses_no_iteration(
    configure: Configure, tmp_path: Path
) -> None:
    asked = iter(range(100))

    def stopped() -> bool:
        if next(asked) == 5:
            raise KeyboardInterrupt
        return False

    (run,) = train([configure(*SMALL)], tmp_path, stopped=stopped)
    assert run.outcome.status == "interrupted"
    assert len(run.train) == run.status["iteration"] == 5


def test_a_failure_keeps_its_rows_and_tells_why(configure: Configure, tmp_path: Path) -> None:
    path = "activation.path=tests.records.test_run_directory:Exhausted"
    config = configure(*SMALL, "activation=custom", path)
    (run,) = train([config], tmp_path)
    assert run.outcome.status == "failed"
    assert run.outcome.error == "ArithmeticError: out of numbers"
    status = strict(run.directory / "status.json")
    assert (status["status"], status["error"]) == ("failed", "ArithmeticError: out of numbers")
    assert "ArithmeticError: out of numbers\nsecond line" in status["failure"]["traceback"]
    assert "test_run_directory.py" in status["failure"]["traceback"]
    # Each layer has a module of its own: the 15th iteration failed.
    assert list(run.train["iteration"]) == list(range(1, 15))
    assert status["iteration"] == 14
    assert set(run.evaluation["iteration"]) == {0, 8}


def test_the_status_of_a_divergence_is_strict_json(configure: Configure, tmp_path: Path) -> None:
    config = configure("activation=identity", *SMALL, lr=1e6)
    (run,) = train([config], tmp_path)
    status = strict(run.directory / "status.json")
    assert status["status"] == "diverged"
    text = (run.directory / "train.csv").read_text().splitlines()[-1]
    assert text.split(",")[3] in ("nan", "inf")
    assert not math.isfinite(run.train["loss"].iloc[-1])


# --- endings of the command -----------------------------------------------------------------------

SWEEP = (
    "hydra.sweep.dir=sweep", "device=cpu", "dataset.train_size=64", "batch_size=8",
    "evaluate.every=100", "probe.every=0", "model.width=0.5",
)  # fmt: skip


def command(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """`lenet-bench`, started in a folder as from a terminal: in a process group of its own."""
    return warm.Popen(
        [sys.executable, "-m", "lenet_bench", *SWEEP, *overrides],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 60) -> tuple[str, str]:
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"still running after {seconds} s: {process.communicate()}") from None


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"never came so far: {process.communicate()}")
        time.sleep(0.05)


def statuses(folder: Path) -> Mapping[str, dict[str, Any]]:
    """By the name of the run directory."""
    found = (folder / "sweep").glob("*/status.json")
    return {path.parent.name: strict(path) for path in found}


def rows(folder: Path, name: str) -> list[int]:
    return list(pd.read_csv(folder / "sweep" / name / "train.csv")["iteration"])


@pytest.mark.slow
def test_ctrl_c_ends_all_workers_and_loses_nothing(tmp_path: Path) -> None:
    process = command(tmp_path, "seed=0,1", "iterations=1000000", "hydra.launcher.workers=2")

    def all_train() -> bool:
        files = list((tmp_path / "sweep").glob("*/train.csv"))
        return len(files) == 2 and all(path.read_text().count("\n") > 51 for path in files)

    wait_for(all_train, process)
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = finish(process, 30)
    assert time.monotonic() - pressed < 15  # most of it for the report
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "Stopped" in err
    found = statuses(tmp_path)
    assert len(found) == 2
    for name, status in found.items():
        assert status["status"] == "interrupted"
        assert rows(tmp_path, name) == list(range(1, status["iteration"] + 1))
        assert status["iteration"] > 50
    summary = pd.read_csv(tmp_path / "sweep" / "summary.csv")
    assert list(summary["status"]) == ["interrupted"] * 2
    assert list((tmp_path / "sweep" / "figures").glob("*.png"))
    assert "summary.csv" in out


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    arguments = (
        "seed=0,1", "iterations=1000", "hydra.launcher.workers=1", "hydra.launcher.stack_size=1",
    )  # fmt: skip
    process = command(tmp_path, *arguments)

    def in_the_second() -> bool:
        states = [status["status"] for status in statuses(tmp_path).values()]
        return sorted(states) == ["finished", "running"]

    wait_for(in_the_second, process)
    process.send_signal(signal.SIGINT)
    _, err = finish(process)
    assert process.returncode == 130, err
    before = statuses(tmp_path)
    assert sorted(status["status"] for status in before.values()) == ["finished", "interrupted"]
    (done,) = (name for name, status in before.items() if status["status"] == "finished")
    (left,) = (name for name, status in before.items() if status["status"] == "interrupted")
    assert rows(tmp_path, left) == list(range(1, before[left]["iteration"] + 1))

    process = command(tmp_path, *arguments)
    _, err = finish(process)
    assert process.returncode == 0, err
    assert "1 run finished before" in err
    after = statuses(tmp_path)
    assert after[done] == before[done]
    assert after[left]["status"] == "finished"
    assert rows(tmp_path, left) == rows(tmp_path, done) == list(range(1, 1001))


@pytest.mark.slow
def test_a_failed_run_takes_no_other_with_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    process = command(
        tmp_path, "activation=custom", "activation.path=mine:Broken,mine:Fine", "iterations=60",
        "hydra.launcher.workers=1",
    )  # fmt: skip
    _, err = finish(process)
    assert process.returncode == 1, err
    assert "ArithmeticError: out of numbers" in err
    assert "Traceback" not in err
    found = {status["status"]: (name, status) for name, status in statuses(tmp_path).items()}
    assert sorted(found) == ["failed", "finished"]
    name, status = found["failed"]
    assert rows(tmp_path, name) == list(range(1, 21))
    assert status["error"] == "ArithmeticError: out of numbers"
    assert rows(tmp_path, found["finished"][0]) == list(range(1, 61))
    summary = pd.read_csv(tmp_path / "sweep" / "summary.csv")
    assert sorted(summary["status"]) == ["failed", "finished"]
