"""Standard streams that cannot take what is printed: nothing is raised, and the end is judged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = r"""
import sys
from lenet_bench.common.streams import forgiving_output
with forgiving_output() as answer:
    answer.again = "make it again"
    for number in range({lines}):
        print("1 \xb1 2 \u2013 3", "\u6ce2", "\udce9", number)
        print("progress", number, file=sys.stderr)
    open({witness!r}, "w").write("trained")
    sys.exit({code})
"""
FULL = Path("/dev/full")


def run(
    tmp_path: Path, shell: str = "", *, lines: int = 3, code: int = 0, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """The script, started by a shell that redirects its streams."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(lines=lines, code=code, witness=str(tmp_path / "witness")))
    return subprocess.run(
        ["bash", "-c", f"'{sys.executable}' '{script}' {shell}"],
        capture_output=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"1 +/- 2 - 3 ? ? 0\n"),
        ("latin-1", b"1 \xb1 2 - 3 ? ? 0\n"),
        ("cp1252", b"1 \xb1 2 \x96 3 ? ? 0\n"),
        ("utf-8", "1 ± 2 \N{EN DASH} 3 波 ? 0\n".encode()),
    ],
)
def test_a_character_that_an_encoding_lacks_is_replaced(
    tmp_path: Path, encoding: str, expected: bytes
) -> None:
    """By what it means, or by a question mark."""
    done = run(tmp_path, lines=1, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"progress 0\n")


def test_a_c_locale_is_no_obstacle(tmp_path: Path) -> None:
    """Without Python's own coercion to UTF-8."""
    done = run(tmp_path, lines=1, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout) == (0, b"1 +/- 2 - 3 ? ? 0\n")


@pytest.mark.parametrize("shell", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_not_missed(tmp_path: Path, shell: str) -> None:
    """What is printed there goes nowhere: not into the other stream, nor into a file."""
    done = run(tmp_path, shell)
    assert done.returncode == 0
    assert (tmp_path / "witness").read_text() == "trained"
    assert b"progress" not in done.stdout
    assert b"progress" not in done.stderr or shell == ">&-"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    """With the command that prints the text again; the exit code is not that of a success."""
    done = run(tmp_path, f">{FULL}")
    assert done.returncode == 1
    assert (tmp_path / "witness").read_text() == "trained"
    assert done.stderr.decode().splitlines()[-1] == (
        "standard output cannot be written (No space left on device); "
        "make it again prints its text again"
    )
    done = run(tmp_path, f"2>{FULL}")
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 3)


@pytest.mark.parametrize(("code", "expected"), [(0, 141), (1, 1), (130, 130)])
def test_a_reader_that_leaves_does_not_end_the_work(
    tmp_path: Path, code: int, expected: int
) -> None:
    """As behind `| head`; a failure keeps its own exit code."""
    done = run(tmp_path, "2>/dev/null | head -1; echo ${PIPESTATUS[0]}", lines=9999, code=code)
    first, last = done.stdout.decode().splitlines()
    assert first.endswith(" 0")
    assert last == str(expected)
    assert (tmp_path / "witness").read_text() == "trained"


def test_a_pipe_that_does_not_wait_loses_nothing(tmp_path: Path) -> None:
    """As a parent in Node leaves it behind: set to not blocking, and read slowly."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(lines=5000, code=0, witness=str(tmp_path / "witness")))
    process = subprocess.Popen(
        [sys.executable, script], stdout=theirs, stderr=subprocess.DEVNULL, pipesize=4096
    )
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert process.wait(60) == 0
    assert [int(line.rsplit(maxsplit=1)[1]) for line in lines] == list(range(5000))
