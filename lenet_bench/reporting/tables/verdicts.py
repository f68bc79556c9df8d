"""Verdicts: a row, or a sentence, per comparison of two lines."""

from __future__ import annotations

import pandas as pd

from lenet_bench.analysis.comparisons import QUANTITIES
from lenet_bench.analysis.lines import describe_value
from lenet_bench.reporting.tables.table import Table, make_table
from lenet_bench.reporting.values import short_key
from lenet_bench.reporting.words import NOTHING, p_value

HEADLINES = ("mean_train_loss", "test_accuracy")
"""The quantities whose verdicts the terminal prints, and the report shows first."""

MOST_VERDICT_LINES = 10


def verdict_table(comparisons: pd.DataFrame, caption: str = "") -> Table:
    """A row per comparison, words first and numbers after.

    Args:
        comparisons: The frame of `lenet_bench.analysis.comparisons.pairwise`.
        caption: Stands above the table.
    """
    panel = list(comparisons.columns[: comparisons.columns.get_loc("quantity")])
    headers = [
        *map(short_key, panel),
        "quantity",
        "pair",
        "verdict",
        "seeds",
        "p (Holm)",
        "effect size",
        "P(a > b)",
    ]
    rows = [
        [
            *(describe_value(row[key]) for key in panel),
            QUANTITIES[str(row["quantity"])].words,
            f"{row['a']} vs {row['b']}",
            str(row["verdict"]),
            str(row["seeds"]),
            p_value(row["p_holm"]),
            _decimals(row["effect_size"], 2),
            _decimals(row["probability"], 2),
        ]
        for _, row in comparisons.iterrows()
    ]
    return make_table(headers, rows, "seeds", caption, sentences=("verdict",))


def verdict_lines(comparisons: pd.DataFrame) -> list[str]:
    """The headlines' verdicts as sentences; none when there are too many to be read."""
    chosen = comparisons[comparisons["quantity"].isin(HEADLINES)]
    if len(chosen) > MOST_VERDICT_LINES * len(HEADLINES):
        return []
    panel = list(comparisons.columns[: comparisons.columns.get_loc("quantity")])
    lines = []
    for name in HEADLINES:
        for _, row in chosen[chosen["quantity"] == name].iterrows():
            where = "".join(f", {short_key(key)} {describe_value(row[key])}" for key in panel)
            p = "" if pd.isna(row["p_holm"]) else f" (p {p_value(row['p_holm'], sign=True)})"
            pair = f"{row['a']} vs {row['b']}"
            lines.append(f"{QUANTITIES[name].words}{where}, {pair}: {row['verdict']}{p}")
    return lines


def _decimals(value: float, digits: int) -> str:
    """A number with this many decimals, or a dash where there is none."""
    return NOTHING if pd.isna(value) else f"{value:.{digits}f}"
