"""The progress display of a sweep: a live bar on a terminal, plain lines otherwise.

In: run-iterations done by each stack, and outcomes. Out: text on standard error, so that standard
output holds the result alone.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from lenet_bench.common.errors import UserError
from lenet_bench.common.text import printable
from lenet_bench.records.run_directory import read_status

if TYPE_CHECKING:
    from lenet_bench.training.recording import Outcome

BETWEEN_LINES = 10.0  # seconds
BETWEEN_TICKS = 2.0  # seconds
BEFORE_ESTIMATE = 3.0  # seconds of training without which an estimate would be a guess


class Ticker:
    """Prints every few seconds how many steps are done; nothing if it does not take that long.

    Args:
        text: What to print; `{:,}` stands for the number of steps.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._done = 0
        self._next_line = time.monotonic() + BETWEEN_TICKS

    def advance(self) -> None:
        """Count a step."""
        self._done += 1
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + BETWEEN_TICKS
            print(self._text.format(self._done), file=sys.stderr)


class Progress:
    """The progress display of one sweep.

    Args:
        runs: Number of runs of the sweep.
        skipped: Number of those that were finished before.
    """

    def __init__(self, runs: int, skipped: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._runs, self._ended = runs, skipped
        self._total = 0
        self._done: dict[int, int] = {}  # by stack
        self._computed = 0  # by this command; stacks may have gone on from a checkpoint
        self._first: float | None = None  # when this command had computed its first iterations
        self.stopped = False  # whether runs were interrupted
        self._next_line = 0.0
        self._bar: Bar | None = None
        self._failures: list[Path] = []
        self._failed: dict[str | None, int] = {}  # by cause, the runs that were not listed
        if skipped:
            self._console.print(f"{count(skipped, 'run')} finished before; not trained again.")

    @contextlib.contextmanager
    def training(self, iterations: int, stacks: int, workers: int) -> Iterator[None]:
        """Show progress inside; `iterations` are those of all stacks together."""
        self._total = iterations
        self._console.print(
            f"Training {count(self._runs - self._ended, 'run')} in {count(stacks, 'stack')}, "
            f"{count(workers, 'worker')}, {iterations:,} iterations in all."
        )
        with self._live(iterations):
            yield
        for error, runs in self._failed.items():
            if runs:
                self._say(f"{runs:,} more failed: {error}")

    @contextlib.contextmanager
    def _live(self, iterations: int) -> Iterator[None]:
        if not self._console.is_terminal:
            self._next_line = time.monotonic() + BETWEEN_LINES
            yield
            return
        self._bar = Bar(
            BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"),
            console=self._console, transient=True,
        )  # fmt: skip
        with self._bar:
            self._bar.add_task(self._text(), total=iterations)
            yield
        self._bar = None

    def advance(self, stack: int, done: int) -> None:
        """Take in how many run-iterations of a stack are done, those of a checkpoint included.

        The first number of a stack, and one that is smaller than the last because the stack is
        tried again, say where it starts.
        """
        before = self._done.get(stack)
        self._done[stack] = done
        if before is not None and done > before:
            if self._first is None:
                self._first = time.monotonic()
            else:
                self._computed += done - before
        self._show()

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """Show how the runs of a stack ended; a cause that ends several runs is one line."""
        interrupted = sum(outcome.status == "interrupted" for outcome in outcomes)
        self._ended += len(outcomes) - interrupted
        self.stopped = self.stopped or interrupted > 0
        causes: dict[tuple[str, str | None], list[str]] = {}
        for outcome in outcomes:
            if outcome.status == "failed":
                self._failures.append(outcome.directory)
            if outcome.status in ("diverged", "failed"):
                key = (outcome.status, outcome.error)
                causes.setdefault(key, []).append(outcome.directory.name)
        for (status, error), names in causes.items():
            if status == "failed" and error in self._failed:
                self._failed[error] += len(names)
                continue
            if status == "diverged":
                for name in names:
                    self._say(f"{name} diverged: {error}")
                continue
            self._failed[error] = 0
            more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
            self._say(f"{names[0]}{more} failed: {error}")
        self._show()

    def _say(self, line: str) -> None:
        self._console.print(printable(line), markup=False, emoji=False, soft_wrap=True)

    def check_that_failures_are_recorded(self) -> None:
        """Make sure that nobody takes a run for anything else later on.

        Raises:
            UserError: Runs failed whose directories do not say so.
        """
        lost = [run for run in self._failures if read_status(run).get("status") != "failed"]
        if lost:
            raise UserError(
                f"{lost[0]}: cannot be written to, so that its status.json does not say that the "
                f"run failed ({count(len(lost), 'such run')}); the command goes on when it can"
            )

    def interrupted(self) -> None:
        """Say that the user stopped the sweep."""
        self._console.print("Stopped. What was measured so far is written.")

    def _show(self) -> None:
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=sum(self._done.values()), description=self._text())
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + BETWEEN_LINES
            share = sum(self._done.values()) / self._total if self._total else 1.0
            self._console.print(f"{share:4.0%}  {self._text()}")

    def _text(self) -> str:
        parts = [f"{self._ended} of {count(self._runs, 'run')} ended"]
        left = self._seconds_left()
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def _seconds_left(self) -> float | None:
        """Estimate from the speed since the first iterations, which leaves out start-up.

        None while too little is known, and where nothing more will be trained.
        """
        left = self._total - sum(self._done.values())
        if self._first is None or left <= 0 or self.stopped or self._ended >= self._runs:
            return None
        elapsed = time.monotonic() - self._first
        if elapsed < BEFORE_ESTIMATE or not self._computed:
            return None
        return elapsed / self._computed * left


def count(number: int, noun: str) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`59 s`, `1 min 1 s`, `1 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
