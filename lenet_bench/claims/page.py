"""The claims' frame as text: a table for the terminal, sections for a page of HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lenet_bench.claims.registry import CLAIMS
from lenet_bench.claims.rules import __doc__ as RULES
from lenet_bench.claims.rules import with_interval
from lenet_bench.reporting import html

HEADERS = ("claim", "verdict", "preset", "effect [95 % interval]", "p", "seeds")
WORDS = 3  # columns of text before those of numbers
NOTHING = "\N{EN DASH}"


def rows(frame: pd.DataFrame, name: str) -> list[list[str]]:
    """The cells of the table, a row per claim, named by its ``claim`` or its ``statement``."""
    return [
        [str(row[name]), str(row["verdict"]), str(row["preset"]), *_numbers(row)]
        for _, row in frame.iterrows()
    ]


def _numbers(row: pd.Series[Any]) -> list[str]:
    effect = with_interval(row["effect"], row["low"], row["high"])
    return [
        NOTHING if math.isnan(row["effect"]) else effect,
        NOTHING if math.isnan(row["p_value"]) else p_value(row["p_value"]),
        str(row["seeds"] or NOTHING),
    ]


def p_value(p: float) -> str:
    """Two significant digits; very small ones as a bound."""
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def as_text(frame: pd.DataFrame) -> str:
    """The table for a terminal, and how many claims got which verdict."""
    cells = [list(HEADERS), *rows(frame, "claim")]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADERS))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([*(line.rstrip() for line in lines), counted(frame)])


def counted(frame: pd.DataFrame) -> str:
    """``31 claims: 12 supported, 15 refuted, 4 inconclusive``."""
    counts = frame["verdict"].value_counts()
    parts = [f"{counts[name]} {name}" for name in _VERDICTS if name in counts]
    return f"{len(frame)} claim{'s' * (len(frame) != 1)}: {', '.join(parts)}"


_VERDICTS = ("supported", "refuted", "inconclusive")


def section(frame: pd.DataFrame) -> str:
    """For a report: the table, and folded below it what :func:`page` shows openly."""
    return _table(frame) + html.folded("what was found, by which rule", _details(frame))


def page(frame: pd.DataFrame, overrides: Sequence[str]) -> str:
    """``claims.html``: the table; who claims what, the rule and what was found; the rules."""
    given = " ".join(overrides) or "the presets as they are"
    body = [
        html.subtitle(f"trained with: {given}"),
        html.section("Verdicts", _table(frame)),
        html.section("Rules", _rules()),
        _details(frame),
    ]
    return html.page("lenet-bench: claims about activation functions", body)


def _table(frame: pd.DataFrame) -> str:
    caption = (
        f"{counted(frame)}. Effects are means over seeds, in the unit of the claim's quantity; p "
        "is adjusted by Holm's method over a claim's comparisons. The rules were fixed in advance."
    )
    return html.table(HEADERS, rows(frame, "statement"), WORDS, caption)


def _details(frame: pd.DataFrame) -> str:
    return "\n".join(_told(row) for _, row in frame.iterrows())


def _told(row: pd.Series[Any]) -> str:
    claim = CLAIMS[str(row["claim"])]
    pairs = {
        "claim": claim.identifier,
        "made in": claim.source,
        "quantity": claim.quantity,
        "rule": claim.rule,
        "verdict": str(row["verdict"]),
        "found": str(row["note"]),
    }
    return html.section(claim.statement, html.facts(pairs))


def _rules() -> str:
    """The rules as the code that applies them states them."""
    _, _, text = (RULES or "").partition("\n\n")
    items = re.split(r"\n\n|\n(?=- )", text.strip())
    return html.listing([" ".join(item.removeprefix("- ").split()) for item in items])
