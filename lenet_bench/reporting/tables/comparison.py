"""The comparison over seeds: a row per configuration.

Every cell says what it averages: `0.31 ± 0.02` is mean and half of the 95 % interval, and
`(4 of 5)` follows when some runs have no such value. `never` counts runs that did not reach
the target, `n/a` those whose record ends before it could tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lenet_bench.analysis.lines import (
    activation_rank,
    describe_value,
    line_labels,
    rank_of_values,
)
from lenet_bench.reporting.tables.table import Table, make_table
from lenet_bench.reporting.values import short_key
from lenet_bench.reporting.words import NOTHING


def comparison_table(groups: pd.DataFrame, keys: Sequence[str], caption: str = "") -> Table:
    """A row per group: what was trained, and what came of it.

    Args:
        groups: The frame of `lenet_bench.analysis.summary.summarise_groups`.
        keys: What distinguishes the groups, the activation first.
        caption: Stands above the table.
    """
    parameters = [key for key in keys if key.startswith("activation.")]
    others = [key for key in keys if key != "activation" and key not in parameters]
    headers = [
        "activation",
        *map(short_key, others),
        "seeds",
        "final loss",
        "mean loss",
        "iterations to target",
        "test accuracy",
        "diverged",
        "failed",
        "unfinished",
    ]
    groups = _sorted(groups, others, parameters)
    labels = line_labels(groups, parameters)
    rows = [
        [
            label,
            *(describe_value(group[key]) for key in others),
            str(group["seeds"]),
            average(group, "final_train_loss", 4),
            average(group, "mean_train_loss", 4),
            to_target(group),
            average(group, "test_accuracy", 2, percent=True),
            *(str(group[name] or "") for name in ("diverged", "failed", "unfinished")),
        ]
        for label, (_, group) in zip(labels, groups.iterrows(), strict=True)
    ]
    used = [
        position
        for position, name in enumerate(headers)
        if name not in ("diverged", "failed", "unfinished") or any(row[position] for row in rows)
    ]
    return make_table(
        [headers[i] for i in used], [[row[i] for i in used] for row in rows], "seeds", caption
    )


def average(group: pd.Series[Any], name: str, digits: int, percent: bool = False) -> str:
    """`97.31 ± 0.42 %`: the mean with half of its interval, or a dash where there is none."""
    scale, unit = (100.0, " %") if percent else (1.0, "")
    n = int(group[f"{name}_n"])
    if n == 0:
        return NOTHING
    mean, high = scale * group[f"{name}_mean"], scale * group[f"{name}_high"]
    if digits > 2:  # a loss of 0.0000 would say less than what was measured
        digits = max([digits, *(_leading_zeros(value) + 2 for value in (mean, high - mean))])
    half = f" ± {high - mean:.{digits}f}" if math.isfinite(high) else ""
    share = f" ({n} of {group['runs']})" if n < group["runs"] else ""
    return f"{mean:.{digits}f}{half}{unit}{share}"


def _leading_zeros(value: float) -> int:
    """Zeros between the decimal point and the first other digit; 0 for 0 and for NaN."""
    if not value or not math.isfinite(value):
        return 0
    return min(8, max(0, -math.floor(math.log10(abs(value))) - 1))


def to_target(group: pd.Series[Any]) -> str:
    """Iterations to the target: a mean when every run got there, else how many did not."""
    if pd.isna(group["target_loss"]):
        return NOTHING
    runs, never = group["runs"], group["never"]
    unknown = runs - group["reached"] - never
    if not (never or unknown):
        return average(group, "iterations_to_target", 0)
    median = group["iterations_to_target_median"]
    parts = [
        "" if pd.isna(median) else f"median {median:.0f}",
        f"never ({never} of {runs})" if never else "",
        f"n/a ({unknown} of {runs})" if unknown else "",
    ]
    return ", ".join(part for part in parts if part)


def _sorted(groups: pd.DataFrame, others: list[str], parameters: list[str]) -> pd.DataFrame:
    """Sort by panels, then by activations, so that what is compared stands side by side."""
    ranks = pd.DataFrame({key: rank_of_values(groups[key]) for key in (*others, *parameters)})
    ranks["activation"] = groups["activation"].map(activation_rank)
    order = ranks.sort_values([*others, "activation", *parameters], kind="stable").index
    return groups.loc[order]
