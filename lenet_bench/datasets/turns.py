"""Processes that need the same data take turns: one works, the others wait and say so.

In: a lock file and what is done while it is held. Out: a context in which no other process does the
same; if there is a wait, a line on standard error that says what is waited for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lenet_bench.common.text import printable


@contextmanager
def take_turn(lock_file: Path, dataset: str, work: str) -> Iterator[bool]:
    """Hold a lock file; if another process holds it, say so at once and wait until it is free.

    The system frees the lock of a process that dies, so nobody waits for a process that is gone.

    Args:
        lock_file: The file to lock, in a folder that exists.
        dataset: The name of the data set, for the message.
        work: What is done in turn, such as "downloading into data".

    Yields:
        Whether another process had the lock first; it may have done the work already.

    Raises:
        OSError: The lock file cannot be made.
    """
    lock = FileLock(lock_file)
    waited = False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waited = True
        print(
            f"dataset {dataset}: waiting for another process that is {printable(work)} "
            f"(it holds the lock {printable(lock_file)})",
            file=sys.stderr,
            flush=True,
        )
        lock.acquire()
    try:
        yield waited
    finally:
        lock.release()
