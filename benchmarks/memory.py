"""Peak memory of a sweep, over all of its processes.

In: a sweep. Out: bytes. Memory that processes share counts once (PSS: each shared page is divided
by the number of processes that have it).
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.contender import ContenderError
from benchmarks.sweeps import Sweep, end

BETWEEN_LOOKS = 0.25  # seconds


def peak(sweep: Sweep, directory: Path) -> int:
    """Run a sweep from its start to the end of its report, and watch its memory."""
    process = sweep.launch(directory)
    most = 0
    try:
        while process.poll() is None:
            most = max(most, sum(proportional(member) for member in group(process.pid)))
            time.sleep(BETWEEN_LOOKS)
    finally:
        end(process)
    if process.returncode:
        raise ContenderError(f"{sweep.label}: the command exited with {process.returncode}")
    return most


def group(leader: int) -> list[Path]:
    """Folders in /proc of the processes of a group."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name of the program, in parentheses, may hold anything.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) == leader:
            found.append(folder)
    return found


def proportional(folder: Path) -> int:
    """Proportional set size of a process, in bytes; 0 where it has ended."""
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return 1024 * sum(sizes)
