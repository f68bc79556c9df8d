"""Tuned learning rates: who chooses, who reports, and what is flagged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lenet_bench.analysis import load_sweep, summarise
from lenet_bench.analysis.comparisons import QUANTITIES
from lenet_bench.analysis.tuning import (
    choosing_count,
    obstacle,
    reporting_runs,
    tuned_rates,
)
from lenet_bench.records.schema import TUNED_QUANTITIES
from tests.fabricate import descent, write_run

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)


def grid(
    loss: Callable[[str, float, int], float],
    *,
    activations: tuple[str, ...] = ("tanh", "relu"),
    rates: tuple[float, ...] = RATES,
    seeds: int = 8,
) -> pd.DataFrame:
    """A run per activation, rate and seed with this final validation loss; NaN has diverged."""
    rows: list[dict[str, Any]] = []
    for activation in activations:
        for lr in rates:
            for seed in range(seeds):
                value = loss(activation, lr, seed)
                diverged = bool(np.isnan(value))
                rows.append(
                    {
                        **{
                            "run": f"{activation}-{lr}-{seed}",
                            "sweep": "s",
                            "activation": activation,
                        },
                        **{"lr": lr, "seed": seed, "budget": 1000, "iteration": 1000.0},
                        **{"status": "diverged" if diverged else "finished"},
                        **{"seconds": 1.0, "classes": 10, **dict.fromkeys(QUANTITIES, np.nan)},
                        **{"final_validation_loss": value, "mean_train_loss": 2 * value},
                        **{"target_reached": not diverged, "accuracy_reached": True},
                        **{"test_accuracy": 1 - value, "iterations_to_target": 1000 * value},
                    }
                )
    return pd.DataFrame(rows)


def best_at(**best: float) -> Callable[[str, float, int], float]:
    """Losses around the activation's best rate, a parabola of the logarithm, shifted by seed."""
    return lambda name, lr, seed: 0.1 + 0.05 * np.log10(lr / best[name]) ** 2 + 0.001 * seed


@pytest.mark.parametrize(
    ("seeds", "choosing"), [(2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (8, 3), (10, 4), (16, 6)]
)
def test_the_first_seeds_choose_and_at_least_as_many_report(seeds: int, choosing: int) -> None:
    assert choosing_count(seeds) == choosing
    assert choosing <= seeds - choosing
    assert seeds - choosing >= min(3, seeds - 1)


def test_each_activation_gets_its_own_rate_and_all_a_shared_one() -> None:
    losses = best_at(tanh=0.01, relu=0.001, sigmoid=0.1)
    frame = grid(losses, activations=("sigmoid", "tanh", "relu"))
    found = tuned_rates(frame).set_index("activation")
    assert found["tuned_lr"].to_dict() == {"sigmoid": 0.1, "tanh": 0.01, "relu": 0.001}
    assert found["on_edge"].to_dict() == {"sigmoid": "highest", "tanh": "none", "relu": "lowest"}
    # Ranks from 0: 0.01 is 2nd of 5 for sigmoid (0.03 is nearer), 1st for tanh, 3rd for relu.
    assert found["shared_lr"].eq(0.01).all()
    assert found["rates"].eq("0.001, 0.003, 0.01, 0.03, 0.1").all()
    assert found["choosing_seeds"].eq("0, 1, 2").all()
    assert found["reporting_seeds"].eq("3, 4, 5, 6, 7").all()


def test_the_numbers_are_those_of_the_reporting_seeds_alone() -> None:
    losses = best_at(tanh=0.01, relu=0.03)
    found = tuned_rates(grid(losses)).set_index("activation")
    for setting, lr in (("tuned", 0.03), ("shared", 0.01)):
        values = [losses("relu", lr, seed) for seed in range(3, 8)]
        low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
        for name, expected in (
            ("validation_loss", (np.mean(values), low, high)),
            ("mean_train_loss", (2 * np.mean(values), 2 * low, 2 * high)),
            ("test_accuracy", (1 - np.mean(values), 1 - high, 1 - low)),
        ):
            columns = [f"{name}_{setting}_{part}" for part in ("mean", "low", "high")]
            np.testing.assert_allclose(found.loc["relu", columns].astype(float), expected)
    assert {f"{name}_tuned_mean" for name in TUNED_QUANTITIES} <= set(found.columns)


def test_a_lucky_run_chooses_but_does_not_report() -> None:
    """At 0.1 the choosing seeds are lucky; the others tell how bad the rate really is."""

    def loss(name: str, lr: float, seed: int) -> float:
        return (0.01 if seed < 3 else 0.9) if lr == 0.1 else 0.2

    row = tuned_rates(grid(loss)).iloc[0]
    assert row["tuned_lr"] == 0.1
    assert row["validation_loss_tuned_mean"] == pytest.approx(0.9)


def test_choosing_on_noise_promises_nothing_that_reporting_does_not_keep() -> None:
    """All rates are equal: the reported mean is unbiased, the chosen one's own would not be."""
    generator = np.random.default_rng(0)
    reported, own = [], []
    for _ in range(60):
        noise = {(lr, seed): generator.normal(1.0, 0.1) for lr in RATES for seed in range(8)}
        frame = grid(lambda _, lr, seed: noise[lr, seed], activations=("relu",))  # noqa: B023
        row = tuned_rates(frame).iloc[0]
        reported.append(float(row["validation_loss_tuned_mean"]))
        own.append(min(np.mean([noise[lr, seed] for seed in range(3)]) for lr in RATES))
    error = 0.1 / np.sqrt(5 * len(reported))
    assert np.mean(reported) == pytest.approx(1.0, abs=3 * error)
    assert np.mean(own) < 1 - 5 * error


def test_a_rate_that_diverges_is_worse_than_any_that_does_not() -> None:
    def loss(name: str, lr: float, seed: int) -> float:
        if name == "relu" and (lr > 0.01 or (lr == 0.01 and seed in (1, 4))):
            return np.nan
        return 1.0 - lr

    frame = grid(loss)
    found = tuned_rates(frame).set_index("activation")
    assert found.loc["relu", "tuned_lr"] == 0.003, "at 0.01 a choosing seed diverged"
    assert found.loc["tanh", "tuned_lr"] == 0.1
    everywhere = tuned_rates(grid(lambda name, lr, seed: np.nan if name == "relu" else 1 - lr))
    relu = everywhere.set_index("activation").loc["relu"]
    assert (relu["tuned_lr"], relu["on_edge"]) == (0.001, "lowest")
    assert (relu["never_tuned"], relu["diverged_tuned"]) == (5, 5)
    assert relu["test_accuracy_tuned_mean"] == pytest.approx(0.1)
    assert relu["iterations_to_target_tuned_mean"] == 1000, "the budget, a lower bound"
    assert relu["mean_train_loss_tuned_mean"] == pytest.approx(np.log(10))
    assert relu["validation_loss_tuned_mean"] == pytest.approx(np.log(10))


def test_panels_and_parameters_are_tuned_apart() -> None:
    parts = []
    for init, slope, best in (
        *(("u", 0.1, 0.01), ("u", 0.3, 0.03)),
        *(("n", 0.1, 0.003), ("n", 0.3, 0.003)),
    ):
        part = grid(best_at(leaky_relu=best), activations=("leaky_relu",), seeds=4)
        part["init"], part["activation.negative_slope"] = init, slope
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    found = tuned_rates(frame)
    assert list(found.columns[:3]) == ["init", "activation", "activation.negative_slope"]
    assert found["tuned_lr"].tolist() == [0.01, 0.03, 0.003, 0.003]
    assert found["shared_lr"].tolist() == [0.01, 0.01, 0.003, 0.003]


def test_the_shared_rate_is_one_that_all_have_tried() -> None:
    losses = best_at(tanh=0.1, relu=0.1)
    frame = grid(losses)
    frame = frame[(frame["activation"] == "tanh") | (frame["lr"] < 0.1)]
    found = tuned_rates(frame).set_index("activation")
    assert found["tuned_lr"].to_dict() == {"tanh": 0.1, "relu": 0.03}
    assert found["shared_lr"].eq(0.03).all()
    assert found.loc["relu", "on_edge"] == "highest"


def test_reporting_runs_pair_by_seed_in_both_settings() -> None:
    frame = grid(best_at(tanh=0.01, relu=0.03))
    found = reporting_runs(frame)
    seeds = found.groupby(["activation", "setting"])["seed"].unique().map(sorted)
    assert seeds.tolist() == 4 * [[3, 4, 5, 6, 7]]
    assert len(found) == 4 * 5
    rates = found.groupby(["activation", "setting"])["lr"].unique().map(list)
    assert rates["tanh", "shared"] == rates["tanh", "tuned"] == [0.01]
    assert (rates["relu", "shared"], rates["relu", "tuned"]) == ([0.01], [0.03])
    assert set(frame.columns) | {"setting"} == set(found.columns)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (grid(best_at(tanh=0.01, relu=0.01), seeds=1), "one seed would both choose"),
        (grid(best_at(tanh=0.01, relu=0.01), rates=(0.01,)), ""),
        (
            grid(best_at(tanh=0.01, relu=0.01)).assign(final_validation_loss=np.nan),
            "no validation loss was recorded",
        ),
        (grid(best_at(tanh=0.01, relu=0.01), seeds=2), None),
    ],
)
def test_what_cannot_be_tuned_honestly_is_not(frame: pd.DataFrame, words: str | None) -> None:
    assert tuned_rates(frame).empty == reporting_runs(frame).empty == (words is not None)
    assert (words or "") in obstacle(frame)
    assert bool(obstacle(frame)) == bool(words)


def test_run_directories_are_tuned_as_summarised(tmp_path: Path) -> None:
    for lr, rate in ((0.001, 90.0), (0.01, 10.0), (0.1, 40.0)):
        for seed in range(4):
            losses = descent(100, seed, rate=rate)
            write_run(tmp_path / "s", f"{lr}-{seed}", losses, lr=lr, seed=seed)
    summary = summarise(load_sweep(tmp_path / "s"))
    # The fabricated validation losses are all alike; equal rates leave the choice to the lowest.
    (row,) = tuned_rates(summary).to_dict("records")
    assert (row["tuned_lr"], row["on_edge"], row["shared_lr"]) == (0.001, "lowest", 0.001)
