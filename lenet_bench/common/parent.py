"""Processes that end with the process that started them, however that one ends.

In: the number of the parent. Out: nothing; this process is killed when the parent is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1  # linux/prctl.h
BETWEEN_LOOKS = 0.2  # seconds


def end_with_parent(parent: int) -> None:
    """Have this process killed as soon as its parent is gone.

    A killed parent cannot tell its children to stop. On Linux the kernel does; elsewhere a thread
    looks.

    Args:
        parent: The number of the process that started this one. It may be gone already.
    """
    if not _ask_the_kernel():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def _ask_the_kernel() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return False
    return bool(prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGKILL)
