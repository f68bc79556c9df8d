"""Mistakes in the configuration: how they are collected and how values are shown in them.

In: lines about single mistakes. Out: a `ConfigError` that holds them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lenet_bench.common.errors import UserError
from lenet_bench.common.text import printable

MISSING = "???"  # OmegaConf's mark for a value that the user has to give


class ConfigError(UserError):
    """One or several mistakes in the configuration; `problems` holds a line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(map(printable, problems)))
        count = len(self.problems)
        head = "1 mistake" if count == 1 else f"{count} mistakes"
        super().__init__(
            "\n".join(
                [
                    f"{head} in the configuration:",
                    *(f"  {problem}" for problem in self.problems),
                    "See lenet-bench --help for the groups and the keys.",
                ]
            )
        )


def nearest(word: str, allowed: Iterable[str], prefix: str = "") -> str:
    """`did you mean X? ` for the closest allowed word, or nothing where none is close."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"did you mean {prefix}{close[0]}? " if close else ""


def as_typed(value: object) -> str:
    """A value as one types it on the command line: null, true, [120,84]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return str(value)
