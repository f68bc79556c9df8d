"""All runs: a row each, with the most important columns of `summary.csv`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.reporting.tables.table import Table, make_table
from lenet_bench.reporting.words import NOTHING

COLUMNS = (
    *("run", "status", "iteration", "final_train_loss", "mean_train_loss"),
    *("iterations_to_target", "best_validation_accuracy", "test_accuracy", "seconds"),
)


def runs_table(summary: pd.DataFrame) -> Table:
    """A row per run of `lenet_bench.analysis.summary.summarise`'s frame."""
    rows = [[_cell(value) for value in row] for row in summary[list(COLUMNS)].to_numpy(object)]
    headers = [name.replace("_", " ") for name in COLUMNS]
    caption = "All columns, and every run's configuration, are in summary.csv."
    return make_table(headers, rows, "iteration", caption)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return NOTHING if np.isnan(value) else f"{value:.5g}"
    return str(value)
