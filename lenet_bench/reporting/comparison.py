"""What is compared with what: runs in, lines and panels out.

A line is what a reader follows by colour: an activation, with its parameters where these vary.
Everything else that varies (init, learning rate, dataset, ...) becomes a panel, so that runs are
only ever averaged over seeds. With a single activation the lines are the values of one other key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.activations import ACTIVATIONS
from lenet_bench.analysis.loading import varying_keys
from lenet_bench.reporting.palette import Style, activation_style, ordered_styles, unordered_styles

MOST_PANELS = 24
MOST_LINES_OF_ONE_KEY = 8


@dataclass(frozen=True)
class Line:
    """One line of the legend: its label, its style and the runs averaged in it."""

    label: str
    style: Style
    runs: frozenset[str]


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its title (empty when there is only one) and its runs."""

    title: str
    runs: frozenset[str]


@dataclass(frozen=True)
class Comparison:
    """Lines and panels in drawing order; ``columns`` panels stand in a row.

    ``left_out`` says in words which values are not shown, when there were too many panels.
    """

    lines: tuple[Line, ...]
    panels: tuple[Panel, ...]
    columns: int
    left_out: str


def compare(runs: pd.DataFrame, most_panels: int = MOST_PANELS) -> Comparison:
    """Part the runs into lines and panels."""
    runs = runs.assign(activation=runs["activation"].astype(str))
    varying = [key for key in varying_keys(runs) if key != "activation"]
    parameters = [key for key in varying if key.startswith("activation.")]
    others = [key for key in varying if key not in parameters]
    if runs["activation"].nunique() == 1 and not parameters and others:
        chosen = _line_key(runs, others)
        if chosen is not None:
            panels, columns, left_out = _panels(
                runs, [key for key in others if key != chosen], most_panels
            )
            return Comparison(_value_lines(runs, chosen), panels, columns, left_out)
    panels, columns, left_out = _panels(runs, others, most_panels)
    return Comparison(_activation_lines(runs, parameters), panels, columns, left_out)


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
    """``leaky_relu negative_slope=0.1``: the activation and those parameters that it has."""
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


def activation_rank(name: str) -> int:
    """Position in the zoo's own order; the user's activations come last."""
    names = list(ACTIVATIONS)
    return names.index(name) if name in names else len(names)


def _activation_lines(runs: pd.DataFrame, parameters: list[str]) -> tuple[Line, ...]:
    labels = runs.apply(line_label, axis=1, parameters=parameters)
    order = runs.assign(label=labels, rank=runs["activation"].map(activation_rank))
    order = order.sort_values(["rank", *parameters], kind="stable")
    lines: list[Line] = []
    for name, same in order.groupby("activation", sort=False):
        for variant, (label, group) in enumerate(same.groupby("label", sort=False)):
            style = activation_style(str(name), variant)
            lines.append(Line(str(label), style, frozenset(group["run"])))
    return tuple(lines)


def _line_key(runs: pd.DataFrame, keys: list[str]) -> str | None:
    """The key whose values become lines when there is only one activation."""
    fitting = [key for key in keys if runs[key].nunique(dropna=False) <= MOST_LINES_OF_ONE_KEY]
    fitting = [key for key in fitting if key.partition(".")[0] != "dataset"]
    if "lr" in fitting:
        return "lr"
    return max(fitting, key=lambda key: runs[key].nunique(dropna=False), default=None)


def _value_lines(runs: pd.DataFrame, key: str) -> tuple[Line, ...]:
    values = ordered(runs[key])
    number = pd.api.types.is_numeric_dtype(runs[key]) and not runs[key].isna().any()
    styles = ordered_styles(values) if number else unordered_styles(len(values))
    return tuple(
        Line(f"{key}={describe_value(value)}", style, frozenset(_holding(runs, key, value)["run"]))
        for value, style in zip(values, styles, strict=True)
    )


def _panels(runs: pd.DataFrame, keys: list[str], most: int) -> tuple[tuple[Panel, ...], int, str]:
    """Panels for every combination of the keys' values that occurs, at most ``most``."""
    if not keys:
        return (Panel("", frozenset(runs["run"])),), 1, ""
    keys = sorted(keys, key=lambda key: runs[key].nunique(dropna=False))
    shown, left_out = _thin(runs, keys, most)
    panels = []
    for key in keys:
        shown = shown.assign(**{f"rank of {key}": shown[key].map(_rank(shown[key]))})
    shown = shown.sort_values([f"rank of {key}" for key in keys], kind="stable")
    for _, group in shown.groupby([f"rank of {key}" for key in keys], sort=False):
        title = ", ".join(f"{_short(key)} {describe_value(group[key].iloc[0])}" for key in keys)
        panels.append(Panel(title, frozenset(group["run"])))
    last = shown[keys[-1]].nunique(dropna=False)
    columns = last if 2 <= last <= 5 else min(len(panels), 4)
    return tuple(panels), columns, left_out


def _thin(runs: pd.DataFrame, keys: list[str], most: int) -> tuple[pd.DataFrame, str]:
    """Drop whole values, evenly and whatever their outcome, until the panels are few enough."""
    dropped: dict[str, list[Any]] = {}
    while len(runs[keys].drop_duplicates()) > most:
        key = max(keys, key=lambda key: runs[key].nunique(dropna=False))
        values = ordered(runs[key])
        victim = values[len(values) // 2]
        dropped.setdefault(key, []).append(victim)
        runs = runs.drop(_holding(runs, key, victim).index)
    parts = [
        f"{key} {', '.join(map(describe_value, ordered(pd.Series(values))))}"
        for key, values in dropped.items()
    ]
    return runs, "; ".join(parts)


def _rank(values: pd.Series[Any]) -> Any:
    order = ordered(values)
    return lambda value: next(
        i for i, one in enumerate(order) if one == value or (is_missing(one) and is_missing(value))
    )


def _holding(runs: pd.DataFrame, key: str, value: Any) -> pd.DataFrame:
    same = runs[key].isna() if is_missing(value) else runs[key] == value
    return runs[same]


def _short(key: str) -> str:
    return "data" if key == "dataset.fingerprint" else key
