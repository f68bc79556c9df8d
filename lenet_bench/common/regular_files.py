"""Reads files of folders that others may have filled: no pipe, no device, and no end of bytes.

In: a path. Out: its content, or an `OSError` that says what is there instead.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    *((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket")),
    *((stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device")),
)


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, unless it is none: reading a FIFO or a device may never end.

    Raises:
        OSError: It cannot be opened, or is no file.
    """
    _refuse_others(path, path.stat().st_mode)  # opening a device may already do something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        _refuse_others(path, os.fstat(descriptor).st_mode)  # it may have been exchanged since
        yield file


def read_regular(path: Path, at_most: int | None = None) -> bytes:
    """Read a file.

    Args:
        path: The file.
        at_most: How many bytes it may hold.

    Raises:
        OSError: It cannot be read, is no file, or is too large.
    """
    with open_regular(path) as file:
        if at_most is None:
            return file.read()
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"holds more than {at_most:,} bytes", str(path))
    return content


def _refuse_others(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise OSError(errno.EINVAL, f"is {kind}, not a file", str(path))
