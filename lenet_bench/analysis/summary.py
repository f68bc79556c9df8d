"""A sweep as numbers: a row per run, then a row per configuration.

In: a `lenet_bench.records.loading.Sweep`. Out: the frame of `summary.csv`, and averages over seeds.
A group is a configuration without its seed. Intervals are Student's 95 % intervals over the seeds;
one seed has none. Final values are those of runs that finished. A run that diverged is counted as
one that never reached the target. If the record of a run ends before the run did, nobody knows:
the run counts neither as having reached the target nor as never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from lenet_bench.records import schema
from lenet_bench.records.loading import OUTCOMES, Sweep, varying_keys

Floats = npt.NDArray[np.float64]

WINDOW = 25
"""Iterations whose mean loss is compared with the target, because single batches are noisy."""

AVERAGED = ("final_train_loss", "mean_train_loss", "iterations_to_target", "test_accuracy")
"""The columns of the summary that are averaged over seeds."""

SUMMARY = schema.names(schema.SUMMARY)


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds and its 95 % interval (NaN with fewer than two)."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: npt.ArrayLike) -> Interval:
    """Mean and two-sided 95 % Student t interval of the finite `values`."""
    data = np.asarray(values, dtype=np.float64)
    data = data[np.isfinite(data)]
    mean, half = mean_and_half_width(data[:, None])
    return Interval(float(mean[0]), float(mean[0] - half[0]), float(mean[0] + half[0]), len(data))


def mean_and_half_width(values: Floats) -> tuple[Floats, Floats]:
    """Mean over axis 0 (N runs) and half of its 95 % interval, of the values that are finite.

    The half width is t(0.975, n - 1) s / sqrt(n) with the sample deviation s; NaN for n < 2.
    """
    there = np.isfinite(values)
    n = there.sum(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0.0).sum(axis=0) / n
        squares = np.where(there, values - mean, 0.0) ** 2
        deviation = np.sqrt(squares.sum(axis=0) / (n - 1))
        half = stdtrit(np.maximum(n - 1, 1), 0.975) * deviation / np.sqrt(n)
    return mean, np.where(n > 1, half, np.nan)


def iterations_to_target(iterations: npt.ArrayLike, losses: npt.ArrayLike, target: float) -> float:
    """The first iteration at which the mean of the last `WINDOW` losses is at or below `target`.

    NaN if there is none, as in every run that is shorter than the window.
    """
    values = np.asarray(losses, dtype=np.float64)
    if len(values) < WINDOW:
        return np.nan
    means = np.lib.stride_tricks.sliding_window_view(values, WINDOW).mean(axis=1)
    reached = np.flatnonzero(means <= target)
    return float(np.asarray(iterations)[reached[0] + WINDOW - 1]) if len(reached) else np.nan


def summarise(sweep: Sweep, target_loss: float | None = None) -> pd.DataFrame:
    """Make the frame of `summary.csv`: a row per run with its configuration and results.

    `lenet_bench.records.schema.SUMMARY` says what the columns mean. A run that diverged never
    reached a target, whatever its loss was before. Metrics of evaluations come from
    `evaluation.csv`, or from `status.json` if that file has none.

    Args:
        sweep: The runs.
        target_loss: The target in nats. By default it is the run's own `report.target_loss`, else
            half of the loss of chance, ln(classes) / 2.
    """
    runs = sweep.runs
    frame = runs.drop(columns=[c for c in OUTCOMES if c not in ("run", "sweep", *SUMMARY)])
    frame["target_loss"] = _targets(runs, target_loss)
    train = pd.DataFrame(
        [
            _describe_losses(losses, target)
            for losses, target in zip(_losses(sweep), frame["target_loss"], strict=True)
        ],
        columns=["iteration", "final_train_loss", "mean_train_loss", "iterations_to_target"],
    )
    frame["iteration"] = train.pop("iteration").fillna(runs["iteration"])
    frame[train.columns] = train
    diverged = runs["status"] == "diverged"
    frame.loc[diverged, "iterations_to_target"] = np.nan
    finished = runs["status"] == "finished"
    reached = frame["iterations_to_target"].notna().astype("boolean")
    known = reached | diverged | (finished & frame["target_loss"].notna())
    frame["target_reached"] = reached.where(known)
    per_iteration = runs["seconds"] / runs["iteration"].where(runs["iteration"] > 0)
    frame["seconds_to_target"] = frame["iterations_to_target"] * per_iteration
    frame["target_accuracy"] = (1 + 1 / runs["classes"]) / 2
    first, last = _evaluations_to_accuracy(sweep, frame["target_accuracy"])
    frame["iterations_to_accuracy"] = first.mask(diverged)
    reached = frame["iterations_to_accuracy"].notna().astype("boolean")
    whole = finished & (last >= runs["iteration"]) & runs["classes"].notna()
    frame["accuracy_reached"] = reached.where(reached | diverged | whole)
    frame["seconds_to_accuracy"] = frame["iterations_to_accuracy"] * per_iteration
    evaluated = _evaluation_metrics(sweep)
    recorded = {
        "evaluated_train_loss": "train_loss",
        "evaluated_train_accuracy": "train_accuracy",
        "final_validation_loss": "validation_loss",
        "final_validation_accuracy": "validation_accuracy",
    }
    for name in SUMMARY[SUMMARY.index("evaluated_train_loss") : SUMMARY.index("trained_on")]:
        metric = recorded.get(name, name)
        frame[name] = evaluated[metric].fillna(runs[metric])
    configuration = [c for c in frame.columns if c not in ("run", "sweep", *SUMMARY)]
    return frame[["run", "sweep", *configuration, *SUMMARY]]


def summarise_groups(summary: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds: a row per configuration without its seed.

    Args:
        summary: The frame of `summarise`.

    Returns:
        Columns: `activation` and the keys that vary; `runs`, `seeds` and how many runs `finished`,
        `diverged`, `failed` or are `unfinished`; for each averaged column its `_mean`, `_low`,
        `_high` and `_n`; how many runs `reached` the target, how many `never` did, and
        `iterations_to_target_median`. The mean of `iterations_to_target` is given only if every
        run reached the target. The median counts runs that never did as infinitely slow (NaN if it
        is one of them) and leaves out runs whose record cannot tell.
    """
    keys = group_keys(summary)
    rows = []
    for values, group in summary.groupby(keys, dropna=False, sort=False):
        status = group["status"]
        finished = group[status == "finished"]
        counts = {name: int((status == name).sum()) for name in ("finished", "diverged", "failed")}
        row: dict[str, Any] = {
            **dict(zip(keys, values, strict=True)),
            "runs": len(group),
            "seeds": group["seed"].nunique() if "seed" in group else len(group),
            **counts,
            "unfinished": len(group) - sum(counts.values()),
            "target_loss": group["target_loss"].iloc[0],
        }
        reached = group["target_reached"].eq(True).fillna(False).astype(bool)
        never = group["target_reached"].eq(False).fillna(False).astype(bool)
        for name in AVERAGED:
            averaged = finished[name]
            if name == "iterations_to_target":
                averaged = group[name] if reached.all() else group[name].iloc[:0]
            row |= {f"{name}_{part}": value for part, value in vars(interval(averaged)).items()}
        row["reached"] = int(reached.sum())
        row["never"] = int(never.sum())
        median = group["iterations_to_target"].fillna(np.inf)[reached | never].median()
        row["iterations_to_target_median"] = median if np.isfinite(median) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def group_keys(runs: pd.DataFrame) -> list[str]:
    """The keys that distinguish groups of runs: the activation and every key that varies."""
    varying = [key for key in varying_keys(runs.drop(columns=_measured(runs))) if key in runs]
    return ["activation", *(key for key in varying if key != "activation")]


def describe_target(summary: pd.DataFrame, given: float | None = None) -> str:
    """Say what the target is: `target loss 1.151 nats (half of chance, ln(10)/2)`.

    Args:
        summary: The frame of `summarise`.
        given: The target that `summarise` was given, if any.
    """
    parts: dict[str, list[str]] = {}
    for _, group in summary.groupby(["target_loss", "classes"], dropna=False):
        target, classes = float(group["target_loss"].iloc[0]), float(group["classes"].iloc[0])
        if np.isnan(target):
            parts.setdefault("unknown (the number of classes is not recorded)", [])
            continue
        half_of_chance = given is None and np.isclose(target, np.log(classes) / 2, rtol=1e-9)
        origin = f" (half of chance, ln({classes:g})/2)" if half_of_chance else ""
        datasets = [str(name) for name in group["dataset"].unique()] if "dataset" in group else []
        parts.setdefault(f"{target:.4g} nats{origin}", []).extend(datasets)
    if len(parts) == 1:
        return f"target loss {next(iter(parts))}"
    return "target loss " + "; ".join(f"{words} on {', '.join(on)}" for words, on in parts.items())


def _measured(frame: pd.DataFrame) -> list[str]:
    return [column for column in SUMMARY if column in frame and column not in OUTCOMES]


def _targets(runs: pd.DataFrame, given: float | None) -> pd.Series[float]:
    if given is not None:
        return pd.Series(float(given), index=runs.index)
    half_of_chance = runs["classes"].astype("float64").map(np.log) / 2
    if "report.target_loss" not in runs:
        return half_of_chance
    return pd.to_numeric(runs["report.target_loss"], errors="coerce").fillna(half_of_chance)


def _losses(sweep: Sweep) -> list[tuple[npt.NDArray[np.int64], Floats]]:
    """The iterations and losses of every run, in the order of `sweep.runs`."""
    train = sweep.train
    rows = train.groupby("run", observed=True, sort=False).indices
    iterations, losses = train["iteration"].to_numpy(), train["loss"].to_numpy()
    none = np.array([], dtype=np.int64)
    return [(iterations[i], losses[i]) for i in (rows.get(r, none) for r in sweep.runs["run"])]


def _describe_losses(
    recorded: tuple[npt.NDArray[np.int64], Floats], target: float
) -> tuple[float, float, float, float]:
    """Last iteration, final loss, mean loss, iterations to the target."""
    iterations, losses = recorded
    if not len(losses):
        return np.nan, np.nan, np.nan, np.nan
    reached = iterations_to_target(iterations, losses, target)
    return float(iterations[-1]), losses[-WINDOW:].mean(), losses.mean(), reached


def _evaluations_to_accuracy(
    sweep: Sweep, targets: pd.Series[float]
) -> tuple[pd.Series[float], pd.Series[float]]:
    """By run: the iteration of the first evaluation at the target accuracy, and of the last one."""
    rows = sweep.evaluation[sweep.evaluation["split"] == "validation"]
    runs = sweep.runs["run"]
    target = rows["run"].map(dict(zip(runs, targets, strict=True))).astype("float64")
    enough = rows["accuracy"] >= target
    first = rows[enough].groupby("run", observed=True)["iteration"].min()
    last = rows.groupby("run", observed=True)["iteration"].max()
    columns = (part.reindex(runs).astype("float64").to_numpy() for part in (first, last))
    first_of, last_of = (pd.Series(column, index=runs.index) for column in columns)
    return first_of, last_of


def _evaluation_metrics(sweep: Sweep) -> pd.DataFrame:
    """Final and best metrics from `evaluation.csv`, a row per run in the order of `sweep.runs`."""
    evaluation = sweep.evaluation
    columns: dict[str, pd.Series[Any]] = {}
    for split in ("train", "validation", "test"):
        rows = evaluation[evaluation["split"] == split]
        last = rows.drop_duplicates("run", keep="last").set_index("run")
        columns |= {f"{split}_loss": last["loss"], f"{split}_accuracy": last["accuracy"]}
        if split == "validation":
            best = rows.sort_values("accuracy", ascending=False, kind="stable")
            best = best.drop_duplicates("run").set_index("run")
            columns["best_validation_accuracy"] = best["accuracy"]
            columns["best_validation_iteration"] = best["iteration"].astype("float64")
    names = sweep.runs["run"]
    table = {name: column.reindex(names).to_numpy() for name, column in columns.items()}
    return pd.DataFrame(table, index=sweep.runs.index)
