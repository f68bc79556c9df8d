"""What surrounds a command: environment variables it is not to inherit, and errors of the machine.

In: the environment of the process, an exception. Out: an environment that a notebook, a shell or
the current folder cannot spoil, and a line for the user about what the machine lacks.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

# Figures are drawn without a window. A notebook hands down a backend that only it can load.
OF_COMMANDS = {"MPLBACKEND": "agg"}
# A new Python process searches the current folder first, where a `random.py` may lie.
OF_WORKERS = {**OF_COMMANDS, "PYTHONSAFEPATH": "1"}

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@contextlib.contextmanager
def surroundings(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for this process, and for those that it starts meanwhile."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def explain_surroundings(error: BaseException, folder: Path | None = None) -> str | None:
    """An error that the machine caused, in a line for the user; None for any other.

    Args:
        error: The error.
        folder: Where the command writes; named if a disk fails and the error names no file.
    """
    text = " ".join(str(error).split())
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    out_of_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or out_of_memory or "failed to map segment" in text:
        return f"there is not enough memory ({named}); end other programs, or lift `ulimit -v`"
    if isinstance(error, ImportError):
        return f"a library cannot be loaded ({named}); install lenet-bench anew"
    if isinstance(error, OSError):
        place = error.filename or (folder if error.errno in _OF_DISKS else None)
        return f"{place}: {error.strerror or named}" if place else error.strerror or named
    return None
