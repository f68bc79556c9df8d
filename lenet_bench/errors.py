"""The exceptions that reach a user as a message instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user asked for, or something their machine lacks.

    The message says what was wrong, what was given, what is allowed and how to go on; the entry
    points print it as it is and exit with code 1.
    """


class DatasetError(UserError):
    """A data set that is missing, damaged or unfit; the message names the file, folder or key."""
