"""From rows to curves: a series per run goes in; mean, interval and thin raw lines come out.

Every line is reduced here to a few hundred points, so that a thousand runs of thousands of
iterations plot in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lenet_bench.analysis.summary import WINDOW, Floats, mean_and_half_width
from lenet_bench.reporting.figures.layout import Line

MOST_POINTS = 400
MOST_RAW_RUNS = 24
"""With more runs than this in a panel, single runs are not drawn."""

Series = tuple[Floats, Floats]
"""Iterations and values of one run, ascending."""


@dataclass(frozen=True)
class Curve:
    """One line of a panel, as it is drawn.

    Attributes:
        iterations: Where the line has points, ascending.
        mean: The mean over the runs that got this far.
        low: The lower end of its 95 % interval; NaN where fewer than two runs are left.
        high: The upper end.
        raw: A thinned series per run; empty when there are too many runs to draw.
        stops: The last finite point of each run that diverged.
        diverged: How many runs diverged.
        runs: How many runs have a value at all.
    """

    iterations: Floats
    mean: Floats
    low: Floats
    high: Floats
    raw: tuple[Series, ...]
    stops: tuple[tuple[float, float], ...]
    diverged: int
    runs: int


def series_by_run(frame: pd.DataFrame, column: str) -> dict[str, Series]:
    """Each run's iterations and values of `column`."""
    iterations = frame["iteration"].to_numpy(np.float64)
    values = frame[column].to_numpy(np.float64)
    rows = frame.groupby("run", observed=True, sort=False).indices
    return {str(run): (iterations[i], values[i]) for run, i in rows.items()}


def smoothing_window(longest: float) -> int:
    """Iterations (an odd number) averaged for a line: 25, fewer in short runs, more in long."""
    if longest < 40 * WINDOW:
        return int(longest) // 40 | 1
    return max(WINDOW, int(longest) // 80) | 1


def average_curves(
    series: Mapping[str, Series],
    lines: Iterable[Line],
    in_panel: frozenset[str],
    diverged: frozenset[str],
    window: int = 1,
) -> dict[Line, Curve]:
    """The curve of every line that has values among the panel's runs."""
    curves = {line: average_runs(series, line.runs & in_panel, diverged, window) for line in lines}
    return {line: curve for line, curve in curves.items() if curve is not None}


def diverged_runs(runs: pd.DataFrame) -> frozenset[str]:
    """The names of the runs that diverged."""
    return frozenset(runs.loc[runs["status"] == "diverged", "run"])


def are_raw_lines_drawn(curves: Sequence[Curve]) -> bool:
    """Whether a panel with these curves shows its single runs too."""
    return sum(len(curve.raw) for curve in curves) <= MOST_RAW_RUNS


def average_runs(
    series: Mapping[str, Series], runs: frozenset[str], diverged: frozenset[str], window: int
) -> Curve | None:
    """Average the given runs; `None` when none of them has a finite value.

    Each run is smoothed by a centred mean over `window` rows; then mean and interval are taken
    over the runs that reached the iteration: nothing is made up for a run after its end. Where a
    window is given, the last `window` iterations of a run that diverged appear in its thin line
    only: one loss of 1e30 would be all that the mean shows.
    """
    chosen = {run: series[run] for run in sorted(runs) if run in series}
    chosen = {run: s for run, s in chosen.items() if np.isfinite(s[1]).any()}
    if not chosen:
        return None
    grid = _grid([iterations for iterations, _ in chosen.values()])
    cut = {run: window if run in diverged and window > 1 else 0 for run in chosen}
    table = np.stack(  # (N, points)
        [_values_at(grid, *one, window, cut[run]) for run, one in chosen.items()]
    )
    mean, half = mean_and_half_width(table)
    stops = tuple(_last_finite(*s) for run, s in chosen.items() if run in diverged)
    return Curve(
        iterations=grid,
        mean=mean,
        low=mean - half,
        high=mean + half,
        raw=tuple(envelope(*s) for s in chosen.values()) if len(chosen) <= MOST_RAW_RUNS else (),
        stops=stops,
        diverged=len(runs & diverged),
        runs=len(chosen),
    )


def centred_mean(values: Floats, positions: npt.NDArray[np.int_], window: int) -> Floats:
    """Mean of the `window` (odd) values around each position.

    Near the start the window shrinks on both sides, so that the first point is the first value
    itself; at the end only its later half is cut off, so that the last point is not a single noisy
    value.
    """
    offsets = np.arange(window) - window // 2
    index = positions[:, None] + offsets  # (points, window)
    inside = (np.abs(offsets) <= positions[:, None]) & (index < len(values))
    taken = np.where(inside, values[np.clip(index, 0, len(values) - 1)], 0.0)
    means: Floats = taken.sum(axis=1) / inside.sum(axis=1)
    return means


def envelope(iterations: Floats, values: Floats) -> Series:
    """At most `MOST_POINTS` points that keep every extreme: lowest and highest per bin."""
    if len(values) <= MOST_POINTS:
        return iterations, values
    kept = []
    for bin_ in np.array_split(np.arange(len(values)), MOST_POINTS // 2):
        part = np.nan_to_num(values[bin_], nan=np.inf)
        kept += sorted({int(bin_[part.argmin()]), int(bin_[part.argmax()])})
    return iterations[kept], values[kept]


def _grid(iterations: list[Floats]) -> Floats:
    """The iterations to draw at: all that occur, thinned evenly with both ends kept."""
    every = np.unique(np.concatenate(iterations))
    if len(every) <= MOST_POINTS:
        return every
    chosen: Floats = every[np.linspace(0, len(every) - 1, MOST_POINTS).round().astype(int)]
    return chosen


def _values_at(grid: Floats, iterations: Floats, values: Floats, window: int, cut: int) -> Floats:
    """A run's smoothed values on the grid; NaN after its end and where it has no row."""
    finite = np.isfinite(values)
    iterations, values = iterations[finite], values[finite]
    kept = max(len(values) - cut, 1)
    iterations, values = iterations[:kept], values[:kept]
    positions = np.searchsorted(iterations, grid, side="right") - 1
    result = np.full(len(grid), np.nan)
    there = (positions >= 0) & (grid <= iterations[-1])
    if window == 1:
        there &= iterations[np.maximum(positions, 0)] == grid
    result[there] = centred_mean(values, positions[there], window)
    return result


def _last_finite(iterations: Floats, values: Floats) -> tuple[float, float]:
    last = np.flatnonzero(np.isfinite(values))[-1]
    return float(iterations[last]), float(values[last])
