"""Turns rounds into the throughput table: times, and whether the methods really trained.

In: measurements of each round, and losses. Out: frames for the CSVs and the figure, and the table
in the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.contender import Contender, Measurement

LOSS_WINDOW = 50  # a final loss is the mean over this many iterations
REFERENCE_RUNS = 16  # ratios compare with lenet-bench with this many runs
FLOOR = "floor"
DISTURBING = 0.2  # if other processes keep more cores busy, the table says so


@dataclass(frozen=True)
class Losses:
    """Final training losses of all methods and the distance at which one counts as off.

    Attributes:
        iteration: The last iteration of the window, the same for all methods.
        final: By label, the mean over its models, in nats.
        middle: The median over methods.
        tolerance: Four standard deviations between seeds, at least 0.05 nats.
    """

    iteration: int
    final: Mapping[str, float]
    middle: float
    tolerance: float

    def agrees(self, label: str) -> bool:
        """Whether the loss of a method is within the tolerance of the median."""
        return abs(self.final[label] - self.middle) <= self.tolerance


def compare_losses(contenders: Sequence[Contender]) -> Losses | None:
    """Compare the losses of all methods at the last iteration that all have reached."""
    series = {
        contender.label: [np.asarray(model) for model in contender.losses()]
        for contender in contenders
        if contender.method != FLOOR and len(contender.losses())
    }
    if not series:
        return None
    last = min(len(model) for models in series.values() for model in models)
    window = slice(max(0, last - LOSS_WINDOW), last)
    finals = {
        label: [float(model[window].mean()) for model in models] for label, models in series.items()
    }
    spreads = [np.var(values, ddof=1) for values in finals.values() if len(values) > 1]
    deviation = float(np.sqrt(np.mean(spreads))) if spreads else 0.0
    means = {label: float(np.mean(values)) for label, values in finals.items()}
    return Losses(last, means, float(np.median(list(means.values()))), max(4 * deviation, 0.05))


def rounds_frame(
    rounds: Sequence[Mapping[str, Measurement]], by: Mapping[str, Contender]
) -> pd.DataFrame:
    """A row per contender and round."""
    return pd.DataFrame(
        [
            {
                "method": by[label].method,
                "label": label,
                "models": by[label].models,
                "round": number,
                "ms_per_model_iteration": measured.milliseconds,
                "gflops": measured.rate / 1e9 if measured.rate else None,
                "startup_seconds": measured.startup,
                "other_load": measured.other_load,
            }
            for number, measurements in enumerate(rounds, 1)
            for label, measured in measurements.items()
        ]
    )  # fmt: skip


def summarise(frame: pd.DataFrame, losses: Losses | None) -> pd.DataFrame:
    """A row per contender, in the order of the rounds: median, range, and what they mean.

    Of variants of one method, `best` marks the one with the lowest median.
    """
    grouped = frame.groupby("label", sort=False)
    summary = grouped.agg(
        method=("method", "first"),
        models=("models", "first"),
        rounds=("round", "count"),
        ms_median=("ms_per_model_iteration", "median"),
        ms_min=("ms_per_model_iteration", "min"),
        ms_max=("ms_per_model_iteration", "max"),
        gflops_median=("gflops", "median"),
        startup_seconds=("startup_seconds", "median"),
    ).reset_index()
    stacked = summary["method"].eq("ours")
    reference = summary[stacked & summary["models"].eq(REFERENCE_RUNS)]["ms_median"]
    summary["ratio_to_ours"] = (
        summary["ms_median"] / reference.iloc[0] if len(reference) else np.nan
    )
    floor = summary[summary["method"] == FLOOR]["ms_median"].min()
    summary["share_of_sgemm"] = floor / summary["ms_median"]
    fastest = summary.groupby("method")["ms_median"].transform("min")
    all_shown = summary["method"].str.startswith("ours")
    summary["best"] = all_shown | summary["ms_median"].eq(fastest)
    final = losses.final if losses else {}
    summary["final_loss"] = [final.get(label, np.nan) for label in summary["label"]]
    summary["loss_agrees"] = [
        losses.agrees(label) if losses and label in final else None for label in summary["label"]
    ]
    return summary


def print_table(
    summary: pd.DataFrame,
    frame: pd.DataFrame,
    losses: Losses | None,
    missing: Mapping[str, str],
    console: Console,
) -> None:
    """Print the best variant of each method, the slowest first, and remarks about them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method")
    headings = ("ms per model and iteration", "ratio", "of sgemm", "final loss", "start-up")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    shown = summary[summary["best"]].sort_values("ms_median", ascending=False)
    row: Any  # a named tuple that pandas makes
    for row in shown.itertuples():
        off = " off" if row.loss_agrees is False else ""
        table.add_row(
            str(row.label),
            f"{row.ms_median:.2f} [{row.ms_min:.2f}, {row.ms_max:.2f}]",
            _number(row.ratio_to_ours, ".2f"),
            _number(row.share_of_sgemm, ".0%"),
            _number(row.final_loss, ".3f") + off,
            _number(row.startup_seconds, ".0f", " s"),
        )
    console.print(table)
    if losses:
        first = max(1, losses.iteration - LOSS_WINDOW + 1)
        console.print(
            f"Median [range] over rounds. Ratio: to lenet-bench with {REFERENCE_RUNS} runs. Final "
            f"loss: mean over iterations {first} to {losses.iteration}, ReLU at lr 0.01; 'off' is "
            f"more than {losses.tolerance:.3f} nats from the median {losses.middle:.3f}.",
            markup=False,
            soft_wrap=True,
        )
    busy = float(frame["other_load"].median())
    if busy > DISTURBING:
        console.print(
            f"Other processes kept {busy:.1f} cores busy between the measurements: "
            "repeat this on an idle machine.",
            soft_wrap=True,
        )
    for label, reason in missing.items():
        console.print(f"{label}: {reason}", soft_wrap=True, markup=False)


def _number(value: float, form: str, unit: str = "") -> str:
    return "" if pd.isna(value) else f"{value:{form}}{unit}"
