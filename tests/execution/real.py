"""The command as a process of its own, with what it writes and the workers that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from tests import warm


class Sweep:
    """The real command, in a process group of its own.

    Args:
        folder: Where it is started; the sweep is to lie in `sweep`.
        arguments: Of the command.
        environment: Variables besides those of this process.
        truly: Whether it and its workers are started truly, not as `tests.warm` does.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] = MappingProxyType({}),
        truly: bool = False,
    ) -> None:
        self.folder = folder / "sweep"
        self.errors = folder / "stderr"
        popen = subprocess.Popen if truly else warm.Popen
        with self.errors.open("w") as errors:
            self.process = popen(
                [sys.executable, "-m", "lenet_bench", *arguments],
                cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip

    @property
    def text(self) -> str:
        """What it wrote to standard error so far."""
        return self.errors.read_text()

    @property
    def runs(self) -> list[Path]:
        """Directories of runs that have begun."""
        return sorted(path.parent for path in self.folder.glob("*/status.json"))

    def rows(self, directory: Path) -> int:
        """Iterations in a run's table."""
        table = directory / "train.csv"
        return len(table.read_text().splitlines()) - 1 if table.exists() else 0

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                command = stat.with_name("cmdline").read_bytes()
                name = stat.with_name("comm").read_text().strip()
            except OSError:
                continue  # it ended meanwhile
            is_worker = b"spawn_main" in command or name == warm.WORKER
            if int(fields[1]) == self.process.pid and is_worker:
                found.append(int(stat.parent.name))
        return sorted(found)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait, and fail with what the command said if it takes too long."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.05)

    def wait_until_training(self, runs: int, rows: int = 0) -> None:
        """Wait until so many runs have more rows than that."""
        self.wait_until(
            lambda: len(self.runs) == runs and all(self.rows(path) > rows for path in self.runs)
        )


def alive(process: int) -> bool:
    """Whether a process runs; the dead that nobody has asked for yet do not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
