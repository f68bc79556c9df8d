"""Sweeps of lenet-bench as contenders: the real command, timed from outside by its records.

In: arguments of `lenet-bench`. Out: wall time per run and iteration, and the losses of `train.csv`.

The command runs in a process of its own and starts its workers as usual. Whenever the `train.csv`
of a run grows, the number of rows and the time are noted; between two notes, the rows are assumed
to come evenly. Counting begins when every run of the first stacks has written its first block, so
start-up, composing and loading are left out. It ends when the first worker has nothing left to do.
The change from one stack to the next, writing records and saving weights are included. The report
at the end is not.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.contender import ContenderError, Measurement

POLL_INTERVAL = 0.05  # seconds
PATIENCE = 300.0  # seconds without a new row
COMPARED = ("relu-", "-lr0.01-")  # parts of the names of runs that train what the peers train


@dataclass
class Rows:
    """How the `train.csv` of one run grew.

    Attributes:
        seconds: Times of change, on the system's clock.
        counts: Rows that were there, the header excluded.
        opened: When the header was written, if that was seen.
    """

    seconds: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    opened: float = 0.0
    _read: int = 0  # bytes
    _lines: int = 0

    def update(self, path: Path) -> bool:
        """Note new rows; return whether there were any."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size == self._read:
                    return False
                file.seek(self._read)
                new = file.read(status.st_size - self._read)
        except FileNotFoundError:
            return False
        self._read += len(new)
        self._lines += new.count(b"\n")
        if self._lines == 1:
            self.opened = status.st_mtime_ns / 1e9
        if self._lines < 2 or (self.counts and self.counts[-1] == self._lines - 1):
            return False  # the header alone, or part of a row
        self.seconds.append(status.st_mtime_ns / 1e9)
        self.counts.append(self._lines - 1)
        return True

    def time_of(self, count: int) -> float:
        """The first time at which the run had at least `count` rows."""
        return self.seconds[next(k for k, rows in enumerate(self.counts) if rows >= count)]

    @property
    def began(self) -> float:
        """When the first row was begun, estimated by the speed of the next ones."""
        if len(self.counts) < 2:
            return self.opened
        (first, second), (t1, t2) = self.counts[:2], self.seconds[:2]
        # On a busy machine the speed changes; the estimate may lie before the file existed.
        return max(self.opened, t1 - first * (t2 - t1) / (second - first))

    def at(self, moment: float) -> float:
        """How many rows were done at a moment, interpolated."""
        return float(np.interp(moment, [self.began, *self.seconds], [0, *self.counts]))


def steady_rate(runs: Sequence[Rows], skip: int) -> tuple[float, float]:
    """Run-iterations per second of a sweep that was trained to its end.

    Args:
        runs: Its runs, in any order.
        skip: Iterations of the first runs that are not counted.

    Returns:
        The rate, and when counting began.
    """
    first_end = min(run.seconds[-1] for run in runs)
    start = max(run.time_of(skip) for run in runs if run.began < first_end)
    last_begin = max(run.began for run in runs)
    end = min(run.seconds[-1] for run in runs if run.seconds[-1] > last_begin)
    if end <= start:
        raise ContenderError("the sweep was too short to be timed: raise --iterations")
    done = sum(run.at(end) - run.at(start) for run in runs)
    return done / (end - start), start


class Sweep:
    """A command that is run once a round.

    Args:
        method: Its name in `--methods`.
        label: Its name in the table.
        arguments: The arguments of the command.
        runs: How many runs they make.
        iterations: Budget of each run.
        skip: Iterations of the first runs that are not counted.
        folder: An empty folder for its sweep directories.
        module: The Python module that is run.
        reports: Whether to wait for its report; otherwise it is ended when all runs are trained.
    """

    def __init__(
        self,
        method: str,
        label: str,
        arguments: Iterable[str],
        *,
        runs: int,
        iterations: int,
        skip: int,
        folder: Path,
        module: str = "lenet_bench",
        reports: bool = False,
    ) -> None:
        self.method, self.label, self.models = method, label, runs
        self._arguments = [*arguments, f"iterations={iterations}", "device=cpu"]
        self._iterations, self._skip = iterations, skip
        self._folder = folder
        self._module, self._reports = module, reports
        self._losses: list[list[float]] = []

    def start(self) -> None:
        """Do nothing: no process lives between rounds."""

    def stop(self) -> None:
        """Do nothing: no process lives between rounds."""

    def losses(self) -> list[list[float]]:
        """Training losses, in the last round, of the runs that train what the peers train."""
        return self._losses

    def measure(self) -> Measurement:
        """Train the sweep from its beginning to its end."""
        directory = self._folder / "sweep"
        began = time.time()
        process = self.launch(directory)
        try:
            runs = self._watch(process, directory)
            if self._reports:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
        finally:
            end(process)
        rate, counting = steady_rate(list(runs.values()), self._skip)
        self._losses = [
            read_losses(path)
            for path in sorted(runs)
            if all(part in path.parent.name for part in COMPARED)
        ]
        shutil.rmtree(directory)
        return Measurement(1000 / rate, startup=counting - began)

    def launch(self, directory: Path) -> subprocess.Popen[bytes]:
        """Start the command, in a process group of its own."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603  our own modules, no shell
                [
                    *(sys.executable, "-m", self._module),
                    *self._arguments,
                    f"hydra.sweep.dir={directory}",
                ],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self, process: subprocess.Popen[bytes], directory: Path) -> Mapping[Path, Rows]:
        """Follow the records until every run has all its rows."""
        runs: dict[Path, Rows] = {}
        last_news = time.monotonic()
        next_search = 0.0
        while True:
            exited = process.poll() is not None  # asked before reading, so that no row is missed
            if len(runs) < self.models and time.monotonic() >= next_search:
                # Searching for new files is slower than reading known ones.
                next_search = time.monotonic() + 0.5
                for path in directory.glob("*/train.csv"):
                    runs.setdefault(path, Rows())
            news = [rows.update(path) for path, rows in runs.items()]
            done = [rows for rows in runs.values() if rows.counts[-1:] == [self._iterations]]
            if len(done) == self.models:
                return runs
            if any(news):
                last_news = time.monotonic()
            if exited or time.monotonic() - last_news > PATIENCE:
                log = (self._folder / "log").read_text(errors="replace").strip()
                ending = f"exited with {process.returncode}" if exited else "made no progress"
                raise ContenderError(
                    f"{self.label}: {len(done)} of {self.models} runs ended, then the command "
                    f"{ending}:\n{log[-2000:]}"
                )
            time.sleep(POLL_INTERVAL)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command and all its workers."""
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def read_losses(path: Path) -> list[float]:
    """The `loss` column of a `train.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]
