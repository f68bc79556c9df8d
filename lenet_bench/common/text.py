"""Text of others, such as names of files, made safe to print.

In: any text. Out: the same text without characters that a terminal would act on, or that would turn
around the direction in which it is read.
"""

from __future__ import annotations

import os

# Not printable to Python, and part of how words are written: joiners of Persian, Hindi and other
# scripts, and the blank of Chinese and Japanese.
_OF_WORDS = "\u200c\u200d\u3000"


def printable(text: str | os.PathLike[str]) -> str:
    """Escape what is not printable, as Python's `repr` does: newlines, ESC, undecodable bytes."""
    plain = os.fspath(text)
    if plain.isprintable():
        return plain
    return "".join(
        letter if letter.isprintable() or letter in _OF_WORDS else repr(letter)[1:-1]
        for letter in plain
    )


def printable_lines(text: str) -> str:
    """Escape what is not printable, but for the ends of lines."""
    return "\n".join(map(printable, text.split("\n")))
