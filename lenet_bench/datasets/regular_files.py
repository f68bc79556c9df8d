"""Opens files and nothing else: no named pipe, device or socket, which could block for ever.

In: a path. Out: an open file.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, BytesIO
from pathlib import Path

from lenet_bench.choices.image_files import describe_kind

# Without it, opening a named pipe waits for somebody who writes into it.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_FLAGS |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ_AT_ONCE = 1 << 20  # bytes; threads that read in small pieces wait for each other


def open_regular(path: str | Path) -> BufferedReader | BytesIO:
    """Open a file for reading; a small one is read at once.

    Raises:
        OSError: It cannot be opened, or it is no file.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = describe_kind(status.st_mode)
            raise OSError(errno.EINVAL, f"{kind}, not a file", str(path))
        if status.st_size <= _READ_AT_ONCE:
            return BytesIO(os.read(descriptor, status.st_size))
        return os.fdopen(os.dup(descriptor), "rb")
    finally:
        os.close(descriptor)
