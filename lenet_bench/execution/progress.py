"""The progress display of a sweep: a live bar on a terminal, plain lines otherwise.

In: run-iterations done and outcomes. Out: text on standard error, so that standard output holds
the result alone.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

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
        self._done_of_stack: dict[int, int] = {}
        self._first: float | None = None  # when the first iterations were reported
        self._done_at_first = 0
        self._next_line = 0.0
        self._bar: Bar | None = None
        if skipped:
            self._console.print(f"{count(skipped, 'run')} finished before; not trained again.")

    @contextlib.contextmanager
    def training(self, iterations: int, stacks: int, workers: int) -> Iterator[None]:
        """Show progress inside; `iterations` are those of all runs together."""
        self._total = iterations
        self._console.print(
            f"Training {count(self._runs - self._ended, 'run')} in {count(stacks, 'stack')}, "
            f"{count(workers, 'worker')}, {iterations:,} iterations in all."
        )
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

    @property
    def _done(self) -> int:
        return sum(self._done_of_stack.values())

    def advance(self, stack: int, done: int) -> None:
        """Take note of how many run-iterations of a stack are done."""
        self._done_of_stack[stack] = done
        if self._first is None:
            self._first, self._done_at_first = time.monotonic(), self._done
        self._show()

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """Show how the runs of a stack ended."""
        self._ended += len(outcomes)
        for outcome in outcomes:
            if outcome.status in ("diverged", "failed"):
                self._console.print(
                    f"{outcome.directory.name} {outcome.status}: {outcome.error}",
                    markup=False,
                    soft_wrap=True,
                )
        self._show()

    def interrupted(self) -> None:
        """Say that the user stopped the sweep."""
        self._console.print("Stopped. What was measured so far is written.")

    def _show(self) -> None:
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=self._done, description=self._text())
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + BETWEEN_LINES
            share = self._done / self._total if self._total else 1.0
            self._console.print(f"{share:4.0%}  {self._text()}")

    def _text(self) -> str:
        parts = [f"{self._ended} of {count(self._runs, 'run')} ended"]
        left = self._seconds_left()
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def _seconds_left(self) -> float | None:
        """Estimate from the speed since the first report, which leaves out start-up.

        None while too little is known.
        """
        if self._first is None or self._done >= self._total:
            return None
        elapsed, done = time.monotonic() - self._first, self._done - self._done_at_first
        if elapsed < BEFORE_ESTIMATE or not done:
            return None
        return elapsed / done * (self._total - self._done)


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
