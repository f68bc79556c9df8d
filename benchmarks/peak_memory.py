"""Measures the peak memory of a sweep over all of its processes.

In: a sweep. Out: bytes. Memory that processes share is counted once (PSS: each shared page is
divided by the number of processes that share it).
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.contender import ContenderError
from benchmarks.sweeps import Sweep, end

POLL_INTERVAL = 0.25  # seconds


def measure_peak(sweep: Sweep, directory: Path) -> int:
    """Run a sweep from its start to the end of its report, and watch its memory."""
    process = sweep.launch(directory)
    peak = 0
    try:
        while process.poll() is None:
            peak = max(peak, sum(proportional_size(member) for member in group(process.pid)))
            time.sleep(POLL_INTERVAL)
    finally:
        end(process)
    if process.returncode:
        raise ContenderError(f"{sweep.label}: the command exited with {process.returncode}")
    return peak


def group(leader: int) -> list[Path]:
    """The folders in /proc of the processes of a group."""
    members = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name of the program, in parentheses, may hold anything.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) == leader:
            members.append(folder)
    return members


def proportional_size(folder: Path) -> int:
    """Proportional set size of a process, in bytes; 0 if it has ended."""
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return 1024 * sum(sizes)
