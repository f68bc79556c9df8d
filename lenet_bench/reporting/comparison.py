"""What a figure compares: runs in; lines with their styles, and panels, out.

Which keys make lines and which make panels is `lenet_bench.analysis.lines`' decision, the same
for figures and verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from lenet_bench.analysis.lines import (
    describe_value,
    holding,
    is_missing,
    lines_in_order,
    ordered,
    split_keys,
)
from lenet_bench.reporting.palette import Style, activation_style, ordered_styles, unordered_styles

MOST_PANELS = 24


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
    """Lines and panels in drawing order; `columns` panels stand in a row.

    `left_out` says in words which values are not shown, when there were too many panels.
    """

    lines: tuple[Line, ...]
    panels: tuple[Panel, ...]
    columns: int
    left_out: str


def compare(runs: pd.DataFrame, most_panels: int = MOST_PANELS) -> Comparison:
    """Part the runs into lines and panels."""
    keys, others = split_keys(runs)
    panels, columns, left_out = _panels(runs, others, most_panels)
    return Comparison(_lines(runs, keys), panels, columns, left_out)


def _lines(runs: pd.DataFrame, keys: list[str]) -> tuple[Line, ...]:
    parts = lines_in_order(runs, keys)
    if keys[0] != "activation":
        values = ordered(runs[keys[0]])
        number = pd.api.types.is_numeric_dtype(runs[keys[0]]) and not runs[keys[0]].isna().any()
        styles = ordered_styles(values) if number else unordered_styles(len(values))
    else:
        names = [str(group["activation"].iloc[0]) for _, group in parts]
        styles = [activation_style(name, names[:i].count(name)) for i, name in enumerate(names)]
    return tuple(
        Line(label, style, frozenset(group["run"]))
        for (label, group), style in zip(parts, styles, strict=True)
    )


def _panels(runs: pd.DataFrame, keys: list[str], most: int) -> tuple[tuple[Panel, ...], int, str]:
    """Panels for every combination of the keys' values that occurs, at most `most`."""
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
        runs = runs.drop(holding(runs, key, victim).index)
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


def _short(key: str) -> str:
    return "data" if key == "dataset.fingerprint" else key
