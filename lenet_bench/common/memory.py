"""Settings of the C library's allocator: it keeps large blocks of memory between iterations.

By default glibc returns large blocks to the system at once and needs fresh pages at every
iteration, which costs more than the arithmetic of a stack (docs/LOG.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Mapping

# glibc reads these when a process starts; they are for worker processes.
MALLOC_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
}


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes started inside; the user's own values win."""
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def keep_memory() -> None:
    """Apply the meaning of `MALLOC_SETTINGS` to this process, as far as glibc allows."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_max, largest = -1, -4, 2**31 - 1
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, largest)
