"""Starts the command, forked or as processes of its own, with its file operations counted.

In: arguments, and which operation of the sweep directory is to kill the process or fail. Out: exit
code, output, the operations that were made.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
SHORT = -1  # instead of an errno: no failure, but writes that take half of their bytes


def missing() -> str | None:
    """What this machine lacks for torture, or None."""
    if sys.platform != "linux":
        return "kills are placed by LD_PRELOAD, which is Linux"
    return None if shutil.which("gcc") else "needs gcc"


def build_library(folder: Path) -> Path:
    """Compile `preload.c`."""
    library = folder / "torture.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", str(HERE / "preload.c"), "-o", str(library)]
    subprocess.run([*command, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Ended:
    """A command that ended.

    Attributes:
        code: Its exit code; negative if a signal killed it.
        output: What it wrote to standard output and standard error.
        operations: What it did to the files of the sweep directory, such as `rename /plan.json`.
    """

    code: int
    output: str
    operations: list[str]


class Server:
    """A process that forks for each command; `with` ends it.

    Args:
        folder: For the library and what the commands say.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._counter, self._log = folder / "counter", folder / "operations"
        environment = {**os.environ, **QUIET, "LD_PRELOAD": str(build_library(folder))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            cwd=REPOSITORY,
        )  # fmt: skip

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def run(
        self,
        arguments: Sequence[str],
        sweep: Path,
        *,
        at: int = 0,
        error: int = 0,
        once: bool = False,
        report: bool = False,
    ) -> Ended:
        """Run the command.

        Args:
            arguments: Of `lenet-bench`; the sweep directory is added.
            sweep: The sweep directory, absolute.
            at: The operation on its files that is hit; 0 for none.
            error: The errno that this operation and those behind it fail with; 0 kills instead,
                `SHORT` lets every write take half of its bytes.
            once: Only this operation fails.
            report: Whether the report is written.
        """
        self._counter.write_bytes(bytes(8))
        self._log.unlink(missing_ok=True)
        output = self._folder / "output"
        wanted = {
            "arguments": [*arguments, f"hydra.sweep.dir={sweep}"],
            "folder": str(self._folder),
            "arm": [str(sweep), str(self._counter), str(self._log), at, error, once],
            "output": str(output),
            "report": report,
        }
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(wanted), file=self._process.stdin, flush=True)
        code = json.loads(self._process.stdout.readline())
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        operations = [line.partition(" ")[2] for line in lines]
        return Ended(code, output.read_text(errors="replace"), operations)


# Threads of other tests would slow each other down; the bytes depend on their number.
QUIET = {"OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"}


class Command:
    """The command as processes of its own, whose iterations are counted.

    Args:
        arguments: Of `lenet-bench`; the sweep directory is added.
        sweep: The sweep directory.
        kill: Where one of the processes kills itself: `MODULE:FUNCTION:N`, before call number N.
    """

    def __init__(self, arguments: Sequence[str], sweep: Path, kill: str = "") -> None:
        self.mark = uuid.uuid4().hex
        handle, name = tempfile.mkstemp(prefix="torture-")
        os.write(handle, bytes(16))
        os.close(handle)
        self._counter = Path(name)
        path = os.pathsep.join(
            [str(HERE / "instrument"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        )
        environment: Mapping[str, str] = {
            **os.environ, **QUIET, "PYTHONPATH": path, "TORTURE_MARK": self.mark,
            "TORTURE_ITERATIONS": name, "TORTURE_KILL": kill,
        }  # fmt: skip
        self._output = Path(f"{name}.output")
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lenet_bench", *arguments, f"hydra.sweep.dir={sweep}"],
                stdout=output, stderr=output, env=environment, cwd=sweep.parent,
            )  # fmt: skip

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the end; raises `subprocess.TimeoutExpired` after `seconds`."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Kill the main process, and it alone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def output(self) -> str:
        """What it said so far."""
        return self._output.read_text(errors="replace")

    @property
    def iterations(self) -> int:
        """How many updates of runs its processes have computed."""
        return int.from_bytes(self._counter.read_bytes()[:8], sys.byteorder)

    def orphans(self, patience: float = 1.0) -> list[int]:
        """The processes of this command that still live some time after its main process."""
        end = time.monotonic() + patience
        while (left := list(self._processes())) and time.monotonic() < end:
            time.sleep(0.02)
        return left

    def close(self) -> None:
        """Remove what was needed to watch it."""
        self._output.unlink()
        self._counter.unlink()

    def _processes(self) -> Iterator[int]:
        mark = f"TORTURE_MARK={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if state not in "ZX":  # a dead process that nobody has waited for
                        yield int(entry.name)
