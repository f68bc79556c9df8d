"""What is compared with what: runs in; which keys make lines and which make panels out.

A line is what a reader compares: an activation, with its parameters where these vary. Everything
else that varies (init, learning rate, dataset, ...) makes panels, so that only seeds are ever
averaged or paired. With a single activation the lines are the values of one other key.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.analysis.summary import group_keys
from lenet_bench.choices.activations import ACTIVATIONS

MOST_LINES_OF_ONE_KEY = 8


def split_keys(runs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The keys whose values tell lines apart, and those that tell panels apart."""
    varying = [key for key in group_keys(runs) if key != "activation"]
    parameters = [key for key in varying if key.startswith("activation.")]
    others = [key for key in varying if key not in parameters]
    if runs["activation"].astype(str).nunique() == 1 and not parameters and others:
        chosen = _line_key(runs, others)
        if chosen is not None:
            return [chosen], [key for key in others if key != chosen]
    return ["activation", *parameters], others


def lines_in_order(runs: pd.DataFrame, keys: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """Label and runs of every line: the zoo's order, then parameters; or ascending values."""
    if keys[0] != "activation":
        (key,) = keys
        return [
            (f"{key}={describe_value(value)}", holding(runs, key, value))
            for value in ordered(runs[key])
        ]
    parameters = keys[1:]
    order = runs.assign(
        **{"label of line": runs.apply(line_label, axis=1, parameters=parameters)},
        **{"rank of line": runs["activation"].astype(str).map(activation_rank)},
    )
    order = order.sort_values(["rank of line", *parameters], kind="stable")
    return [
        (str(label), runs.loc[group.index])
        for label, group in order.groupby("label of line", sort=False)
    ]


def is_missing(value: Any) -> bool:
    """Whether a run has no such key, or none set."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def describe_value(value: Any) -> str:
    """A configuration value as a reader would type it: 0.1, 1, true, none."""
    if is_missing(value):
        return "none"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def line_label(row: Any, parameters: list[str]) -> str:
    """`leaky_relu negative_slope=0.1`: the activation and those parameters that it has."""
    name = str(row["activation"])
    if name == "custom" and isinstance(row.get("activation.path"), str):
        name = f"custom {str(row['activation.path']).rpartition(':')[2]}"
    parts = [
        f"{key.removeprefix('activation.')}={describe_value(row[key])}"
        for key in parameters
        if key != "activation.path" and not is_missing(row[key])
    ]
    return " ".join([name, *parts])


def ordered(values: pd.Series[Any]) -> list[Any]:
    """Distinct values: numbers ascending, missing last; names in order of appearance."""
    distinct = list(values.drop_duplicates())
    if not pd.api.types.is_numeric_dtype(values):
        return distinct
    return sorted(distinct, key=lambda value: (is_missing(value), value))


def holding(runs: pd.DataFrame, key: str, value: Any) -> pd.DataFrame:
    """The runs with this value, or those without one."""
    same = runs[key].isna() if is_missing(value) else runs[key] == value
    return runs[same]


def activation_rank(name: str) -> int:
    """Position in the zoo's own order; the user's activations come last."""
    names = list(ACTIVATIONS)
    return names.index(name) if name in names else len(names)


def _line_key(runs: pd.DataFrame, keys: list[str]) -> str | None:
    """The key whose values become lines when there is only one activation."""
    fitting = [key for key in keys if runs[key].nunique(dropna=False) <= MOST_LINES_OF_ONE_KEY]
    fitting = [key for key in fitting if key.partition(".")[0] != "dataset"]
    if "lr" in fitting:
        return "lr"
    return max(fitting, key=lambda key: runs[key].nunique(dropna=False), default=None)
