"""Shared and tuned learning rates: a row per line."""

from __future__ import annotations

import pandas as pd

from lenet_bench.analysis.lines import describe_value, line_labels
from lenet_bench.reporting.tables.table import Table, make_table
from lenet_bench.reporting.values import short_key
from lenet_bench.reporting.words import NOTHING


def tuned_table(tuned: pd.DataFrame, caption: str = "") -> Table:
    """A row per line: its rates, and the results at the shared and at the tuned one.

    Args:
        tuned: The frame of `lenet_bench.analysis.tuning.tuned_rates`.
        caption: Stands above the table.
    """
    keys = list(tuned.columns[: tuned.columns.get_loc("rates")])
    parameters = [key for key in keys if key.startswith("activation.")]
    others = [key for key in keys if key != "activation" and key not in parameters]
    named = {
        "mean loss": ("mean_train_loss", 4, 1.0),
        "validation loss": ("validation_loss", 4, 1.0),
        "test accuracy": ("test_accuracy", 2, 100.0),
        "iterations to target": ("iterations_to_target", 0, 1.0),
    }
    headers = [
        *("activation", *map(short_key, others), "shared lr", "tuned lr", "best rate on the edge"),
        *(f"{words}, {setting}" for words in named for setting in ("shared", "tuned")),
    ]
    rows = []
    for label, (_, row) in zip(line_labels(tuned, parameters), tuned.iterrows(), strict=True):
        cells = [
            label,
            *(describe_value(row[key]) for key in others),
            describe_value(row["shared_lr"]),
            describe_value(row["tuned_lr"]),
            "" if row["on_edge"] == "none" else f"yes, the {row['on_edge']} tried",
        ]
        for name, digits, scale in named.values():
            for setting in ("shared", "tuned"):
                mean, high = (scale * row[f"{name}_{setting}_{part}"] for part in ("mean", "high"))
                half = "" if pd.isna(high) else f" ± {high - mean:,.{digits}f}"
                unit = " %" if scale == 100.0 else ""
                never = row[f"never_{setting}"] if name == "iterations_to_target" else 0
                least = "\N{GREATER-THAN OR EQUAL TO} " if never else ""
                counted = f" (never in {never})" if never else ""
                cells.append(
                    NOTHING if pd.isna(mean) else f"{least}{mean:,.{digits}f}{half}{unit}{counted}"
                )
        rows.append(cells)
    return make_table(headers, rows, "shared lr", caption)
