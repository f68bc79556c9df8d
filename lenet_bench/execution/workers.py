"""Trains stacks on this machine: in this process, or in several that share the data.

In: stacks of runs with their data sets. Out: an outcome per run. When a worker dies, its stack is
tried once more, and the others are not affected. Ctrl-C lets every worker write what it has.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from lenet_bench.common.errors import UserError
from lenet_bench.common.memory import MALLOC_SETTINGS, environment, keep_memory
from lenet_bench.datasets import Dataset
from lenet_bench.execution.signals import StopRequest
from lenet_bench.records.run_directory import Run, has_ended, mark_failed, mark_interrupted
from lenet_bench.training.loop import train_stack
from lenet_bench.training.recording import Outcome

TRIES = 2  # of a stack whose worker died

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StackJob:
    """A stack to train.

    Attributes:
        index: Its number in the sweep.
        runs: All its runs in the order of the plan, those that have ended included: the bits of
            each depend on the others.
        dataset: The key of their data set.
        checkpoint: Where its state is kept while it trains.
        threads: Threads that compute it, on which bits depend too.
        facts: What `status.json` says of each run besides.
        anew: Whether runs that have ended are trained again.
    """

    index: int
    runs: tuple[Run, ...]
    dataset: str
    checkpoint: Path
    threads: int
    facts: Mapping[str, Any]
    anew: bool

    @property
    def left(self) -> list[Run]:
        """The runs that are to be trained."""
        return [run for run in self.runs if self.anew or not has_ended(run.directory)]


def train(
    jobs: Sequence[StackJob],
    datasets: Mapping[str, Dataset],
    *,
    workers: int,
    progress: Callable[[int, int], None],
    finished: Callable[[Sequence[Outcome]], None],
    stop: StopRequest,
) -> None:
    """Train all stacks.

    Args:
        jobs: The stacks, in the order to start them.
        datasets: Data sets by the key that jobs name.
        workers: Processes; with one, the stacks are trained in this process.
        progress: Called with the number of a stack and how many of its run-iterations are done.
        finished: Called with the outcomes of a stack when it ends.
        stop: When requested, running stacks write what they have. No other stack starts; its runs
            are recorded as interrupted.
    """
    if workers == 1:
        keep_memory()
        with stop.handled():
            for job in jobs:
                outcomes = (
                    _interrupted(job) if stop() else _train_job(job, datasets, progress, stop)
                )
                finished(outcomes)
        return
    for dataset in datasets.values():
        dataset.share_memory()
    _Pool(jobs, datasets, workers, progress, finished, stop).run()


def _train_job(
    job: StackJob,
    datasets: Mapping[str, Dataset],
    progress: Callable[[int, int], None],
    stopped: Callable[[], bool],
) -> list[Outcome]:
    """Train a stack; an error that keeps it from starting becomes the outcome of its runs."""
    if torch.get_num_threads() != job.threads:
        torch.set_num_threads(job.threads)
    try:
        return train_stack(
            job.runs,
            datasets[job.dataset],
            index=job.index,
            checkpoint=job.checkpoint,
            facts=job.facts,
            anew=job.anew,
            progress=partial(progress, job.index),
            stopped=stopped,
        )
    except UserError as error:
        return _failed(job, str(error))
    except Exception as error:
        _log.debug("Stack %d cannot start", job.index, exc_info=True)
        return _failed(job, f"{type(error).__name__}: {error}")


def _failed(job: StackJob, error: str) -> list[Outcome]:
    left = job.left
    for run in left:
        mark_failed(run, error)
    return [Outcome(run.directory, "failed", {}, error) for run in left]


def _interrupted(job: StackJob) -> list[Outcome]:
    left = job.left
    for run in left:
        mark_interrupted(run)
    return [Outcome(run.directory, "interrupted", {}) for run in left]


class _Pool:
    """Worker processes, each with a pipe: stacks go out; progress and outcomes come back."""

    def __init__(
        self,
        jobs: Sequence[StackJob],
        datasets: Mapping[str, Dataset],
        workers: int,
        progress: Callable[[int, int], None],
        finished: Callable[[Sequence[Outcome]], None],
        stop: StopRequest,
    ) -> None:
        self.waiting = list(jobs)
        self.tries: dict[int, int] = {}
        self.datasets = datasets
        self.workers = workers
        self.progress, self.finished, self.stop = progress, finished, stop
        self.processes: dict[Connection, BaseProcess] = {}  # by pipe
        self.running: dict[Connection, StackJob | None] = {}

    def run(self) -> None:
        with self.stop.handled(self._forward_stop), environment(MALLOC_SETTINGS):
            try:
                for _ in range(min(self.workers, len(self.waiting))):
                    self._start_worker()
                while self.running:
                    ready = wait(list(self.running))
                    for pipe in [pipe for pipe in self.running if pipe in ready]:
                        self._listen(pipe)
            except BaseException:  # a second Ctrl-C: a worker may not answer any more
                for process in self.processes.values():
                    process.kill()
                raise
            finally:
                for process in self.processes.values():
                    process.join()
                if self.stop():
                    for job in self.waiting:
                        self.finished(_interrupted(job))

    def _start_worker(self) -> None:
        context = multiprocessing.get_context("spawn")
        pipe, workers_end = context.Pipe()
        process = context.Process(target=_work, args=(workers_end, self.datasets))
        # A terminal sends Ctrl-C to the workers too; they shall hear of it from this process alone.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        workers_end.close()  # or the worker's death would not be seen
        self.processes[pipe] = process
        self.running[pipe] = None
        self._assign(pipe)

    def _assign(self, pipe: Connection) -> None:
        """Give a worker the next stack, or let it go."""
        if not self.waiting or self.stop():
            self.running.pop(pipe)
            with contextlib.suppress(OSError):
                pipe.send(None)
            return
        job = self.waiting.pop(0)
        self.running[pipe] = job
        with contextlib.suppress(OSError):  # the worker is dead already, as its pipe will show
            pipe.send(job)

    def _listen(self, pipe: Connection) -> None:
        try:
            kind, content = pipe.recv()
        except (EOFError, OSError):
            self._handle_death(pipe)
            return
        if kind == "progress":
            self.progress(*content)
        else:
            self.finished(content)
            self._assign(pipe)

    def _handle_death(self, pipe: Connection) -> None:
        job = self.running.pop(pipe)
        process = self.processes.pop(pipe)
        process.join()
        if job is not None and self.stop():
            # The signal that asks it to stop kills a worker that is still starting up.
            self.finished(_interrupted(job))
        elif job is not None:
            self.tries[job.index] = self.tries.get(job.index, 0) + 1
            cause = f"its worker process died (exit code {process.exitcode})"
            if self.tries[job.index] < TRIES:
                print(f"Stack {job.index}: {cause}; it is tried again.", file=sys.stderr)
                self.waiting.insert(0, job)
            else:
                self.finished(_failed(job, cause))
        if self.waiting and not self.stop():
            self._start_worker()

    def _forward_stop(self) -> None:
        """Ask the workers to stop."""
        for process in self.processes.values():
            if process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)


def _work(pipe: Connection, datasets: Mapping[str, Dataset]) -> None:
    """What a worker process does: train stacks until there are no more."""
    stop = StopRequest()

    def progress(stack: int, done: int) -> None:
        try:
            pipe.send(("progress", (stack, done)))
        except OSError:  # the parent is gone
            stop.requested = True

    with stop.handled():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent passes it on as SIGTERM
        with contextlib.suppress(EOFError, OSError):
            while (job := pipe.recv()) is not None:
                pipe.send(("finished", _train_job(job, datasets, progress, stop)))
