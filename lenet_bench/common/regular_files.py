"""Reads files of folders that others may have filled: no pipe, no device, and no end of bytes.

In: a path. Out: its content, or an `OSError` that says what is there instead.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    *((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket")),
    *((stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device")),
)


# Without it, opening a FIFO waits for somebody who writes into it.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_descriptor(path: str | Path, refusal: Callable[[int], str]) -> int:
    """Open a file for reading, unless it is none: reading a FIFO or a device may never end.

    Args:
        path: The file.
        refusal: Says what is there instead, by its `st_mode`.

    Raises:
        OSError: It cannot be opened, or is no file.
    """

    def refuse_others(mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, refusal(mode), str(path))

    # Opening a device may already do something. A Path for each of many small files takes longer.
    refuse_others(os.stat(path).st_mode)  # noqa: PTH116
    descriptor = os.open(path, _FLAGS)
    try:
        refuse_others(os.fstat(descriptor).st_mode)  # it may have been exchanged since
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, as `open_descriptor` does.

    Raises:
        OSError: It cannot be opened, or is no file.
    """
    with os.fdopen(open_descriptor(path, _refusal), "rb") as file:
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
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, at_most) + 1)  # which takes the memory of so many at once
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"holds more than {at_most:,} bytes", str(path))
    return content


def _refusal(mode: int) -> str:
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    return f"is {kind}, not a file"
