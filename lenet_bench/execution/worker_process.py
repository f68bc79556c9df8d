"""What a worker process does: it trains the stacks that its parent sends, until there are no more.

In: stacks through a pipe, and the data sets. Out: through the pipe progress, outcomes, and at least
every second of training a sign of life. Little is imported before the process is tied to its
parent; what cannot be imported or loaded is an answer, not a traceback.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import TYPE_CHECKING, Any

from lenet_bench.common.parent import end_with_parent
from lenet_bench.common.surroundings import cause_of_failure
from lenet_bench.execution.signals import StopRequest

if TYPE_CHECKING:
    from lenet_bench.datasets import Dataset
    from lenet_bench.execution.workers import StackJob

BETWEEN_SIGNS = 1.0  # seconds


class Later:
    """A value that its process gets as bytes, and reads when it is ready to.

    Args:
        value: The value. Tensors in shared memory stay where they are.
        shared: Whether tensors are to be shared; otherwise they are copied.
    """

    def __init__(self, value: object, *, shared: bool = True) -> None:
        self._value, self._shared = value, shared

    def __reduce__(self) -> tuple[Any, ...]:
        dumps = ForkingPickler.dumps if self._shared else pickle.dumps
        return bytes, (bytes(dumps(self._value)),)


class Inherited:
    """An open file that a process gets when it is started, and keeps open until it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _keep_open, (DupFd(self._descriptor),)


def _keep_open(duplicate: Any) -> int:
    return int(duplicate.detach())


def work(pipe: Connection, parent: int, datasets: bytes, *_inherited: int) -> None:
    """Train stacks until the parent has no more, then end the process.

    Args:
        pipe: To the parent.
        parent: Its process number.
        datasets: The data sets by the keys that stacks name, as `Later` sends them.
        *_inherited: Files to keep open, such as the lock of the sweep.
    """
    end_with_parent(parent)
    stop = StopRequest()
    with stop.handled_in_worker():
        _answer(pipe, lambda: _serve(pipe, _read(datasets), stop))


def try_out(pipe: Connection, parent: int, configs: bytes) -> None:
    """Check configurations whose activation is the user's own module.

    Sends `("checked", problem)`; the problem is None if there is none.

    Args:
        pipe: To the parent.
        parent: Its process number.
        configs: The configurations, as `Later` sends them.
    """
    end_with_parent(parent)
    _answer(pipe, lambda: _check(pipe, _read(configs)))


def _read(content: bytes) -> Any:
    return pickle.loads(content)  # noqa: S301  of the parent process


def _answer(pipe: Connection, act: Callable[[], None]) -> None:
    """Act, report an error to the parent, and end the process.

    The process ends without the steps of the interpreter's end, some of which may be the user's.
    """
    try:
        act()
    except EOFError:
        pass  # the parent is gone
    except BaseException as error:
        _send(pipe, "broken", cause_of_failure(error))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(0)


def _serve(pipe: Connection, datasets: Mapping[str, Dataset], stop: StopRequest) -> None:
    from lenet_bench.execution.workers import train_job

    next_sign = 0.0

    def progress(done: int) -> None:
        _send(pipe, "progress", done)

    def stopped() -> bool:
        nonlocal next_sign
        if time.monotonic() >= next_sign:
            next_sign = time.monotonic() + BETWEEN_SIGNS
            _send(pipe, "alive", None)
        return stop()

    _send(pipe, "ready", None)
    while (job := _receive(pipe)) is not None:
        _send(pipe, "finished", train_job(job, datasets, progress, stopped))


def _send(pipe: Connection, kind: str, content: object) -> None:
    try:
        pipe.send((kind, content))
    except OSError:  # the parent is gone, and another command may write already
        os._exit(1)


def _receive(pipe: Connection) -> StackJob | None:
    job: StackJob | None = pipe.recv()
    return job


def _check(pipe: Connection, configs: Any) -> None:
    from lenet_bench.common.errors import UserError
    from lenet_bench.training.build import check_on_this_machine

    problem = None
    try:
        check_on_this_machine(configs)
    except UserError as error:
        problem = str(error)
    _send(pipe, "checked", problem)
