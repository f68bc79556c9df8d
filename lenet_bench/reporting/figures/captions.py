"""Captions: what a figure averages, smooths, marks and leaves out, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from lenet_bench.reporting.figures.curves import Curve, are_raw_lines_drawn
from lenet_bench.reporting.figures.stylesheet import CROSS
from lenet_bench.reporting.values import common_value


def titled(name: str, runs: pd.DataFrame) -> str:
    """`Training loss on digits`, where all runs share the data set."""
    dataset = common_value(runs, "dataset")
    return f"{name} on {dataset}" if dataset else name


def join(sentences: Iterable[str]) -> str:
    """The sentences that there are, as one text."""
    return " ".join(filter(None, sentences))


def seeds(counts: Iterable[int]) -> str:
    """What was averaged, from the number of runs of every line."""
    distinct = sorted(set(counts))
    if not distinct:
        return ""
    if distinct[-1] < 2:
        return "One seed each: no interval."
    span = str(distinct[0]) if len(distinct) == 1 else f"{distinct[0]} to {distinct[-1]}"
    return f"Mean over {span} seeds with its 95 % interval (Student's t)."


def smoothing(panels: Sequence[Sequence[Curve]], window: int) -> str:
    """How the thick lines were smoothed and what the thin lines are, where there are some."""
    thin = all(are_raw_lines_drawn(curves) for curves in panels)
    if window > 1:
        behind = "; thin lines: every run's mini-batches, unsmoothed" if thin else ""
        return f"Smoothed by a centred mean over {window} iterations{behind}."
    averaged = any(curve.runs > 1 for curves in panels for curve in curves)
    return "Thin lines: single runs." if thin and averaged else ""


def divergence(curves: Sequence[Curve], window: int) -> str:
    """What the crosses mean: nothing is made up for a run after its end."""
    if not any(curve.diverged for curve in curves):
        return ""
    if window > 1:
        line = f", and the thick line leaves out its last {window} iterations"
    else:
        line = ", and the mean goes on over the others" if any(c.runs > 1 for c in curves) else ""
    return f"{CROSS} marks where a run diverged: its values end there{line}."


def left_out(words: str) -> str:
    """What there was no room for."""
    return f"Not shown, for room: {words}." if words else ""
