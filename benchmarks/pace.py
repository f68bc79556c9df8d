"""Peers as processes that train only when they are asked to, so that methods take turns.

In: a `train` function of `benchmarks.peers` and how many processes train at the same time. Out:
wall time per model and iteration, round by round, of one long training that pauses between rounds.

Data, compilation and thread pools live as long as the process: start-up is paid before the first
round and never timed. After each pause a few iterations pass untimed, since caches have gone cold.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contender import ContenderError, Measurement
from benchmarks.workload import Workload
from lenet_bench.common.machine import available_cores

PATIENCE = 900.0  # seconds without an answer, after which a peer counts as hung


@dataclass(frozen=True)
class Pace:
    """How many iterations pass: untimed at the start, untimed after each pause, timed."""

    warmup: int
    settle: int
    timed: int


class Finished(Exception):  # noqa: N818, it is no error
    """The measurement is over: the training loop is to be left."""


class Pacer:
    """The peer's end of the pipe: counts iterations, reads the clock, waits between rounds.

    Args:
        pipe: To the process that asks.
        pace: When to read the clock.
    """

    def __init__(self, pipe: Connection, pace: Pace) -> None:
        self._pipe = pipe
        self._pace = pace
        self._left = pace.warmup  # iterations of the current stretch
        self._timing = False
        self._warm = False
        self._started = 0.0
        self._kept: list[Any] = []

    def tick(self, losses: Any) -> None:
        """One iteration is done.

        Args:
            losses: Mean loss of the mini-batch, in nats, of each model; whatever numpy can read. It
                is only read where the clock is, so that it need not be there before.

        Raises:
            Finished: There are no more rounds.
        """
        self._kept.append(losses)
        self._left -= 1
        if self._left:
            return
        np.asarray(losses)  # waits for a device or runtime that works ahead
        now = time.perf_counter()
        if self._timing:
            self._pipe.send((now - self._started, self._block()))
            self._wait()
        elif not self._warm:
            self._warm = True
            self._pipe.send((0.0, self._block()))
            self._wait()
        else:
            self._timing, self._left = True, self._pace.timed
            self._started = time.perf_counter()

    def _block(self) -> NDArray[np.float64]:
        """Losses since the last answer, (iterations, models)."""
        kept, self._kept = self._kept, []
        return np.stack([np.atleast_1d(np.asarray(item, np.float64)) for item in kept])

    def _wait(self) -> None:
        if not self._pipe.recv():
            raise Finished
        self._timing, self._left = False, self._pace.settle


@dataclass(frozen=True)
class Task:
    """What one process trains: a module of `benchmarks`, and its arguments."""

    module: str
    workload: Workload
    pace: Pace
    models: int
    loaders: int
    seed: int
    core: int | None  # the only core that it may use; None leaves it all


def _work(pipe: Connection, task: Task) -> None:
    """A peer's life. Libraries are imported after pinning: their thread pools follow it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides
    if task.core is not None:
        os.sched_setaffinity(0, {task.core})
    with contextlib.suppress(Finished, EOFError, OSError):
        train = importlib.import_module(task.module).train
        pacer = Pacer(pipe, task.pace)
        train(task.workload, pacer, models=task.models, loaders=task.loaders, seed=task.seed)


class Peer:
    """A method in one process, or in several that train at the same time.

    Args:
        method: The name that `--methods` takes.
        label: What the table calls it.
        module: Where its `train` function is.
        workload: What to train on.
        pace: When to read the clock.
        models: Models that each process trains together.
        loaders: Processes of its `DataLoader`.
        pinned: Whether there is one process per core, each pinned to its own.
        operations: Floating-point operations of one iteration, for a peer that does not train: then
            its rate is measured, and the time is that of `model_operations` at this rate.
        model_operations: Floating-point operations of one training step of one model.
    """

    def __init__(
        self,
        method: str,
        label: str,
        module: str,
        workload: Workload,
        pace: Pace,
        *,
        models: int = 1,
        loaders: int = 0,
        pinned: bool = False,
        operations: int | None = None,
        model_operations: int | None = None,
    ) -> None:
        self.method, self.label = method, label
        cores: list[int | None] = [*available_cores()] if pinned else [None]
        self.models = models * len(cores)
        self._tasks = [
            Task(module, workload, pace, models, loaders, seed, core)
            for seed, core in enumerate(cores)
        ]
        self._pace = pace
        self._operations, self._model_operations = operations, model_operations
        self._models_per_process = models
        self._blocks: list[list[NDArray[np.float64]]] = [[] for _ in cores]
        self._processes: list[Any] = []
        self._pipes: list[Any] = []
        self._startup: float | None = None

    def start(self) -> None:
        """Start the processes and wait until they are warm."""
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        began = time.perf_counter()
        for task in self._tasks:
            parent_end, child_end = context.Pipe()
            process = context.Process(target=_work, args=(child_end, task))
            process.start()
            child_end.close()  # otherwise the death of the process would not be noticed
            self._processes.append(process)
            self._pipes.append(parent_end)
        self._answers()
        self._startup = time.perf_counter() - began

    def measure(self) -> Measurement:
        """Let all processes train at the same time; their speeds add up."""
        for pipe in self._pipes:
            pipe.send(True)
        speed = sum(self._pace.timed / seconds for seconds in self._answers())  # iterations/s
        startup, self._startup = self._startup, None
        if self._operations is not None and self._model_operations is not None:
            rate = speed * self._operations
            return Measurement(1000 * self._model_operations / rate, rate)
        return Measurement(1000 / (speed * self._models_per_process), startup=startup)

    def losses(self) -> list[list[float]]:
        """Training losses of each model."""
        together = np.concatenate([np.concatenate(blocks) for blocks in self._blocks], axis=1)
        return [list(model) for model in together.T]

    def stop(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(False)
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes, self._pipes = [], []

    def _answers(self) -> Sequence[float]:
        seconds = []
        for pipe, blocks in zip(self._pipes, self._blocks, strict=True):
            try:
                if not pipe.poll(PATIENCE):
                    raise ContenderError(f"{self.label}: no answer for {PATIENCE:g} s")
                took, block = pipe.recv()
            except (EOFError, OSError):
                raise ContenderError(
                    f"{self.label}: its process died; its message is above"
                ) from None
            blocks.append(block)
            seconds.append(took)
        return seconds
