"""Shared and tuned learning rates: the frame of `summarise` in, chosen rates and their results out.

An activation that is compared at a learning rate that suits another one loses for the wrong reason.
So if a sweep varies `lr`, there are two comparisons: at one shared rate, which is best for all
lines of a panel together, and at the best rate of each line (an activation with its parameters).
The first seeds choose the rates by validation loss, and only the other seeds report: a rate that
was chosen by luck must not be judged by the same luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.analysis.comparisons import panels_of
from lenet_bench.analysis.lines import describe_value, lines_in_order
from lenet_bench.analysis.outcomes import count, diverged, losses_to_choose_by, never_reached
from lenet_bench.analysis.summary import group_keys, interval
from lenet_bench.records.schema import SETTINGS, TUNED, TUNED_QUANTITIES, names

COUNTED = {"validation_loss": "final_validation_loss"}
"""The columns of the summary whose names in `tuned.csv` differ."""


@dataclass(frozen=True)
class _TunedLine:
    """The rates that were chosen for one line of one panel.

    Attributes:
        keys: The values of the keys of panel and line.
        rates: The rates that were tried, in ascending order.
        tuned: The best rate of the line.
        shared: The best rate of all lines of the panel together.
        choosing: The seeds that chose.
        reporting: The seeds that report.
        runs: The runs of the seeds that report.
    """

    keys: dict[str, Any]
    rates: tuple[float, ...]
    tuned: float
    shared: float
    choosing: tuple[Any, ...]
    reporting: tuple[Any, ...]
    runs: pd.DataFrame

    def at(self, setting: str) -> pd.DataFrame:
        """The reporting runs at the `shared` or at the `tuned` rate."""
        return self.runs[self.runs["lr"] == (self.tuned if setting == "tuned" else self.shared)]


def tuned_rates(summary: pd.DataFrame) -> pd.DataFrame:
    """Make the frame of `tuned.csv`: the chosen rates, and what the other seeds report at them.

    Args:
        summary: The frame of `summarise`.

    Returns:
        A row per panel and line: their keys, then the columns of
        `lenet_bench.records.schema.TUNED`. There are no rows if nothing can be tuned; `obstacle`
        says why.
    """
    line_keys, panel_keys = tuning_keys(summary)
    rows = []
    for line in _choose(summary):
        row: dict[str, Any] = {
            **line.keys,
            "rates": _text(line.rates),
            "tuned_lr": line.tuned,
            "on_edge": _edge(line.tuned, line.rates),
            "choosing_seeds": _text(line.choosing),
            "reporting_seeds": _text(line.reporting),
            "shared_lr": line.shared,
        }
        for setting in SETTINGS:
            runs = line.at(setting)
            for name in TUNED_QUANTITIES:
                reported = interval(count(runs, COUNTED.get(name, name)))
                row[f"{name}_{setting}_mean"] = reported.mean
                row[f"{name}_{setting}_low"] = reported.low
                row[f"{name}_{setting}_high"] = reported.high
            row[f"never_{setting}"] = int(never_reached(runs, "iterations_to_target").sum())
            row[f"diverged_{setting}"] = int(diverged(runs).sum())
        rows.append(row)
    return pd.DataFrame(rows, columns=[*panel_keys, *line_keys, *names(TUNED)])


def reporting_runs(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of the runs that report, with a column `setting`, which is shared or tuned.

    A run whose rate is both appears twice. Within a setting, runs pair by seed as in `summary`.
    """
    parts = [
        line.at(setting).assign(setting=setting)
        for line in _choose(summary)
        for setting in SETTINGS
    ]
    return pd.concat(parts) if parts else summary.iloc[:0].assign(setting=pd.Series(dtype="str"))


def obstacle(summary: pd.DataFrame) -> str:
    """Say why a sweep that varies `lr` has no tuned rates; an empty text if it has some."""
    if "lr" not in group_keys(summary) or _choose(summary):
        return ""
    if summary["seed"].nunique() < 2:
        return (
            "learning rates are not tuned: one seed would both choose the rate and report on it; "
            "add seeds, e.g. 'seed=range(5)'"
        )
    return (
        "learning rates are not tuned: no validation loss was recorded for two rates and two seeds"
    )


def tuning_keys(summary: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The keys that distinguish lines, and those that distinguish panels; `lr` is in neither."""
    keys = group_keys(summary)
    lines = ["activation", *(key for key in keys if key.startswith("activation."))]
    return lines, [key for key in keys if key not in (*lines, "lr")]


def rates_in_order(runs: pd.DataFrame) -> list[float]:
    """The rates of a line, the best one first.

    A rate is better at which fewer runs diverged, and then one with the lower mean validation loss.
    Rates without any known loss are left out.
    """
    losses, rates = losses_to_choose_by(runs), runs["lr"].astype("float64")
    scores = []
    for rate in rates.dropna().unique().tolist():
        known = losses[rates == rate].dropna()
        if len(known):
            share = float(np.isinf(known).mean())
            mean = known[np.isfinite(known)].mean() if share < 1 else np.inf
            scores.append((share, float(mean), float(rate)))
    return [rate for _, _, rate in sorted(scores)]


def choosing_count(seeds: int) -> int:
    """How many of the seeds choose: three eighths, but so that 3 can report where possible."""
    return max(1, min(round(3 * seeds / 8), seeds - 3))


def _choose(summary: pd.DataFrame) -> list[_TunedLine]:
    line_keys, panel_keys = tuning_keys(summary)
    if "lr" not in group_keys(summary):
        return []
    tuned = []
    for values, panel in panels_of(summary, panel_keys):
        seeds = tuple(sorted(panel["seed"].dropna().unique()))
        if len(seeds) < 2:
            continue
        count = choosing_count(len(seeds))
        choosing, reporting = seeds[:count], seeds[count:]
        lines = lines_in_order(panel, line_keys)
        orders = [rates_in_order(runs[runs["seed"].isin(choosing)]) for _, runs in lines]
        shared = _shared([order for order in orders if order])
        for (_, runs), order in zip(lines, orders, strict=True):
            rates = tuple(sorted(float(rate) for rate in runs["lr"].dropna().unique()))
            if shared is None or len(rates) < 2 or not order:
                continue
            keys = values | {key: runs[key].iloc[0] for key in line_keys}
            left = runs[runs["seed"].isin(reporting)]
            tuned.append(_TunedLine(keys, rates, order[0], shared, choosing, reporting, left))
    return tuned


def _shared(orders: Sequence[list[float]]) -> float | None:
    """The rate with the best mean rank over all lines, among those that all lines have tried."""
    if not orders:
        return None
    common = set(orders[0]).intersection(*orders[1:])
    if not common:
        return None
    ranked = [[rate for rate in order if rate in common] for order in orders]
    return min(sorted(common), key=lambda rate: sum(order.index(rate) for order in ranked))


def _edge(rate: float, rates: Sequence[float]) -> str:
    return {rates[0]: "lowest", rates[-1]: "highest"}.get(rate, "none")


def _text(values: Sequence[Any]) -> str:
    plain = (value.item() if isinstance(value, np.generic) else value for value in values)
    return ", ".join(describe_value(value) for value in plain)
