"""The evidence for claims: the sweep of a preset in, a row per run and values per seed out.

What a run counts as that diverged, never reached the target or did not end is the rule of
`lenet_bench.analysis.outcomes`. What any probe has seen (deaths, revivals, extremes) is of all
probes, that of the untrained network included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.analysis.outcomes import (
    ACCURACIES,
    LOSSES,
    count,
    diverged,
    final_fractions,
    has_value,
    never_reached,
)
from lenet_bench.analysis.summary import summarise
from lenet_bench.analysis.tuning import obstacle, reporting_runs, tuned_rates
from lenet_bench.claims.rules import LackingError
from lenet_bench.common.layers import LOGITS
from lenet_bench.records import schema
from lenet_bench.records.loading import Sweep, varying_keys
from lenet_bench.records.schema import names


@dataclass(frozen=True)
class ClaimQuantity:
    """A column of `Evidence.runs`, and which differences in it matter.

    Attributes:
        words: What it is called, with its unit.
        negligible: A difference that is too small to count; None if every difference counts.
        close: The largest difference of two settings that are alike. One that is *clearly* better
            differs by more.
        of_chance: Whether both are shares of the loss of chance, ln(classes).
        ratio: Whether logarithms are compared, which are shown as ratios.
        more_is_better: Whether more is better than less.
    """

    words: str
    negligible: float | None = None
    close: float | None = None
    of_chance: bool = False
    ratio: bool = False
    more_is_better: bool = False

    def margin_in_words(self, share: float | None) -> str:
        """A margin as rules show it: `1 % of the loss of chance`, `a factor of 1.02`, `0.005`."""
        if share is None:
            return "none"
        if self.ratio:
            return f"a factor of {math.exp(share):.3g}"
        return f"{100 * share:g} % of the loss of chance" if self.of_chance else f"{share:g}"


QUANTITIES = {
    "mean_train_loss": ClaimQuantity("mean training loss (nats)", 0.01, 0.05, of_chance=True),
    "final_validation_loss": ClaimQuantity(
        "final validation loss (nats)", 0.01, 0.05, of_chance=True
    ),
    "test_accuracy": ClaimQuantity("test accuracy", 0.005, 0.02, more_is_better=True),
    "gap": ClaimQuantity("test loss - training loss (nats)", 0.01, 0.05, of_chance=True),
    "dead_fraction": ClaimQuantity("final dead fraction", 0.01, 0.1),
    "dormant_fraction": ClaimQuantity("final dormant fraction", 0.01, 0.1),
    "iterations_to_target": ClaimQuantity("iterations to target, ratio", ratio=True),
    "gradient_ratio": ClaimQuantity(
        "gradient norm of fc2 over that of the last hidden layer, untrained", ratio=True
    ),
    "gradient_ratio_per_layer": ClaimQuantity(
        "ratio of gradient norms per layer towards the input, untrained", ratio=True
    ),
}
"""What claims compare, by column."""

ITERATIONS = "iterations_to_target"
FRACTIONS = names(schema.FRACTIONS)
SEEN = names(schema.SEEN)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The runs that a claim is judged by, or measured costs of activations in their place.

    Attributes:
        summary: The frame of `lenet_bench.analysis.summary.summarise`.
        runs: A row per run: `run`, its configuration, `status`, the columns of `QUANTITIES`,
            `FRACTIONS` and `SEEN`, and `never`, which says that the target was never reached.
        layers: A row per run, probe and layer.
        rounds: The frame of `lenet_bench.training.activation_cost.measure`.
    """

    summary: pd.DataFrame = field(default_factory=pd.DataFrame)
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    rounds: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def chance_loss(self) -> float:
        """ln(classes), in nats; NaN when no run recorded the number of classes."""
        return float(np.log(self.runs["classes"].max()))

    def select(self, selection: str) -> pd.DataFrame:
        """The runs of an activation and a configuration, indexed by seed.

        Args:
            selection: The activation followed by settings, as in `relu lr=0.5 init.gain=1`. The
                value of a key that is not set is `null`.

        Raises:
            LackingError: There is no such run, or several of one seed.
        """
        name, *conditions = selection.split()
        chosen = self.runs[self.runs["activation"] == name]
        for condition in conditions:
            key, _, value = condition.partition("=")
            chosen = chosen[_holds(chosen[key], value)] if key in chosen else chosen.iloc[:0]
        if chosen.empty:
            raise LackingError(f"there is no run of {selection}")
        if chosen["seed"].duplicated().any():
            keys = ", ".join(varying_keys(_configuration(chosen))) or "nothing that is recorded"
            raise LackingError(
                f"several runs of {selection} have the same seed; they differ in {keys}"
            )
        return chosen.set_index("seed").sort_index()

    def values(self, selection: str, quantity: str) -> pd.Series[float]:
        """The values that are compared, by seed; NaN where a run has none.

        Raises:
            LackingError: See `select`.
        """
        return compared(self.select(selection), quantity)

    def tuned(self) -> Evidence:
        """The evidence at the shared and at each activation's own best learning rate.

        Its `runs` are those of the seeds that report, with a column `setting`, shared or tuned.

        Raises:
            LackingError: There are no rates to choose from, or no seeds left to report.
        """
        reporting = reporting_runs(self.summary)
        if reporting.empty:
            raise LackingError(untuned(self.summary))
        runs = reporting[["run", "setting"]].merge(self.runs, on="run", how="left")
        return Evidence(self.summary, runs, self.layers)

    def edges(self) -> dict[str, str]:
        """By activation whose best rate is on an edge of the grid: `highest` or `lowest`."""
        rates = tuned_rates(self.summary)
        on_edge = rates[rates["on_edge"] != "none"]
        return dict(zip(on_edge["activation"], on_edge["on_edge"], strict=True))


def collect(sweep: Sweep, summary: pd.DataFrame | None = None) -> Evidence:
    """Gather the evidence that a preset's sweep holds.

    Args:
        sweep: The runs of the preset.
        summary: The frame that `summarise` made of the sweep, if there is one already.
    """
    if summary is None:
        summary = summarise(sweep)
    runs = summary.merge(probe_results(sweep.layers), on="run", how="left")
    runs["gap"] = (runs["test_loss"] - runs["evaluated_train_loss"]).mask(diverged(runs))
    runs["never"] = never_reached(runs, ITERATIONS)
    counted = {name: count(runs, name) for name in (*LOSSES, *ACCURACIES, ITERATIONS)}
    runs = runs.assign(**{name: counted[name] for name in QUANTITIES if name in counted})
    runs.loc[~has_value(runs), list(QUANTITIES)] = np.nan
    return Evidence(summary, runs, sweep.layers)


def compared(runs: pd.DataFrame, quantity: str) -> pd.Series[float]:
    """The values of a quantity that are compared: logarithms where ratios matter."""
    values: pd.Series[float] = runs[quantity].astype("float64")
    if not QUANTITIES[quantity].ratio:
        return values
    with np.errstate(divide="ignore"):
        return pd.Series(np.log(values.to_numpy()), index=values.index)


def as_table(parts: Sequence[Evidence]) -> pd.DataFrame:
    """`evidence.csv`: a row per run that claims are decided on.

    Columns: `run`, `activation` and the other keys that vary, then those of
    `lenet_bench.records.schema.EVIDENCE` of which anything was recorded. None of them depends on
    where, when or how fast the runs were trained.
    """
    runs = pd.concat([part.runs for part in parts], ignore_index=True)
    varying = [key for key in varying_keys(_configuration(runs)) if key != "activation"]
    first, *others = names(schema.EVIDENCE)[1:]
    always = others[: others.index("never") + 1]
    recorded = [name for name in others if name in always or runs[name].notna().any()]
    return runs[["run", first, *varying, *recorded]]


def untuned(summary: pd.DataFrame) -> str:
    """Say why no learning rate was tuned."""
    return obstacle(summary) or "learning rates are not tuned: the runs have only one"


def probe_results(layers: pd.DataFrame) -> pd.DataFrame:
    """What the probes of each run say: `FRACTIONS`, `SEEN` and the ratios of gradient norms."""
    hidden = layers[layers["layer"] != LOGITS]
    columns = [final_fractions(layers), _seen(hidden), _gradient_ratios(hidden)]
    return pd.concat(columns, axis=1).rename_axis("run").reset_index()


def deaths(hidden: pd.DataFrame) -> pd.Series[float]:
    """By row of a hidden layer: the units that died since the probe before, or were born dead."""
    born = (hidden["dead_fraction"] * hidden["units"]).where(hidden["iteration"] == 0, 0.0)
    return hidden["died"] + born.round()


def _seen(hidden: pd.DataFrame) -> pd.DataFrame:
    """By run, the columns of `SEEN`."""
    by_run = hidden.assign(deaths=deaths(hidden)).groupby(hidden["run"].astype(str))
    sums = by_run[["deaths", "revived"]].sum(min_count=1)
    largest = by_run[["dead_fraction", "gradient_norm"]].max()
    return pd.concat([sums, largest.add_prefix("largest_")], axis=1)


def _gradient_ratios(hidden: pd.DataFrame) -> pd.DataFrame:
    """By run, how gradients change from the last hidden layer back to fc2 in the untrained network.

    With `model.hidden=[84,84,...]` all layers from fc2 on have the same shape, so that the norms of
    their gradients can be compared.
    """
    first = hidden[(hidden["iteration"] == 0) & hidden["layer"].astype(str).str.startswith("fc")]
    first = first.assign(
        run=first["run"].astype(str),
        depth=first["layer"].astype(str).str.removeprefix("fc").astype("int64"),
    ).sort_values("depth")
    by_run = first.groupby("run")
    depths, last = by_run["depth"].max(), by_run["gradient_norm"].last()
    second = first[first["depth"] == 2].set_index("run")["gradient_norm"].reindex(last.index)
    ratio = second / last
    steps = (depths - 2).where(depths > 2)
    per_layer = (ratio ** (1 / steps)).where(depths > 2)
    return pd.DataFrame({"gradient_ratio": ratio, "gradient_ratio_per_layer": per_layer})


def _holds(column: pd.Series[Any], value: str) -> pd.Series[bool]:
    """By run: whether a key has this value, as it is written in a selection."""
    if value == "null":
        return column.isna()
    try:
        number = float(value)
    except ValueError:
        return column.astype(str).str.replace(" ", "") == value
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    return pd.Series(np.isclose(numbers, number, rtol=1e-9, atol=0), index=column.index)


def _configuration(runs: pd.DataFrame) -> pd.DataFrame:
    """The columns of the configuration, which stand before `status` in a summary."""
    return runs.loc[:, :"status"].drop(columns=["run", "sweep", "status"], errors="ignore")
