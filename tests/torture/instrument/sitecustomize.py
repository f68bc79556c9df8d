"""Counts the iterations of all processes of a command, and kills one of them inside a function.

Python imports this file at the start of every process that has its folder on PYTHONPATH, worker
processes included. Nothing of the program is changed but that a call is counted.

In, from the environment: TORTURE_ITERATIONS, a file that all processes share (run-iterations, then
calls of the function); TORTURE_KILL, `MODULE:FUNCTION:N`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import mmap
import os
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

STEP = "lenet_bench.training.step"
FILE = os.environ.get("TORTURE_ITERATIONS", "")
MODULE, _, WHERE = os.environ.get("TORTURE_KILL", "").partition(":")


def _add(slot: int, amount: int) -> int:
    """Add to a number that all processes share; two of them at once may lose a count."""
    import fcntl

    with Path(FILE).open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with mmap.mmap(file.fileno(), 16) as memory:
            (value,) = struct.unpack_from("q", memory, 8 * slot)
            struct.pack_into("q", memory, 8 * slot, value + amount)
    return int(value) + amount


def _count_steps(module: ModuleType) -> None:
    call = module.TrainingStep.__call__

    def counted(self: Any, *arguments: Any) -> None:
        call(self, *arguments)
        _add(0, self._stack.runs)

    module.TrainingStep.__call__ = counted


def _kill_in(module: ModuleType) -> None:
    path, _, number = WHERE.rpartition(":")
    owner: Any = module
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function: Callable[..., Any] = getattr(owner, name)

    def killing(*arguments: Any, **options: Any) -> Any:
        if _add(1, 1) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    setattr(owner, name, killing)


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the modules be imported as ever, and works on them when they are there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in (STEP, MODULE):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_instrument(module: ModuleType) -> None:
            execute(module)
            if name == STEP:
                _count_steps(module)
            if name == MODULE:
                _kill_in(module)

        spec.loader.exec_module = execute_and_instrument  # type: ignore[method-assign]
        return spec


if FILE:
    sys.meta_path.insert(0, _Finder())
