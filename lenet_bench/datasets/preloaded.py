"""Opens image files and caches, and nothing else: no named pipe, device or socket.

In: a path. Out: an open file.
"""

from __future__ import annotations

import os
from io import BufferedReader, BytesIO
from pathlib import Path

from lenet_bench.choices.image_files import describe_kind
from lenet_bench.common.regular_files import open_descriptor

_READ_AT_ONCE = 1 << 20  # bytes; threads that read in small pieces wait for each other


def open_preloaded(path: str | Path) -> BufferedReader | BytesIO:
    """Open a file for reading; a small one is read at once.

    Raises:
        OSError: It cannot be opened, or it is no file.
    """
    descriptor = open_descriptor(path, lambda mode: f"{describe_kind(mode)}, not a file")
    try:
        size = os.fstat(descriptor).st_size
        if size <= _READ_AT_ONCE:
            return BytesIO(os.read(descriptor, size))
        return os.fdopen(os.dup(descriptor), "rb")
    finally:
        os.close(descriptor)
