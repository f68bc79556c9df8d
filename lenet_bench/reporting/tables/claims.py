"""Claims and their verdicts: a row each, and how many got which verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from lenet_bench.claims.rules import with_interval
from lenet_bench.reporting.tables.table import Table, make_table
from lenet_bench.reporting.words import NOTHING, p_value

HEADERS = ("claim", "verdict", "preset", "effect [95 % interval]", "p", "seeds")
VERDICTS = ("supported", "refuted", "inconclusive")


def claims_table(
    frame: pd.DataFrame, named_by: Literal["claim", "statement"], caption: str = ""
) -> Table:
    """A row per claim of `lenet_bench.claims.evaluation`'s frame.

    Args:
        frame: The claims with their verdicts.
        named_by: The column whose text stands for a claim.
        caption: Stands above the table.
    """
    rows = [
        [name, str(row["verdict"]), str(row["preset"]), *_numbers(row)]
        for name, (_, row) in zip(claim_names(frame, named_by), frame.iterrows(), strict=True)
    ]
    sentences: Sequence[str] = ("claim",) if named_by == "statement" else ()
    return make_table(HEADERS, rows, HEADERS[3], caption, sentences)


def claim_names(frame: pd.DataFrame, named_by: str) -> list[str]:
    """What each row is called; a claim judged on several data sets is followed by their names."""
    repeated = frame["claim"].duplicated(keep=False)
    return [
        f"{row[named_by]} ({row['dataset']})" if several else str(row[named_by])
        for several, (_, row) in zip(repeated, frame.iterrows(), strict=True)
    ]


def count_verdicts(frame: pd.DataFrame) -> str:
    """`31 claims: 12 supported, 15 refuted, 4 inconclusive`."""
    counts = frame["verdict"].value_counts()
    parts = [f"{counts[name]} {name}" for name in VERDICTS if name in counts]
    return f"{len(frame)} claim{'s' * (len(frame) != 1)}: {', '.join(parts)}"


def _numbers(row: pd.Series[Any]) -> list[str]:
    effect = with_interval(row["effect"], row["low"], row["high"])
    return [
        NOTHING if math.isnan(row["effect"]) else effect,
        p_value(row["p_value"]),
        str(row["seeds"] or NOTHING),
    ]
