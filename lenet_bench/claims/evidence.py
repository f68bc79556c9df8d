"""What the runs of a preset say, ready to be compared: a sweep in, frames and values per seed out.

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
class Quantity:
    """A column of `Evidence.runs` and the distances that matter in it.

    Attributes:
        words: With its unit.
        negligible: A difference that nobody would call one; None: every difference is.
        close: A difference up to which two settings are alike, and from which one is *clearly*
            better.
        of_chance: Both are shares of the loss of chance, ln(classes).
        ratio: Logarithms are compared, and shown as ratios.
        more_is_better: Else less is.
    """

    words: str
    negligible: float | None = None
    close: float | None = None
    of_chance: bool = False
    ratio: bool = False
    more_is_better: bool = False

    def margin_in_words(self, share: float | None) -> str:
        """`1 % of chance (0.01 ln classes)`."""
        if share is None:
            return "none"
        if self.ratio:
            return f"a factor of {math.exp(share):.3g}"
        return f"{100 * share:g} % of the loss of chance" if self.of_chance else f"{share:g}"


QUANTITIES = {
    "mean_train_loss": Quantity("mean training loss (nats)", 0.01, 0.05, of_chance=True),
    "final_validation_loss": Quantity("final validation loss (nats)", 0.01, 0.05, of_chance=True),
    "test_accuracy": Quantity("test accuracy", 0.005, 0.02, more_is_better=True),
    "gap": Quantity("test loss - training loss (nats)", 0.01, 0.05, of_chance=True),
    "dead_fraction": Quantity("final dead fraction", 0.01, 0.1),
    "dormant_fraction": Quantity("final dormant fraction", 0.01, 0.1),
    "iterations_to_target": Quantity("iterations to target, ratio", ratio=True),
    "gradient_ratio": Quantity(
        "gradient norm of fc2 over that of the last hidden layer, untrained", ratio=True
    ),
    "gradient_ratio_per_layer": Quantity(
        "ratio of gradient norms per layer towards the input, untrained", ratio=True
    ),
}
"""What claims compare."""

ITERATIONS = "iterations_to_target"
FRACTIONS = names(schema.FRACTIONS)
SEEN = names(schema.SEEN)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The runs that a claim is judged by, or measurements in their place.

    `summary` is `lenet_bench.analysis.summary.summarise`'s frame, `runs` a row per run:
    `run`, its configuration, `status`, the columns of `QUANTITIES`, `FRACTIONS` and
    `SEEN`, and `never`: the target was not reached, and the budget stands in its place.
    `layers` holds a row per run, probe and layer. `rounds` are measured costs of activations,
    as `lenet_bench.training.activation_cost.measure` gives them.
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

        `selection` is the activation followed by `key=value`s: `relu lr=0.5 init.gain=1`; a key
        without a value is `null`.

        Raises:
            LackingError: There is none, or more than one of a seed.
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
        """One value per seed as it is compared, NaN where the run has none.

        Raises:
            LackingError: See `select`.
        """
        return compared(self.select(selection), quantity)

    def tuned(self) -> Evidence:
        """The reporting seeds at the shared and at each activation's own best learning rate.

        `runs` gains the column `setting`, shared or tuned.

        Raises:
            LackingError: No learning rate can be chosen on some seeds and reported on others.
        """
        reporting = reporting_runs(self.summary)
        if reporting.empty:
            raise LackingError(untuned(self.summary))
        runs = reporting[["run", "setting"]].merge(self.runs, on="run", how="left")
        return Evidence(self.summary, runs, self.layers)

    def edges(self) -> dict[str, str]:
        """`highest` or `lowest` of each activation whose best rate is an end of the grid."""
        chosen = tuned_rates(self.summary)
        chosen = chosen[chosen["on_edge"] != "none"]
        return dict(zip(chosen["activation"], chosen["on_edge"], strict=True))


def collect(sweep: Sweep, summary: pd.DataFrame | None = None) -> Evidence:
    """Read what a preset's sweep holds; `summary` is what `summarise` made of it, if it did."""
    if summary is None:
        summary = summarise(sweep)
    runs = summary.merge(of_layers(sweep.layers), on="run", how="left")
    runs["gap"] = (runs["test_loss"] - runs["evaluated_train_loss"]).mask(diverged(runs))
    runs["never"] = never_reached(runs, ITERATIONS)
    counted = {name: count(runs, name) for name in (*LOSSES, *ACCURACIES, ITERATIONS)}
    runs = runs.assign(**{name: counted[name] for name in QUANTITIES if name in counted})
    runs.loc[~has_value(runs), list(QUANTITIES)] = np.nan
    return Evidence(summary, runs, sweep.layers)


def compared(runs: pd.DataFrame, quantity: str) -> pd.Series[float]:
    """A column of `Evidence.runs` as it is compared: of ratios the logarithms."""
    values: pd.Series[float] = runs[quantity].astype("float64")
    if not QUANTITIES[quantity].ratio:
        return values
    with np.errstate(divide="ignore"):
        return pd.Series(np.log(values.to_numpy()), index=values.index)


def as_table(parts: Sequence[Evidence]) -> pd.DataFrame:
    """`evidence.csv`: the runs that claims are decided on, with what the numbers come from.

    Columns: `run, activation`, what else varies, `seed, status`, then `never` and what was
    recorded of `QUANTITIES`, `FRACTIONS` and `SEEN`. None depends on where, when
    or how fast the runs were trained.
    """
    runs = pd.concat([part.runs for part in parts], ignore_index=True)
    varying = [key for key in varying_keys(_configuration(runs)) if key != "activation"]
    first, *others = names(schema.EVIDENCE)[1:]
    always = others[: others.index("never") + 1]
    recorded = [name for name in others if name in always or runs[name].notna().any()]
    return runs[["run", first, *varying, *recorded]]


def untuned(summary: pd.DataFrame) -> str:
    """Why no learning rate was tuned."""
    return obstacle(summary) or "learning rates are not tuned: the runs have only one"


def of_layers(layers: pd.DataFrame) -> pd.DataFrame:
    """Per run: final fractions over all hidden units, what probes saw, how gradients shrink.

    Columns: `run`, `FRACTIONS`, `SEEN` and the two ratios of `QUANTITIES`.
    """
    hidden = layers[layers["layer"] != LOGITS]
    columns = [final_fractions(layers), _seen(hidden), _gradient_ratios(hidden)]
    return pd.concat(columns, axis=1).rename_axis("run").reset_index()


def deaths(hidden: pd.DataFrame) -> pd.Series[float]:
    """Units of a layer that died by a probe; at the first one, those that were born dead."""
    born = (hidden["dead_fraction"] * hidden["units"]).where(hidden["iteration"] == 0, 0.0)
    return hidden["died"] + born.round()


def _seen(hidden: pd.DataFrame) -> pd.DataFrame:
    """Per run, the columns of `SEEN`."""
    by_run = hidden.assign(deaths=deaths(hidden)).groupby(hidden["run"].astype(str))
    sums = by_run[["deaths", "revived"]].sum(min_count=1)
    largest = by_run[["dead_fraction", "gradient_norm"]].max()
    return pd.concat([sums, largest.add_prefix("largest_")], axis=1)


def _gradient_ratios(hidden: pd.DataFrame) -> pd.DataFrame:
    """Per run, of the untrained network: how gradients change from the last hidden layer to fc2.

    From fc2 on the layers of `model.hidden=[84,84,...]` have one shape, so that norms compare.
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
    if value == "null":
        return column.isna()
    try:
        number = float(value)
    except ValueError:
        return column.astype(str).str.replace(" ", "") == value
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    return pd.Series(np.isclose(numbers, number, rtol=1e-9, atol=0), index=column.index)


def _configuration(runs: pd.DataFrame) -> pd.DataFrame:
    """Only what tells runs apart, for `varying_keys`: summaries hold it before the status."""
    return runs.loc[:, :"status"].drop(columns=["run", "sweep", "status"], errors="ignore")
