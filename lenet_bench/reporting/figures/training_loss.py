"""Training loss against the iteration."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from lenet_bench.reporting.figures.curves import smoothing_window
from lenet_bench.reporting.figures.gathering import gather_curves
from lenet_bench.reporting.figures.panels import CurveFigure, draw


def training_loss(train: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Training loss (nats) against the iteration: mean and 95 % interval over seeds.

    Thin lines behind are the mini-batch losses of single runs, the dotted line is chance,
    ln(classes), and a cross marks where a run diverged.

    Args:
        train: `Sweep.train`: a row per run and iteration.
        runs: `Sweep.runs`: a row per run.
    """
    return draw(_gather(train, runs))


def _gather(train: pd.DataFrame, runs: pd.DataFrame) -> CurveFigure:
    longest = float(train["iteration"].max()) if len(train) else 0.0
    return gather_curves(
        train,
        "loss",
        runs,
        name="Training loss",
        y_label="training loss (nats)",
        chance=lambda classes: (math.log(classes), f"chance (ln {classes})"),
        window=smoothing_window(longest),
    )
