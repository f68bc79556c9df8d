"""What a figure compares: runs go in, lines with their styles and panels come out.

Which keys make lines and which make panels is decided by `lenet_bench.analysis.lines`, the same for
figures and verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from lenet_bench.analysis.lines import (
    describe_value,
    holding,
    lines_in_order,
    ordered,
    rank_of_values,
    split_keys,
)
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.reporting.palette import Style, activation_style, ordered_styles, unordered_styles
from lenet_bench.reporting.values import name_data, short_key

MOST_PANELS = 24

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """What one line of a figure stands for: its label, its style and the runs it averages."""

    label: str
    style: Style
    runs: frozenset[str]


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its title (empty when there is only one) and its runs."""

    title: str
    runs: frozenset[str]


@dataclass(frozen=True)
class Layout:
    """Lines and panels in drawing order; `columns` panels stand in a row.

    `left_out` says in words which values are not shown when there were too many panels.
    """

    lines: tuple[Line, ...]
    panels: tuple[Panel, ...]
    columns: int
    left_out: str


def arrange(runs: pd.DataFrame, most_panels: int = MOST_PANELS) -> Layout:
    """Divide the runs into lines and panels."""
    line_keys, panel_keys = split_keys(runs)
    runs = name_data(runs, runs)
    panels, columns, left_out = _panels(runs, panel_keys, most_panels)
    return Layout(_lines(runs, line_keys), panels, columns, left_out)


def family(activation: str) -> str:
    """The family that an activation belongs to; `custom` for a user's own."""
    entry = ACTIVATIONS.get(activation)
    return entry.family if entry else "custom"


def by_family(lines: Sequence[T], family_of: Callable[[T], str]) -> dict[str, list[T]]:
    """Group lines that are too many for one panel; families of one line share a group."""
    families: dict[str, list[T]] = {}
    for line in lines:
        families.setdefault(family_of(line), []).append(line)
    alone = [name for name, members in families.items() if len(members) == 1]
    if len(alone) > 1:
        families["others"] = [families.pop(name)[0] for name in alone]
    return families


def activation_styles(names: Sequence[str]) -> list[Style]:
    """A style for each line; lines of the same activation are variants of its style."""
    return [activation_style(name, names[:i].count(name)) for i, name in enumerate(names)]


def _lines(runs: pd.DataFrame, keys: list[str]) -> tuple[Line, ...]:
    parts = lines_in_order(runs, keys)
    if keys[0] == "activation":
        styles = activation_styles([str(group["activation"].iloc[0]) for _, group in parts])
    else:
        values = runs[keys[0]]
        is_number = pd.api.types.is_numeric_dtype(values) and not values.isna().any()
        styles = ordered_styles(len(parts)) if is_number else unordered_styles(len(parts))
    return tuple(
        Line(label, style, frozenset(group["run"]))
        for (label, group), style in zip(parts, styles, strict=True)
    )


def _panels(runs: pd.DataFrame, keys: list[str], most: int) -> tuple[tuple[Panel, ...], int, str]:
    """A panel for every combination of the keys' values that occurs, at most `most`."""
    if not keys:
        return (Panel("", frozenset(runs["run"])),), 1, ""
    keys = sorted(keys, key=lambda key: runs[key].nunique(dropna=False))
    shown, left_out = _thin(runs, keys, most)
    ranks = pd.DataFrame({key: rank_of_values(shown[key]) for key in keys})
    panels = []
    for _, rows in ranks.groupby(keys):
        group = shown.loc[rows.index]
        title = ", ".join(f"{short_key(key)} {describe_value(group[key].iloc[0])}" for key in keys)
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
        value = values[len(values) // 2]
        dropped.setdefault(key, []).append(value)
        runs = runs.drop(holding(runs, key, value).index)
    parts = [
        f"{short_key(key)} {', '.join(map(describe_value, ordered(pd.Series(values))))}"
        for key, values in dropped.items()
    ]
    return runs, "; ".join(parts)
