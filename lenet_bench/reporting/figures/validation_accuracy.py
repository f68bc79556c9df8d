"""Validation accuracy against the iteration."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lenet_bench.reporting.figures.gathering import gather_curves
from lenet_bench.reporting.figures.panels import CurveFigure, draw


def validation_accuracy(evaluation: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Validation accuracy against the iteration: mean and 95 % interval over seeds.

    Args:
        evaluation: `Sweep.evaluation`: a row per run, evaluation and split.
        runs: `Sweep.runs`: a row per run.
    """
    return draw(_gather(evaluation, runs))


def _gather(evaluation: pd.DataFrame, runs: pd.DataFrame) -> CurveFigure:
    return gather_curves(
        evaluation[evaluation["split"] == "validation"],
        "accuracy",
        runs,
        name="Validation accuracy",
        y_label="validation accuracy",
        chance=lambda classes: (1 / classes, f"chance (1/{classes})"),
        percent=True,
    )
