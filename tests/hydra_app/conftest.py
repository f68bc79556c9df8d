"""`command`: what a command line is answered.

Most command lines are given to one process that has loaded the program and forks for each of them:
the same code, the same answers, but some hundred of them in seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

SERVER = """
import json, os, sys
from lenet_bench import __main__ as entry
from lenet_bench.execution import sweep

def answer(arguments, folder, environment):
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["lenet-bench", *arguments]
    def runs(configs, *_, **__):  # instead of training
        print("RUNS", *(directory.name for directory in configs))
        return {directory: None for directory in configs}
    sweep.train = runs
    code = 0
    try:
        entry.main()
    except SystemExit as exit_:
        code = exit_.code
    print("CODE", code, "TORCH", "torch" in sys.modules)

for line in sys.stdin:
    read, write = os.pipe()
    process = os.fork()
    if not process:
        os.dup2(write, 1)
        os.dup2(write, 2)
        try:
            answer(*json.loads(line))
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.close(write)
    text = open(read).read()
    os.waitpid(process, 0)
    print(json.dumps(text), flush=True)
"""


def lying_in(folder: Path) -> dict[str, bytes | str | None]:
    """All that lies in a folder: bytes of files, where links lead, `None` for what is neither."""

    def content(path: Path) -> bytes | str | None:
        if path.is_symlink():
            return str(path.readlink())
        return path.read_bytes() if path.is_file() else None

    return {str(path.relative_to(folder)): content(path) for path in sorted(folder.rglob("*"))}


@dataclass(frozen=True)
class Answer:
    """What a command line led to."""

    text: str
    folder: Path
    before: Mapping[str, bytes | str | None]

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self.text.rpartition("CODE ")[2].split()[0])

    @property
    def imported_torch(self) -> bool:
        """Whether torch was loaded."""
        return self.text.rstrip().endswith("TORCH True")

    @property
    def runs(self) -> list[str]:
        """The names of the runs that it would have trained, in order."""
        lines = [line.split()[1:] for line in self.text.splitlines() if line.startswith("RUNS")]
        return [name for line in lines for name in line]

    @property
    def problems(self) -> list[str]:
        """The lines of mistakes."""
        return [line.strip() for line in self.text.splitlines() if line.startswith("  ")]

    def is_refusal(self) -> None:
        """A mistake: said in words, exit code 1, nothing written, nothing heavy loaded."""
        assert "Traceback" not in self.text, self.text
        assert "CODE 1 TORCH False" in self.text, self.text
        assert self.text.startswith("lenet-bench: "), self.text
        assert lying_in(self.folder) == self.before, self.text


class Command:
    """`command("lr=-1")`: the answer to a command line, given in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *arguments: str, **environment: str) -> Answer:
        """Ask."""
        self.number += 1
        folder = self.folder / str(self.number)
        folder.mkdir()
        return self.within(folder, *arguments, **environment)

    def within(self, folder: Path, *arguments: str, **environment: str) -> Answer:
        """Ask from a folder that is not empty."""
        assert self.process.stdin
        assert self.process.stdout
        before = lying_in(folder)
        print(
            json.dumps([arguments, str(folder), environment]), file=self.process.stdin, flush=True
        )
        return Answer(json.loads(self.process.stdout.readline()), folder, before)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The forking process."""
    asked = Command(tmp_path_factory.mktemp("commands"))
    yield asked
    assert asked.process.stdin
    asked.process.stdin.close()
    asked.process.wait(10)


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than the runs here, and are tested elsewhere."""
    nothing = SimpleNamespace(damaged=())
    monkeypatch.setattr("lenet_bench.reporting.rehearsal.rehearse", lambda _: None)
    monkeypatch.setattr("lenet_bench.reporting.report.write_report", lambda *_: nothing)
    monkeypatch.setattr("lenet_bench.reporting.terminal.print_report", lambda *_: None)
