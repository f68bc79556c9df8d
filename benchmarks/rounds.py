"""Measures contenders: they start one after another, then take turns, round after round.

In: contenders. Out: a measurement of each in each round. Noise of the machine in a round hits all
of them. Every other round runs backwards, so that no contender always follows the same one.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.contender import Contender, ContenderError, Measurement
from lenet_bench.common.files import new_folder
from lenet_bench.common.machine import available_cores

LOAD_WINDOW = 0.3  # seconds


def measure(
    contenders: Sequence[Contender], rounds: int, console: Console
) -> tuple[list[Mapping[str, Measurement]], dict[str, str]]:
    """Measure all contenders. Ctrl-C after the first round keeps the complete rounds.

    Returns:
        For each round, the measurements by label; and for contenders that failed, the reason by
        label. These are in no round.
    """
    alive = list(contenders)
    failed: dict[str, str] = {}
    measured: list[dict[str, Measurement]] = []

    def give_up(contender: Contender, error: Exception) -> None:
        alive.remove(contender)
        failed[contender.label] = str(error)
        console.print(f"{contender.label}: {error}", markup=False, soft_wrap=True)
        contender.stop()

    for contender in list(alive):
        console.print(f"starting {contender.label}")
        try:
            contender.start()
        except ContenderError as error:
            give_up(contender, error)

    def one_round(number: int) -> dict[str, Measurement]:
        measurements = {}
        for contender in list(alive) if number % 2 else list(reversed(alive)):
            load = other_load()
            try:
                measurements[contender.label] = replace(contender.measure(), other_load=load)
            except ContenderError as error:
                give_up(contender, error)
                continue
            console.print(
                f"round {number} of {rounds}: {contender.label}: "
                f"{measurements[contender.label].milliseconds:.2f} ms"
            )
        return measurements

    for number in range(1, rounds + 1):
        try:
            measured.append(one_round(number))
        except KeyboardInterrupt:
            if not measured:
                raise
            console.print(f"stopped: {len(measured)} whole rounds are kept")
            break
    order = [contender.label for contender in contenders if contender.label not in failed]
    return [{label: one[label] for label in order} for one in measured], failed


def other_load() -> float | None:
    """How many cores are busy while no contender trains; None if the system does not say."""

    def busy() -> float:
        with Path("/proc/stat").open(encoding="ascii") as file:
            user, nice, system = map(int, file.readline().split()[1:4])
        return (user + nice + system) / os.sysconf("SC_CLK_TCK")

    try:
        before, began = busy(), time.perf_counter()
        time.sleep(LOAD_WINDOW)
        return (busy() - before) / (time.perf_counter() - began)
    except OSError:
        return None


def use_cores(count: int | None) -> None:
    """Keep this process and all that it starts on the first `count` cores."""
    if count is None:
        return
    cores = available_cores()
    if not 1 <= count <= len(cores):
        raise SystemExit(f"--threads {count}: this process may use 1 to {len(cores)} cores")
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("--threads: this system cannot keep a process on some cores; leave it out")
    os.sched_setaffinity(0, cores[:count])


@contextmanager
def output_folder(wanted: Path | None) -> Iterator[Path]:
    """Make a new folder for results. It is removed if nothing is written into it."""
    folder = wanted or new_folder("benchmark")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise SystemExit(f"--output {folder}: exists already; name a new folder") from None
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder for data and sweep directories. It is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="lenet-bench-benchmark-"))
    # Without a handler, SIGTERM would end this process but not the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
