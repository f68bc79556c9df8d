"""Text of others, such as names of files, made safe to print.

In: any text. Out: the same text on one line, without characters that a terminal would act on.
"""

from __future__ import annotations

import os


def printable(text: str | os.PathLike[str]) -> str:
    """Escape what is not printable, as Python's `repr` does: newlines, ESC, undecodable bytes."""
    plain = os.fspath(text)
    if plain.isprintable():
        return plain
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in plain)
