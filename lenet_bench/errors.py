"""The one exception that reaches a user as a message instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user asked for, or something their machine lacks.

    The message says what was wrong, what was given, what is allowed and how to go on; the entry
    points print it as it is and exit with code 1.
    """
