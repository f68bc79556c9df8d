"""Fraction of dead units against the iteration, a panel per hidden layer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from lenet_bench.reporting.figures import captions
from lenet_bench.reporting.figures.curves import average_curves, diverged_runs, series_by_run
from lenet_bench.reporting.figures.layout import MOST_PANELS, Line, arrange
from lenet_bench.reporting.figures.panels import CurveFigure, CurvePanel, draw
from lenet_bench.reporting.values import shared_settings

MOST_LINES_WITH_LIVING = 6
"""With more lines than this, those without any dead unit are listed in the caption instead."""


def dead_fraction(layers: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Fraction of dead units against the iteration: mean and 95 % interval over seeds.

    Args:
        layers: `Sweep.layers`: a row per run, probe and layer.
        runs: `Sweep.runs`: a row per run.
    """
    return draw(_gather(layers, runs))


def _gather(layers: pd.DataFrame, runs: pd.DataFrame) -> CurveFigure:
    rows = layers[layers["dead_fraction"].notna()]
    names = [str(name) for name in dict.fromkeys(rows["layer"])]
    layout = arrange(runs, most_panels=max(1, MOST_PANELS // max(len(names), 1)))
    series = {name: series_by_run(rows[rows["layer"] == name], "dead_fraction") for name in names}
    living = _never_dead(rows, layout.lines) if len(layout.lines) > MOST_LINES_WITH_LIVING else []
    if len(living) == len(layout.lines):
        living = living[1:]  # one line of zeros says more than empty panels
    shown = [line for line in layout.lines if line not in living]
    diverged = diverged_runs(runs)
    panels = [
        CurvePanel(
            name,
            average_curves(series[name], shown, panel.runs, diverged),
            heading=panel.title if name == names[0] else "",
        )
        for panel in layout.panels
        for name in names
    ]
    columns = max(len(names), 1)
    if len(layout.panels) == 1 and len(names) > 1:
        columns = 2 if len(names) <= 4 else 3
    by_panel = [list(panel.curves.values()) for panel in panels]
    drawn_curves = [curve for curves in by_panel for curve in curves]
    caption = captions.join(
        [
            captions.seeds(curve.runs for curve in drawn_curves),
            captions.smoothing(by_panel, 1),
            captions.divergence(drawn_curves, 1),
            _living_in_words(rows, living),
            captions.left_out(layout.left_out),
            shared_settings(runs),
        ]
    )
    title = captions.titled("Dead units", runs)
    return CurveFigure(title, "dead units", True, tuple(panels), columns, caption, runs)


def _never_dead(rows: pd.DataFrame, lines: Sequence[Line]) -> list[Line]:
    """The lines none of whose runs had a dead unit at any probe."""
    worst = rows.groupby("run", observed=True)["dead_fraction"].max()
    probed = frozenset(worst.index.astype(str))
    alive = frozenset(worst.index[worst == 0].astype(str))
    return [line for line in lines if line.runs & probed and line.runs & probed <= alive]


def _living_in_words(rows: pd.DataFrame, living: Sequence[Line]) -> str:
    if not rows["dead_fraction"].any():
        return "No unit was dead at any probe."
    if not living:
        return ""
    return f"No dead unit at any probe: {', '.join(line.label for line in living)}."
