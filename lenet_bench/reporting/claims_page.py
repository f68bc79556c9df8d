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
from lenet_bench.reporting.words import NOTHING, p_value

HEADERS = ("claim", "verdict", "preset", "effect [95 % interval]", "p", "seeds")
WORDS = 3  # columns of text before those of numbers
MOST_LINES = 5  # claims that the end of a sweep names one by one


def rows(frame: pd.DataFrame, name: str) -> list[list[str]]:
    """The cells of the table, a row per claim, named by its `claim` or its `statement`."""
    names = _named(frame, name)
    return [
        [label, str(row["verdict"]), str(row["preset"]), *_numbers(row)]
        for label, (_, row) in zip(names, frame.iterrows(), strict=True)
    ]


def lines(frame: pd.DataFrame) -> list[str]:
    """For the end of a sweep: a line per claim, or one that counts them if they are many."""
    if frame.empty:
        return []
    if len(frame) > MOST_LINES:
        return [f"{counted(frame)}; see claims.csv"]
    told = []
    for statement, (_, row) in zip(_named(frame, "statement"), frame.iterrows(), strict=True):
        p = row["p_value"]
        because = "" if math.isnan(p) else f" (p {p_value(p, sign=True)})"
        told.append(f"claim {row['verdict']}{because}: {statement}")
    return told


def _named(frame: pd.DataFrame, name: str) -> list[str]:
    """What each row is called; a claim that is judged on several data sets with their names."""
    repeated = frame["claim"].duplicated(keep=False)
    return [
        f"{row[name]} ({row['dataset']})" if several else str(row[name])
        for several, (_, row) in zip(repeated, frame.iterrows(), strict=True)
    ]


def _numbers(row: pd.Series[Any]) -> list[str]:
    effect = with_interval(row["effect"], row["low"], row["high"])
    return [
        NOTHING if math.isnan(row["effect"]) else effect,
        p_value(row["p_value"]),
        str(row["seeds"] or NOTHING),
    ]


def as_text(frame: pd.DataFrame) -> str:
    """The table for a terminal, and how many claims got which verdict."""
    cells = [list(HEADERS), *rows(frame, "claim")]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADERS))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([*(line.rstrip() for line in lines), counted(frame)])


def counted(frame: pd.DataFrame) -> str:
    """`31 claims: 12 supported, 15 refuted, 4 inconclusive`."""
    counts = frame["verdict"].value_counts()
    parts = [f"{counts[name]} {name}" for name in _VERDICTS if name in counts]
    return f"{len(frame)} claim{'s' * (len(frame) != 1)}: {', '.join(parts)}"


_VERDICTS = ("supported", "refuted", "inconclusive")


def section(frame: pd.DataFrame) -> str:
    """For a report: the table, and folded below it what `page` shows openly."""
    return _table(frame) + html.folded("what was found, by which rule", _details(frame))


def page(frame: pd.DataFrame, overrides: Sequence[str]) -> str:
    """`claims.html`: the table; who claims what, the rule and what was found; the rules."""
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
        "is adjusted by Holm's method over a claim's comparisons. The rules are in the code, the "
        "same for every run."
    )
    return html.table(HEADERS, rows(frame, "statement"), WORDS, caption, sentences=(0,))


def _details(frame: pd.DataFrame) -> str:
    headings = _named(frame, "statement")
    return "\n".join(
        _told(heading, row) for heading, (_, row) in zip(headings, frame.iterrows(), strict=True)
    )


def _told(heading: str, row: pd.Series[Any]) -> str:
    claim = CLAIMS[str(row["claim"])]
    pairs = {
        "claim": claim.identifier,
        "made in": claim.source,
        "quantity": claim.quantity,
        "rule": claim.rule,
        "verdict": str(row["verdict"]),
        "found": str(row["note"]),
    }
    return html.section(heading, html.facts(pairs))


def _rules() -> str:
    """The rules as the code that applies them states them."""
    _, _, text = (RULES or "").partition("\n\n")
    items = re.split(r"\n\n|\n(?=- )", text.strip())
    plain = (item.removeprefix("- ").replace("*", "") for item in items)
    return html.listing([" ".join(item.split()) for item in plain])
