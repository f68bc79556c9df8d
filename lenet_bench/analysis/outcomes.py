"""What a run counts as when it diverged, never reached a target, or did not end. The one rule.

In: the frame of `summarise`, or the rows of `layers.csv`. Out: values that can be compared.
Verdicts, tuned rates, claims and figures all count runs in this way:

- A run that *diverged* has learned nothing. Its losses count as the loss of chance, ln(classes),
  its accuracies as the accuracy of chance, 1 / classes, and it never reached any target. Leaving it
  out would compare the survivors, and the setting that diverges would look better. Compared with a
  run that ended worse than chance, it counts as equal: diverging is never the better result.
- A run that *never reached* a target counts as having needed its whole budget. This is a lower
  bound: two such runs count as equal.
- A run that *failed* or *did not end* has no value, not even for a target that it reached before:
  others of its setting may have stopped before they reached theirs.
- A difference of two losses of one run (the gap between test and training) has no value where the
  run diverged: chance minus chance would be the best gap of all.
- A unit that has *exploded* (its values are not finite) counts as not dead. The probes count so.
  Fractions at the end of a run are those of its last probe in training. A run that diverged before
  that probe has none: what the untrained network had tells nothing of its end.
- Where a learning rate is chosen, a rate at which runs diverged comes after every other one.

Tables of averages are not judged by this rule. They average the runs that have a value and say how
many these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

from lenet_bench.common.layers import LOGITS
from lenet_bench.records import schema

LOSSES = ("mean_train_loss", "final_train_loss", "final_validation_loss")
ACCURACIES = ("test_accuracy",)

REACHED: Mapping[str, str] = MappingProxyType(
    {
        "iterations_to_target": "target_reached",
        "seconds_to_target": "target_reached",
        "iterations_to_accuracy": "accuracy_reached",
        "seconds_to_accuracy": "accuracy_reached",
    }
)
"""What is counted until a target, and the column that says whether a run reached it."""


def count(summary: pd.DataFrame, quantity: str) -> pd.Series[float]:
    """What each run counts as; NaN where it has no value.

    Args:
        summary: A row per run, as `summarise` makes it.
        quantity: A column of `LOSSES`, `ACCURACIES` or `REACHED`.
    """
    finished = summary["status"] == "finished"
    values = summary[quantity].astype("float64")
    if quantity in REACHED:
        reached = summary[REACHED[quantity]].astype("boolean").eq(True).fillna(False).astype(bool)
        return values.where(finished & reached).mask(
            never_reached(summary, quantity), _whole_budget(summary, quantity)
        )
    classes = summary["classes"].astype("float64")
    chance = 1 / classes if quantity in ACCURACIES else classes.map(np.log)
    return values.where(finished).mask(diverged(summary), chance)


def never_reached(summary: pd.DataFrame, quantity: str) -> pd.Series[bool]:
    """Whether a run ended without reaching the target; False where there is no target."""
    if quantity not in REACHED:
        return pd.Series(False, index=summary.index)
    missed = summary[REACHED[quantity]].astype("boolean").eq(False).fillna(False).astype(bool)
    return (missed & (summary["status"] == "finished")) | diverged(summary)


def level_pairs(
    quantity: str,
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    bound_a: npt.NDArray[np.bool_],
    bound_b: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Let no run whose value is only a bound do better than its partner.

    A run that never reached a target was not sooner than its partner, however quickly it spent its
    budget. A run that diverged was not better than a partner that is worse than chance.

    Args:
        quantity: A column of `LOSSES`, `ACCURACIES` or `REACHED`.
        a: Values, paired with those of `b` by position.
        b: Values.
        bound_a: Whether each value of `a` is a bound: its run diverged or never reached the target.
        bound_b: Likewise of `b`.

    Returns:
        `a` and `b`, each bound moved to its partner's value where that is worse.
    """
    worse = np.minimum(a, b) if quantity in ACCURACIES else np.maximum(a, b)
    return np.where(bound_a, worse, a), np.where(bound_b, worse, b)


def diverged(summary: pd.DataFrame) -> pd.Series[bool]:
    """Whether a run diverged."""
    return summary["status"] == "diverged"


def has_value(summary: pd.DataFrame) -> pd.Series[bool]:
    """Whether a run ended, so that it can be compared."""
    return summary["status"].isin(["finished", "diverged"])


def losses_to_choose_by(summary: pd.DataFrame) -> pd.Series[float]:
    """What a learning rate is chosen by: the final validation loss, infinite if a run diverged.

    Chance would not do: a rate at which a network stays on a plateau above chance is better still.
    """
    return count(summary, "final_validation_loss").mask(diverged(summary), np.inf)


def final_fractions(layers: pd.DataFrame) -> pd.DataFrame:
    """By run: dead, dormant and zero shares of all hidden units at its last probe in training.

    Layers are weighted by their units.
    """
    hidden = layers[layers["layer"] != LOGITS]
    last = hidden.groupby("run", observed=True)["iteration"].transform("max")
    final = hidden[(hidden["iteration"] == last) & (last > 0)]
    runs = final["run"].astype(str)
    fractions = {}
    for name in schema.names(schema.FRACTIONS):
        units = final["units"].where(final[name].notna())
        weighted = (final[name] * units).groupby(runs).sum(min_count=1)
        fractions[name] = weighted / units.groupby(runs).sum(min_count=1)
    return pd.DataFrame(fractions).rename_axis("run")


def _whole_budget(summary: pd.DataFrame, quantity: str) -> pd.Series[float]:
    """The budget in the unit of a quantity; in seconds at the run's own pace."""
    budget = summary["budget"].astype("float64")
    if not quantity.startswith("seconds"):
        return budget
    iterations = summary["iteration"].where(summary["iteration"] > 0)
    return budget * summary["seconds"] / iterations
