"""The progress display: what the user is told while a sweep trains."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lenet_bench.execution import progress as progress_module
from lenet_bench.execution.progress import Progress
from lenet_bench.training.recording import Outcome


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the progress display looks at."""
    fake = Clock()
    monkeypatch.setattr(progress_module, "time", fake)
    return fake


def plain_progress(runs: int, skipped: int = 0) -> tuple[Progress, io.StringIO]:
    """A display that is not on a terminal, and what it writes."""
    shown = Progress(runs, 0)
    text = io.StringIO()
    shown._console = Console(file=text, highlight=False, width=200)
    shown._ended = skipped
    return shown, text


def test_plain_lines_where_there_is_no_terminal(clock: Clock) -> None:
    """One every ten seconds, no control characters; an estimate from the speed so far."""
    shown, text = plain_progress(4)
    with shown.training(1000, 2, 2):
        shown.advance(0, 0)
        for number in range(1, 10):
            clock.now += 5
            shown.advance(0, 100 * number)
    lines = text.getvalue().splitlines()
    assert lines[0] == "Training 4 runs in 2 stacks, 2 workers, 1,000 iterations in all."
    assert [line.split()[0] for line in lines[1:]] == ["20%", "40%", "60%", "80%"]
    # 100 iterations take 5 seconds; the first ones are left out of the speed.
    assert lines[1].endswith("about 40 s left")
    assert lines[4].endswith("about 10 s left")
    assert "\x1b" not in text.getvalue()


def test_no_estimate_before_it_can_be_honest(clock: Clock) -> None:
    """Less than three seconds of training tell nothing; nor does the very start."""
    shown, _ = plain_progress(1)
    with shown.training(1000, 1, 1):
        shown.advance(0, 0)
        clock.now += 60  # the untrained evaluation, the first step: not the speed of training
        shown.advance(0, 10)
        assert shown._seconds_left() is None
        clock.now += 2.9
        shown.advance(0, 39)
        assert shown._seconds_left() is None
        clock.now += 0.1
        shown.advance(0, 40)
        assert shown._seconds_left() == pytest.approx(96)
        shown.advance(0, 1000)
        assert shown._seconds_left() is None


def test_a_retry_and_a_resume_never_show_more_than_everything(clock: Clock) -> None:
    """What is done is absolute; the speed counts only what this command computed."""
    shown, text = plain_progress(4)
    with shown.training(1000, 2, 2):
        for stack, done in [(0, 300), (0, 400), (1, 0), (0, 300), (0, 400), (0, 500), (1, 100)]:
            clock.now += 10
            shown.advance(stack, done)
        # After the first 100, 300 in 50 seconds, 100 of them again by a second try; 400 are left.
        assert shown._seconds_left() == pytest.approx(50 / 300 * 400)
        clock.now += 10
        shown.advance(1, 500)
        assert shown._seconds_left() is None
    shares = [line.split()[0] for line in text.getvalue().splitlines()[1:]]
    assert shares == ["30%", "40%", "40%", "30%", "40%", "50%", "60%", "100%"]


def test_runs_that_were_stopped_have_not_ended(tmp_path: Path, clock: Clock) -> None:
    """And nothing is left that somebody would wait for."""
    shown, text = plain_progress(2)
    with shown.training(200, 2, 2):
        for done in (0, 10, 20):
            clock.now += 10
            shown.advance(0, done)
        assert shown._text() == "0 of 2 runs ended, about 3 min 0 s left"
        clock.now += 10
        shown.finished([Outcome(tmp_path / "a", "interrupted", {})])
    assert text.getvalue().splitlines()[-1].endswith("0 of 2 runs ended")


def test_failures_are_listed_with_their_reason(tmp_path: Path, clock: Clock) -> None:
    """Also the diverged; `[brackets]` are no markup."""
    shown, text = plain_progress(3)
    with shown.training(30, 1, 1):
        shown.finished(
            [
                Outcome(tmp_path / "a", "failed", {}, "its worker [red]:skull: died"),
                Outcome(tmp_path / "b", "diverged", {}, "the loss was nan at iteration 7"),
                Outcome(tmp_path / "c", "finished", {}),
            ]
        )
    assert "a failed: its worker [red]:skull: died\n" in text.getvalue()
    assert "b diverged: the loss was nan at iteration 7\n" in text.getvalue()
    assert "c finished" not in text.getvalue()


def test_one_cause_is_one_line(tmp_path: Path, clock: Clock) -> None:
    """However many runs and stacks it ends."""
    shown, text = plain_progress(8)
    full = "OSError: [Errno 28] No space left on device"
    with shown.training(30, 3, 1):
        shown.finished([Outcome(tmp_path / name, "failed", {}, full) for name in "abc"])
        shown.finished([Outcome(tmp_path / name, "failed", {}, full) for name in "de"])
        shown.finished([Outcome(tmp_path / "f", "failed", {}, "ValueError: x")])
    assert text.getvalue().splitlines()[1:] == [
        f"a and 2 more failed: {full}",
        "f failed: ValueError: x",
        f"2 more failed: {full}",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3725, "1 h 2 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """From seconds to hours."""
    assert progress_module.duration(seconds) == text


def test_a_terminal_gets_a_live_bar() -> None:
    """In a pseudo-terminal; the real class in a process of its own."""
    code = (
        "import time; from lenet_bench.execution.progress import Progress\n"
        "p = Progress(2, 1)\n"
        "with p.training(100, 1, 1):\n"
        "    for k in range(5):\n"
        "        p.advance(0, 20 * k + 20); time.sleep(0.15)\n"
        "    p.finished([])\n"
        "p.interrupted()\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        text += block
    os.close(ours)
    assert process.wait(30) == 0
    assert b"Traceback" not in text
    assert b"1 run finished before; not trained again." in text
    assert b"1 of 2 runs ended" in text
    assert b"\x1b[" in text
    assert b"Stopped." in text
