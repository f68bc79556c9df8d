"""Trains stacks on this machine: in this process, or in several that share the data.

In: stacks of runs with their data sets. Out: an outcome per run. When a worker dies, its stack is
tried once more from its last checkpoint; one that is silent for too long is killed. The others are
not affected. Ctrl-C lets every worker write what it has.

A user's own module is only ever run in a worker process, which trains nothing else afterwards. So
whatever it does (end the process, hang, change torch's settings) befalls its own stack alone.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from lenet_bench.common.errors import DatasetError, UserError
from lenet_bench.common.memory import MALLOC_SETTINGS, environment, keep_memory
from lenet_bench.common.surroundings import cause_of_failure
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets import Dataset
from lenet_bench.execution import worker_process
from lenet_bench.execution.signals import ALL, StopRequest, held_back
from lenet_bench.execution.worker_process import Inherited, Later
from lenet_bench.records.run_directory import Run, has_ended, mark_failed, mark_interrupted
from lenet_bench.training.loop import train_stack
from lenet_bench.training.recording import Outcome

TRIES = 2  # of a stack whose worker died
BETWEEN_LOOKS = 1.0  # seconds between two looks at how long a worker has been silent
GRACE = 10.0  # seconds that a worker may be silent after it was asked to stop
TRIAL = 120.0  # seconds that a user's own module may take to be imported and tried out

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

    @property
    def is_foreign(self) -> bool:
        """Whether it runs a user's own module."""
        return any(is_foreign(run.config) for run in self.runs)


def is_foreign(config: RunConfig) -> bool:
    """Whether a run needs a user's own module."""
    return config.activation.name == "custom"


@dataclass(frozen=True)
class Reports:
    """What is called while stacks train.

    Attributes:
        progress: With a stack's number, and how many run-iterations of it are done.
        finished: With the outcomes of a stack when it ends.
    """

    progress: Callable[[int, int], None]
    finished: Callable[[Sequence[Outcome]], None]


def train(
    jobs: Sequence[StackJob],
    datasets: Mapping[str, Dataset],
    *,
    workers: int,
    timeout: float,
    reports: Reports,
    stop: StopRequest,
    inherited: Sequence[int] = (),
) -> None:
    """Train all stacks.

    Args:
        jobs: The stacks, in the order to start them.
        datasets: Data sets by the key that jobs name.
        workers: Processes; with one, the stacks are trained in this process, unless one of them
            runs a user's own module.
        timeout: Seconds without a word from a worker, after which it is killed; 0 is never.
        reports: What to call meanwhile.
        stop: When requested, running stacks write what they have. No other stack starts; its runs
            are recorded as interrupted.
        inherited: Open files that workers keep open.
    """
    # `experiment=debug` keeps a user's own module here, where a debugger can follow it.
    apart = any(job.is_foreign for job in jobs) and not _log.isEnabledFor(logging.DEBUG)
    if workers > 1 or apart:
        _Pool(jobs, _share(datasets, workers), workers, timeout, reports, stop, inherited).run()
        return
    keep_memory()
    threads = torch.get_num_threads()
    with stop.handled():
        try:
            for job in jobs:
                progress = functools.partial(reports.progress, job.index)
                reports.finished(
                    _interrupted(job) if stop() else train_job(job, datasets, progress, stop)
                )
        finally:
            torch.set_num_threads(threads)


def _share(datasets: Mapping[str, Dataset], workers: int) -> Later:
    """The data sets as workers get them: in shared memory, or as a copy for a single worker."""
    try:
        for dataset in datasets.values():
            dataset.share_memory()
    except DatasetError:
        if workers > 1:
            raise
        return Later(dict(datasets), shared=False)
    return Later(dict(datasets))


def train_job(
    job: StackJob,
    datasets: Mapping[str, Dataset],
    progress: Callable[[int], None],
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
            progress=progress,
            stopped=stopped,
        )
    except UserError as error:
        return _failed(job, str(error))
    except (Exception, SystemExit) as error:  # SystemExit is a user's own module's
        _log.debug("Stack %d cannot start", job.index, exc_info=True)
        return _failed(job, cause_of_failure(error))


def _failed(job: StackJob, error: str) -> list[Outcome]:
    left = job.left
    for run in left:
        with contextlib.suppress(OSError):  # as on a full disk; the outcome tells it
            mark_failed(run, error)
    return [Outcome(run.directory, "failed", {}, error) for run in left]


def _stopped_early(outcomes: Sequence[Outcome]) -> bool:
    return any(outcome.status == "interrupted" for outcome in outcomes)


def _interrupted(job: StackJob) -> list[Outcome]:
    left = job.left
    for run in left:
        with contextlib.suppress(OSError):
            mark_interrupted(run)
    return [Outcome(run.directory, "interrupted", {}) for run in left]


def try_out_foreign(configs: Iterable[RunConfig]) -> None:
    """Import and try out the users' own modules of some runs, in a process of its own.

    Raises:
        UserError: One of them cannot be used, ends the process, or does not come to an end.
    """
    paths = {config.activation.parameters.get("path"): config for config in configs}
    for path, config in paths.items():
        with _started(worker_process.try_out, Later([config])) as (process, pipe):
            problem = f"it did not come to an end within {TRIAL:.0f} seconds"
            if pipe.poll(TRIAL):
                try:
                    kind, content = pipe.recv()
                except (EOFError, OSError):
                    process.join()
                    problem = f"it ended its process (exit code {process.exitcode})"
                else:
                    problem = content
                    if kind == "checked":
                        if content is not None:
                            raise UserError(content)
                        continue
        raise UserError(f"activation.path={path!r} cannot be tried out: {problem}")


@contextlib.contextmanager
def _started(target: Callable[..., None], content: Later) -> Any:
    process, pipe = _start(target, content)
    try:
        yield process, pipe
    finally:
        with held_back(ALL):
            process.kill()
            process.join()
            pipe.close()


def _start(
    target: Callable[..., None], content: Later, inherited: Sequence[int] = ()
) -> tuple[BaseProcess, Connection]:
    """Start a process that dies with this one; return it with the pipe to it."""
    context = multiprocessing.get_context("spawn")
    pipe, its_end = context.Pipe()
    arguments = (its_end, os.getpid(), content, *(Inherited(file) for file in inherited))
    process = context.Process(target=target, args=arguments)
    # Started by the first process otherwise, when it would let signals through again.
    resource_tracker.ensure_running()
    # A terminal sends Ctrl-C to all processes; workers shall hear of it from this one alone.
    with held_back():
        process.start()
    its_end.close()  # or the worker's death would not be seen
    return process, pipe


@dataclass
class _Worker:
    """A worker process, the pipe to it, and the stack that it trains.

    Attributes:
        process: The process.
        pipe: Stacks go out; progress and outcomes come back.
        job: Its stack; None when there is no more for it.
        began: Whether it has begun to train the stack.
        silent: Seconds without a word from it, as far as this process was awake.
    """

    process: BaseProcess
    pipe: Connection
    job: StackJob | None
    began: bool = False
    silent: float = 0.0


class _Pool:
    """Worker processes that are given stacks until there are no more."""

    def __init__(
        self,
        jobs: Sequence[StackJob],
        datasets: Later,
        workers: int,
        timeout: float,
        reports: Reports,
        stop: StopRequest,
        inherited: Sequence[int],
    ) -> None:
        self.waiting = list(jobs)
        self.tries: dict[int, int] = {}
        self.datasets = datasets
        self.most = workers
        self.timeout = timeout
        self.reports, self.stop = reports, stop
        self.inherited = inherited
        self.workers: list[_Worker] = []  # those that have a stack
        self.leaving: list[BaseProcess] = []

    def run(self) -> None:
        with self.stop.handled(self._forward_stop), environment(MALLOC_SETTINGS):
            try:
                self._start_workers()
                while self.workers:
                    self._look()
                for process in self.leaving:
                    process.join(GRACE)
                if self.stop():
                    for job in self.waiting:
                        self.reports.finished(_interrupted(job))
            finally:
                # Only those that do not answer are left, or all of them after a second Ctrl-C. A
                # third one must not leave any of them behind.
                with held_back(ALL):
                    for process in [*self.leaving, *(worker.process for worker in self.workers)]:
                        process.kill()
                        process.join()

    def _start_workers(self) -> None:
        while self.waiting and len(self.workers) < self.most and not self.stop():
            process, pipe = _start(worker_process.work, self.datasets, self.inherited)
            self.workers.append(_Worker(process, pipe, self.waiting.pop(0)))

    def _look(self) -> None:
        """Wait for words from workers, and end those that have been silent for too long."""
        start = time.monotonic()
        ready = wait([worker.pipe for worker in self.workers], BETWEEN_LOOKS)
        # A command that was stopped by Ctrl-Z was not waiting for anybody.
        passed = min(time.monotonic() - start, 2 * BETWEEN_LOOKS)
        limit = GRACE if self.stop() else self.timeout
        for worker in list(self.workers):
            if worker.pipe in ready:
                worker.silent = 0.0
                self._listen(worker)
                continue
            worker.silent += passed
            if limit and worker.silent >= limit:
                self._end_silent(worker)
        self._start_workers()

    def _listen(self, worker: _Worker) -> None:
        assert worker.job is not None
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            self._handle_death(worker, worker.job)
            return
        if kind == "ready" and self.stop():  # asked while the worker was being started
            self.reports.finished(_interrupted(worker.job))
            self._assign_next(worker, worker.job)
        elif kind == "ready":
            self._send(worker)
        elif kind == "progress":
            worker.began = True
            self.reports.progress(worker.job.index, content)
        elif kind == "finished" and not self.stop() and _stopped_early(content):
            # It was sent a signal that this process was not, and would stop all it is given.
            self._try_again(worker, worker.job, "its worker process was stopped by a signal")
            worker.job = None
            self._send(worker)
            self._let_go(worker)
        elif kind == "finished":
            self.reports.finished(content)
            self._assign_next(worker, worker.job)
        elif kind == "broken":
            self._let_go(worker)
            self.reports.finished(_failed(worker.job, f"its worker cannot work: {content}"))

    def _assign_next(self, worker: _Worker, last: StackJob) -> None:
        """Give a worker the next stack, or let it go."""
        # A user's own module may have changed anything in its process.
        if not self.waiting or self.stop() or last.is_foreign:
            worker.job = None
            self._send(worker)
            self._let_go(worker)
        else:
            worker.job, worker.began = self.waiting.pop(0), False
            self._send(worker)

    def _send(self, worker: _Worker) -> None:
        with contextlib.suppress(OSError):  # the worker is dead already, as its pipe will show
            worker.pipe.send(worker.job)

    def _let_go(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        self.leaving.append(worker.process)

    def _end_silent(self, worker: _Worker) -> None:
        """Kill a worker that does not answer."""
        assert worker.job is not None
        worker.process.kill()
        worker.process.join()
        self.workers.remove(worker)
        number = worker.job.index
        if self.stop():
            print(f"Stack {number}: its worker did not answer and was killed.", file=sys.stderr)
            self.reports.finished(_interrupted(worker.job))
            return
        cause = (
            f"its worker process was killed after {self.timeout:g} seconds without a word "
            "(hydra.launcher.timeout)"
        )
        self.reports.finished(_failed(worker.job, cause))

    def _handle_death(self, worker: _Worker, job: StackJob) -> None:
        worker.process.join()
        self.workers.remove(worker)
        if self.stop():
            # The signal that asks it to stop kills a worker that is still starting up.
            self.reports.finished(_interrupted(job))
            return
        cause = f"its worker process died (exit code {worker.process.exitcode})"
        self._try_again(worker, job, cause)

    def _try_again(self, worker: _Worker, job: StackJob, cause: str) -> None:
        """Give the stack of a lost worker to another one, or give it up."""
        self.tries[job.index] = self.tries.get(job.index, 0) + 1
        if self.tries[job.index] < TRIES:
            print(f"Stack {job.index}: {cause}; it is tried again.", file=sys.stderr)
            # What the first try has begun anew is gone on with.
            self.waiting.insert(0, replace(job, anew=job.anew and not worker.began))
        else:
            self.reports.finished(_failed(job, cause))

    def _forward_stop(self) -> None:
        """Ask the workers to stop."""
        for worker in self.workers:
            worker.silent = 0.0
            if worker.process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGTERM)
