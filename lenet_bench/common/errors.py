"""Errors that reach the user as a message instead of a traceback, and exit codes.

In: nothing. Out: exception types that the entry points catch, and what they exit with; an error in
one line.
"""

from __future__ import annotations

from lenet_bench.common.text import printable, printable_lines

INTERRUPTED = 130  # what a shell gives a command that SIGINT ended
BROKEN_PIPE = 141  # what a shell gives a command that SIGPIPE ended


def in_one_line(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    lines = str(error).strip().splitlines()
    return printable(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)


class UserError(Exception):
    """A mistake in what the user asked for, or something their machine lacks.

    The message says what was wrong, what was given, what is allowed and how to go on; the entry
    points print it as it is and exit with code 1. What it names may come from others, so that
    characters which a terminal would act on are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable_lines(message))


class DatasetError(UserError):
    """A data set that is missing, damaged or unusable; the message names the file or the key."""
