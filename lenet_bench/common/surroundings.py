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

from lenet_bench.common.errors import in_one_line
from lenet_bench.common.text import printable

# Figures are drawn without a window. A notebook hands down a backend that only it can load.
# A build hands down a date, and numpy cannot be loaded where that is no number.
OF_COMMANDS = {"MPLBACKEND": "agg", "SOURCE_DATE_EPOCH": "0"}
# A new Python process searches the current folder first, where a `random.py` may lie.
OF_WORKERS = {**OF_COMMANDS, "PYTHONSAFEPATH": "1"}

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
# What libraries say instead of raising a MemoryError; the second is oneDNN's.
_OF_MEMORY = ("can't allocate memory", "could not create a ", "bad_alloc", "failed to map segment")


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, (RuntimeError, ImportError)):
        if any(words in str(error) for words in _OF_MEMORY):
            return True
        # torch.save hides what happened to it behind an error of its archive.
        return error.__context__ is not None and is_out_of_memory(error.__context__)
    return isinstance(error, MemoryError)


def cause_of_failure(error: BaseException) -> str:
    """Why a run failed, in a line: of a file that cannot be written its name, else the error."""
    if is_out_of_memory(error):
        return f"there is not enough memory ({in_one_line(error)})"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{printable(str(error.filename))}: {error.strerror}"
    return in_one_line(error)


def explain_surroundings(error: BaseException, folder: Path | None = None) -> str | None:
    """An error that the machine caused, in a line for the user; None for any other.

    Args:
        error: The error.
        folder: Where the command writes; named if a disk fails and the error names no file.
    """
    text = printable(" ".join(str(error).split()))
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if is_out_of_memory(error):
        return f"there is not enough memory ({named}); end other programs, or lift `ulimit -v`"
    if isinstance(error, ImportError):
        return f"a library cannot be loaded ({named}); install lenet-bench anew"
    if isinstance(error, OSError):
        place = error.filename or (folder if error.errno in _OF_DISKS else None)
        reason = error.strerror or named
        return f"{printable(str(place))}: {reason}" if place else reason
    return None
