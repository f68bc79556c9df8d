"""What a figure of one quantity against the iteration shows: a panel for every other setting."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from lenet_bench.reporting.figures import captions
from lenet_bench.reporting.figures.curves import average_curves, diverged_runs, series_by_run
from lenet_bench.reporting.figures.layout import arrange
from lenet_bench.reporting.figures.panels import (
    MOST_LINES_TOGETHER,
    CurveFigure,
    CurvePanel,
    split_by_family,
)
from lenet_bench.reporting.values import shared_settings


def gather_curves(
    frame: pd.DataFrame,
    column: str,
    runs: pd.DataFrame,
    *,
    name: str,
    y_label: str,
    chance: Callable[[int], tuple[float, str]],
    percent: bool = False,
    window: int = 1,
) -> CurveFigure:
    """Average one column of a frame over seeds, line by line and panel by panel.

    Args:
        frame: Rows of runs by iteration: `run`, `iteration` and the column.
        column: What is averaged.
        runs: The runs behind the frame.
        name: What the figure is called.
        y_label: What the vertical axis is called.
        chance: From the number of classes to the level of guessing and the words for it.
        percent: Whether the values are shares.
        window: Iterations over which a run is smoothed.
    """
    layout = arrange(runs)
    series = series_by_run(frame, column)
    diverged = diverged_runs(runs)
    panels = []
    for panel in layout.panels:
        curves = average_curves(series, layout.lines, panel.runs, diverged, window)
        classes = runs.loc[runs["run"].isin(panel.runs), "classes"].dropna().unique()
        level = chance(int(classes[0])) if len(classes) == 1 else (None, "")
        panels.append(CurvePanel(panel.title, curves, *level))
    columns, remark = layout.columns, ""
    if len(panels) == 1 and len(panels[0].curves) > MOST_LINES_TOGETHER:
        panels = list(split_by_family(panels[0], runs))
        columns = min(3, len(panels))
        remark = "Grey: the activations of the other panels." if len(panels) > 1 else ""
    by_panel = [list(panel.curves.values()) for panel in panels]
    drawn_curves = [curve for curves in by_panel for curve in curves]
    caption = captions.join(
        [
            captions.seeds(curve.runs for curve in drawn_curves),
            captions.smoothing(by_panel, window),
            captions.divergence(drawn_curves, window),
            remark,
            captions.left_out(layout.left_out),
            shared_settings(runs),
        ]
    )
    return CurveFigure(
        captions.titled(name, runs), y_label, percent, tuple(panels), columns, caption, runs
    )
