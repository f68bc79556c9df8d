"""What is compared with what: runs in, lines and panels out.

Lines are compared with each other. A line is an activation, with its parameters if these vary. With
a single activation, the lines are the values of one other key. Every other key that varies (init,
learning rate, dataset, ...) makes panels, so that only seeds are ever averaged or paired.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.analysis.labels import path_labels
from lenet_bench.analysis.summary import group_keys
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.text import printable

MOST_LINES_OF_ONE_KEY = 8


def split_keys(runs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The keys that distinguish lines, and those that distinguish panels."""
    varying = [key for key in group_keys(runs) if key != "activation"]
    parameters = [key for key in varying if key.startswith("activation.")]
    others = [key for key in varying if key not in parameters]
    if runs["activation"].astype(str).nunique() == 1 and not parameters and others:
        chosen = _line_key(runs, others)
        if chosen is not None:
            return [chosen], [key for key in others if key != chosen]
    return ["activation", *parameters], others


def lines_in_order(
    runs: pd.DataFrame, keys: list[str], among: pd.DataFrame | None = None
) -> list[tuple[str, pd.DataFrame]]:
    """Split runs into lines: the label and the runs of each.

    A line is one combination of the keys' values, where a missing value is a value too. Lines stand
    in the order of the list of activations and then of their parameters, or of the values of the
    one key.

    Args:
        runs: The runs, often those of one panel.
        keys: The keys that distinguish lines, from `split_keys`.
        among: The runs of all panels, so that a line has the same label in each of them.
    """
    if keys[0] != "activation":
        (key,) = keys
        return [
            (f"{key}={describe_value(value)}", holding(runs, key, value))
            for value in ordered(runs[key])
        ]
    parameters = keys[1:]
    ranks = {"activation": runs["activation"].astype(str).map(activation_rank)}
    ranks |= {key: rank_of_values(runs[key]) for key in parameters}
    labels = line_labels(runs if among is None else among, parameters)
    lines = [
        (tuple(rank[group.index[0]] for rank in ranks.values()), labels[group.index[0]], group)
        for _, group in runs.groupby(keys, dropna=False, sort=False, observed=True)
    ]
    return [(label, group) for _, label, group in sorted(lines, key=lambda line: line[0])]


def is_missing(value: Any) -> bool:
    """Whether a value is missing: the run does not have the key, or it is null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def describe_value(value: Any) -> str:
    """Format a value of the configuration as it is typed: 0.1, 1, true, null."""
    if is_missing(value):
        return "null"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return printable(str(value))


def line_labels(frame: pd.DataFrame, parameters: list[str]) -> pd.Series[Any]:
    """Label rows by activation and parameters, as in `leaky_relu negative_slope=0.1`.

    A user's own activation is `custom` and its class, with as much of the import path as it takes
    to distinguish it from the others in the frame. A frame that averages over runs may lack the
    column `activation.path`; `add_path` adds it.
    """
    path = "activation.path"
    paths = frame[path].dropna().astype(str) if path in frame else pd.Series(dtype="str")
    classes = path_labels(paths.unique())
    labels = []
    for _, row in frame.iterrows():
        name = printable(str(row["activation"]))
        if name == "custom" and isinstance(row.get(path), str):
            name = f"custom {printable(classes[row[path]])}"
        settings = [
            f"{key.removeprefix('activation.')}={describe_value(row[key])}"
            for key in parameters
            if key != path and not is_missing(row[key])
        ]
        labels.append(" ".join([name, *settings]))
    return pd.Series(labels, index=frame.index, dtype=object)


def add_path(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Add the class of a user's own activation to a frame whose keys do not hold it.

    The path is a key only where there are several. Where there is one, it belongs to every row of
    `custom`, so that `line_labels` gives them the label that they have among the runs.

    Args:
        frame: A row per group of runs, with the column `activation`.
        runs: The runs behind it.
    """
    path = "activation.path"
    known = runs[path].dropna() if path in runs else pd.Series(dtype="str")
    if path in frame or known.empty:
        return frame
    paths = [known.iloc[0] if name == "custom" else None for name in frame["activation"]]
    with_path = frame.copy()
    with_path[path] = paths
    return with_path


def ordered(values: pd.Series[Any]) -> list[Any]:
    """Distinct values: numbers ascending, names in order of appearance, a missing one last."""
    distinct = [value for value in values.drop_duplicates() if not is_missing(value)]
    if pd.api.types.is_numeric_dtype(values):
        distinct.sort()
    return [*distinct, None] if values.isna().any() else distinct


def rank_of_values(values: pd.Series[Any]) -> pd.Series[int]:
    """The position of each value among the distinct ones, as `ordered` has them."""
    distinct = ordered(values)
    known = {value: rank for rank, value in enumerate(distinct)}
    ranks = [len(distinct) if is_missing(value) else known[value] for value in values]
    return pd.Series(ranks, index=values.index)


def holding(runs: pd.DataFrame, key: str, value: Any) -> pd.DataFrame:
    """The runs that have this value, which may be missing."""
    same = runs[key].isna() if is_missing(value) else runs[key] == value
    return runs[same]


def activation_rank(name: str) -> int:
    """The position of an activation in the list; the user's own come last."""
    names = list(ACTIVATIONS)
    return names.index(name) if name in names else len(names)


def _line_key(runs: pd.DataFrame, keys: list[str]) -> str | None:
    """The key whose values become lines when there is only one activation."""
    fitting = [key for key in keys if runs[key].nunique(dropna=False) <= MOST_LINES_OF_ONE_KEY]
    fitting = [key for key in fitting if key.partition(".")[0] != "dataset"]
    if "lr" in fitting:
        return "lr"
    return max(fitting, key=lambda key: runs[key].nunique(dropna=False), default=None)
