"""A sweep in the real world: workers that share, die and are stopped; and what the user is told."""

from __future__ import annotations

import csv
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from torch import multiprocessing

from lenet_bench import datasets
from lenet_bench.config.errors import ConfigError
from lenet_bench.execution.options import EngineOptions, parse_engine_options
from lenet_bench.records.run_directory import read_status
from tests.execution.real import Sweep, alive

LONG = (
    "dataset=fake", "dataset.images=300", "batch_size=8", "iterations=1000000", "probe.every=0",
    "evaluate.every=0", "device=cpu", "hydra.launcher.workers=2", "hydra.sweep.dir=sweep",
)  # fmt: skip


# --- Ctrl-C ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [False, True], ids=["to the parent", "to the whole group"])
def test_ctrl_c_leaves_complete_rows(start: Callable[..., Sweep], to_all: bool) -> None:
    """As from `kill` or as from a terminal, which sends it to every process of the group."""
    sweep = start(*LONG, "seed=0,1")
    sweep.wait_until_training(2)
    workers = sweep.workers()
    assert len(workers) == 2
    if to_all:
        os.killpg(sweep.process.pid, signal.SIGINT)
    else:
        sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(60) == 130
    assert not any(alive(worker) for worker in workers)
    assert "Traceback" not in sweep.text
    assert "Stopped. What was measured so far is written." in sweep.text
    for directory in sweep.runs:
        status = read_status(directory)
        assert status["status"] == "interrupted"
        with (directory / "train.csv").open() as table:
            rows = list(csv.DictReader(table))
        assert [int(row["iteration"]) for row in rows] == [*range(1, len(rows) + 1)]
        assert status["iteration"] == len(rows)
        assert all(float(row["loss"]) > 0 and row["grad_norm"] for row in rows)
        assert (directory / "weights.pt").exists()
    assert (sweep.folder / "summary.csv").exists()


def test_ctrl_c_while_workers_start_up_is_no_failure(start: Callable[..., Sweep]) -> None:
    """They do not listen yet: what ends them is the signal that the command passes on."""
    sweep = start(*LONG, "seed=0,1", truly=True)
    sweep.wait_until(lambda: len(sweep.workers()) == 2)
    os.killpg(sweep.process.pid, signal.SIGINT)
    assert sweep.process.wait(60) == 130, sweep.text
    assert "failed" not in sweep.text
    assert "Stopped." in sweep.text
    assert [read_status(path)["status"] for path in sweep.runs] == ["interrupted"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_records_the_runs_that_never_began(
    start: Callable[..., Sweep], workers: int
) -> None:
    """They are interrupted at iteration 0, and in the summary."""
    sweep = start(
        *LONG, "seed=0,1,2,3", "hydra.launcher.stack_size=1", f"hydra.launcher.workers={workers}"
    )
    sweep.wait_until_training(workers)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(60) == 130, sweep.text
    statuses = [read_status(path) for path in sweep.runs]
    assert [status["status"] for status in statuses] == ["interrupted"] * 4
    assert sum(status["iteration"] == 0 for status in statuses) == 4 - workers
    with (sweep.folder / "summary.csv").open() as table:
        assert [row["status"] for row in csv.DictReader(table)] == ["interrupted"] * 4
    assert "left out" not in sweep.text


def test_ctrl_c_stops_one_by_one_launching_too(start: Callable[..., Sweep]) -> None:
    """With Hydra's basic launcher, no further job starts."""
    arguments = [item for item in LONG if "workers" not in item]
    sweep = start(*arguments, "seed=0,1,2", "hydra/launcher=basic")
    sweep.wait_until_training(1)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(60) == 130
    assert [read_status(path)["status"] for path in sweep.runs] == ["interrupted"]
    assert "Traceback" not in sweep.text


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(start: Callable[..., Sweep]) -> None:
    """Even where a worker does not answer."""
    sweep = start(*LONG, "seed=0,1")
    sweep.wait_until_training(2)
    workers = sweep.workers()
    os.kill(workers[0], signal.SIGSTOP)
    sweep.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert sweep.process.poll() is None  # it waits for the worker
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(30) == 130
    assert not any(alive(worker) for worker in workers)
    assert "Traceback" not in sweep.text


# --- workers that die -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_stack_one_more_try(start: Callable[..., Sweep]) -> None:
    """Then its runs fail, with the reason; all others finish; exit code 1."""
    sweep = start(
        *LONG, "iterations=1500", "seed=0,1,2", "hydra.launcher.stack_size=1",
        "model.channels=[2,2]", "model.hidden=[8]",
    )  # fmt: skip

    def unlucky() -> list[Path]:
        return [path for path in sweep.runs if "seed0" in path.name and sweep.rows(path) > 0]

    for _ in range(2):
        sweep.wait_until(lambda: bool(unlucky()))
        table = unlucky()[0] / "train.csv"
        victim = writer_of(table, sweep.workers())
        os.kill(victim, signal.SIGKILL)
        sweep.wait_until(lambda victim=victim: not alive(victim))  # type: ignore[misc]
        table.unlink()
    assert sweep.process.wait(90) == 1, sweep.text
    assert sweep.text.count("it is tried again") == 1
    assert "Traceback" not in sweep.text
    statuses = {path.name: read_status(path) for path in sweep.runs}
    (failed,) = (name for name in statuses if "seed0" in name)
    assert statuses[failed]["status"] == "failed"
    assert statuses[failed]["error"] == "its worker process died (exit code -9)"
    assert f"{failed} failed: its worker process died (exit code -9)" in sweep.text
    others = [status["status"] for name, status in statuses.items() if name != failed]
    assert others == ["finished", "finished"]


def writer_of(table: Path, processes: list[int]) -> int:
    """The process whose pause lets a table no longer grow."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
        time.sleep(0.1)
        before = table.stat().st_size
        time.sleep(1)
        if table.stat().st_size == before:
            return process
        os.kill(process, signal.SIGCONT)
    raise AssertionError(f"none of {processes} writes {table}")


# --- sharing --------------------------------------------------------------------------------------


def _describe(pipe: Connection, data: datasets.Dataset) -> None:
    """In a worker: whether the tensors lie in shared memory, and change them."""
    pipe.send((data.train.images.is_shared(), data.test is None or data.test.images.is_shared()))
    data.train.images[0] = 7
    pipe.send("changed")


def test_workers_see_the_same_memory() -> None:
    """What one process writes the other reads: there is one copy."""
    data = datasets.load(name="fake", images=100, train_size=None, validation_size=20, split_seed=0)
    data.share_memory()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_describe, args=(theirs, data))
    worker.start()
    assert ours.recv() == (True, True)
    assert ours.recv() == "changed"
    assert (data.train.images[0] == 7).all()
    worker.join(30)
    assert worker.exitcode == 0


# --- options of the launcher ----------------------------------------------------------------------


def test_options_are_checked_together() -> None:
    """Each with its key, its value and what is allowed."""
    good = {
        "engine": "local",
        "workers": "auto",
        "stack_size": "auto",
        "skip_finished": True,
        "timeout": 1800,
    }
    assert parse_engine_options(good) == EngineOptions()
    assert parse_engine_options({**good, "workers": 3, "stack_size": 5}) == EngineOptions(3, 5)
    assert parse_engine_options({**good, "timeout": 0}) == EngineOptions(timeout=0)
    bad = {"engine": "ray", "workers": 0, "stack_size": True, "skip_finished": "no", "timeout": -1}
    with pytest.raises(ConfigError) as caught:
        parse_engine_options(bad)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "hydra.launcher.engine=ray", "hydra.launcher.workers=0", "hydra.launcher.stack_size=True",
        "hydra.launcher.skip_finished=no", "hydra.launcher.timeout=-1",
    ]  # fmt: skip
