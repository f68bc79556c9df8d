"""How the C library hands out memory: large blocks are kept between iterations.

glibc returns large blocks to the system at once and pays for fresh pages at every iteration, which
costs more than the arithmetic of a stack (docs/LOG.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Mapping

# Read by glibc when a process starts, so for worker processes.
MALLOC_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
}


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started meanwhile; the user's own values win."""
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def keep_memory() -> None:
    """Apply what `MALLOC_SETTINGS` ask for to this running process, as far as glibc allows."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_max, largest = -1, -4, 2**31 - 1
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, largest)
