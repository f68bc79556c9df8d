"""The one rule for runs that diverged, never arrived or did not end, on tables made by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lenet_bench.analysis.comparisons import QUANTITIES
from lenet_bench.analysis.outcomes import (
    ACCURACIES,
    LOSSES,
    REACHED,
    count,
    final_fractions,
    has_value,
    losses_to_choose_by,
    never_reached,
)
from lenet_bench.claims.evidence import QUANTITIES as OF_CLAIMS
from lenet_bench.records.schema import TUNED_QUANTITIES
from tests.fabricate import logits, probed

STATUSES = ("finished", "diverged", "failed", "interrupted", "running", "unknown")


def summary(**changes: object) -> pd.DataFrame:
    """A run of each status; every number is known, and every target reached."""
    n = len(STATUSES)
    columns: dict[str, object] = {
        "status": STATUSES,
        "classes": 7,
        "budget": 400,
        "iteration": 200.0,
        "seconds": 3.0,
        **dict.fromkeys(LOSSES, 0.25),
        **dict.fromkeys(ACCURACIES, 0.75),
        **dict.fromkeys(REACHED, 120.0),
        **dict.fromkeys(REACHED.values(), pd.array([True] * n, dtype="boolean")),
    }
    return pd.DataFrame(columns | changes, index=list(STATUSES))


@pytest.mark.parametrize(
    ("quantities", "finished", "diverged"),
    [
        (LOSSES, 0.25, math.log(7)),
        (ACCURACIES, 0.75, 1 / 7),
        (("iterations_to_target", "iterations_to_accuracy"), 120, 400),
        (("seconds_to_target", "seconds_to_accuracy"), 120, 400 * 3 / 200),
    ],
)
def test_finished_counts_as_recorded_diverged_as_chance_and_others_not_at_all(
    quantities: tuple[str, ...], finished: float, diverged: float
) -> None:
    frame = summary()
    for quantity in quantities:
        values = count(frame, quantity)
        assert values["finished"] == finished
        assert values["diverged"] == pytest.approx(diverged)
        assert values[list(STATUSES[2:])].isna().all()
        never = never_reached(frame, quantity)
        assert never[never].index.to_list() == (["diverged"] if quantity in REACHED else [])
    assert has_value(frame).to_list() == [True, True, False, False, False, False]


def test_a_target_is_never_reached_only_if_the_record_says_so() -> None:
    for reached, value, never in ((False, 400, True), (True, 120, False), (None, np.nan, False)):
        known = pd.array([reached] * len(STATUSES), dtype="boolean")
        frame = summary(target_reached=known, iterations_to_target=120.0)
        found = count(frame, "iterations_to_target")["finished"]
        assert found == value or (math.isnan(found) and math.isnan(value))
        assert never_reached(frame, "iterations_to_target")["finished"] == never


def test_without_the_number_of_classes_there_is_no_chance() -> None:
    frame = summary(classes=np.nan)
    assert math.isnan(count(frame, "mean_train_loss")["diverged"])
    assert count(frame, "mean_train_loss")["finished"] == 0.25


def test_a_rate_that_diverges_is_chosen_last() -> None:
    losses = losses_to_choose_by(summary(final_validation_loss=50.0))
    assert losses["finished"] == 50.0 < losses["diverged"] == math.inf
    assert losses[list(STATUSES[2:])].isna().all()


def test_every_quantity_that_is_compared_has_a_rule() -> None:
    covered = {*LOSSES, *ACCURACIES, *REACHED}
    assert set(QUANTITIES) <= covered
    assert set(TUNED_QUANTITIES) - {"validation_loss"} <= covered
    of_layers = {"gap", "dead_fraction", "dormant_fraction"}
    ratios = {"gradient_ratio", "gradient_ratio_per_layer"}
    assert set(OF_CLAIMS) <= covered | of_layers | ratios


def test_final_fractions_are_of_all_hidden_units_at_the_last_probe_in_training() -> None:
    rows = [
        probed(0, "conv1", units=6, dead_fraction=1.0, zero_fraction=1.0),
        probed(0, "fc1", units=30, dead_fraction=1.0, zero_fraction=1.0),
        probed(50, "conv1", units=6, dead_fraction=0.5, dormant_fraction=1.0, zero_fraction=0.2),
        probed(50, "fc1", units=30, dead_fraction=0.1, dormant_fraction=0.0, zero_fraction=0.6),
        logits(50, weight_norm=1.0, gradient_norm=1.0),
    ]
    born_dead = [probed(0, "fc1", units=30, dead_fraction=1.0)]
    layers = pd.concat(
        [
            pd.DataFrame(rows).assign(run="probed"),
            pd.DataFrame(born_dead).assign(run="diverged before a probe"),
        ]
    )
    found = final_fractions(layers)
    assert found.index.to_list() == ["probed"]
    assert found.loc["probed"].to_dict() == pytest.approx(
        {
            "dead_fraction": (3 + 3) / 36,
            "dormant_fraction": 6 / 36,
            "zero_fraction": (6 * 0.2 + 30 * 0.6) / 36,
        }
    )
