"""`start`: the real command, and its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import last_of_each
from tests.execution.real import Sweep


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    """Start commands; whatever of them is left is ended."""
    started: list[Sweep] = []

    def begin(*arguments: str, truly: bool = False) -> Sweep:
        started.append(Sweep(tmp_path, *last_of_each(arguments), truly=truly))
        return started[-1]

    yield begin
    for sweep in started:
        for process in [*sweep.workers(), sweep.process.pid]:
            if sweep.process.poll() is None or process != sweep.process.pid:
                os.kill(process, signal.SIGKILL)
        sweep.process.wait()
