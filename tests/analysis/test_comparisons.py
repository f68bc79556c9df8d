"""Verdicts, on hand-made tables of runs: what counts, what is said, and how often it is false."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lenet_bench.analysis import load_sweep, summarise
from lenet_bench.analysis.comparisons import (
    MOST_PAIRS,
    QUANTITIES,
    format_difference,
    is_distinguishable,
    pairwise,
    scope,
)
from lenet_bench.records.schema import COMPARISONS, names
from tests.fabricate import descent, write_run

LOSSES = (0.50, 0.52, 0.49, 0.51, 0.53)


def runs(activation: str, losses: Sequence[float] | np.ndarray, **changes: Any) -> pd.DataFrame:
    """A run per seed, finished, with these mean losses; nothing else is known of them."""
    n = len(losses)
    frame = {
        "run": [f"{activation}-{changes}-{seed}" for seed in range(n)],
        "sweep": "s",
        "activation": activation,
        "lr": 0.01,
        "seed": range(n),
        "status": "finished",
        "iteration": 1000.0,
        "budget": 1000,
        "seconds": 10.0,
        "classes": 10,
        **dict.fromkeys(QUANTITIES, np.nan),
        "target_reached": pd.array([pd.NA] * n, dtype="boolean"),
        "accuracy_reached": pd.array([pd.NA] * n, dtype="boolean"),
        "mean_train_loss": losses,
    }
    return pd.DataFrame(frame | changes)


def joined(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def rows(frame: pd.DataFrame, quantity: str = "mean_train_loss") -> list[dict[str, Any]]:
    chosen = pairwise(frame)
    return [dict(row) for _, row in chosen[chosen["quantity"] == quantity].iterrows()]


def test_a_pair_by_hand() -> None:
    relu = runs("relu", LOSSES).iloc[::-1]  # pairs go by seed, not by position
    tanh = runs("tanh", [loss + add for loss, add in zip(LOSSES, (3, 4, 5, 4, 4), strict=True)])
    (row,) = rows(joined(relu, tanh))
    assert (row["a"], row["b"], row["seeds"]) == ("tanh", "relu", 5), "the zoo's order"
    assert row["difference"] == pytest.approx(4.0)
    assert row["mean_a"] - row["mean_b"] == pytest.approx(row["difference"])
    assert row["low"] < 4 < row["high"]
    expected = stats.ttest_1samp([3, 4, 5, 4, 4], 0.0).pvalue
    assert row["p_value"] == row["p_holm"] == pytest.approx(expected)
    assert row["probability"] == 1.0
    assert row["verdict"].startswith("tanh higher by 4.0")
    assert is_distinguishable(row)


def test_equal_settings_are_called_not_distinguishable() -> None:
    (row,) = rows(joined(runs("relu", LOSSES), runs("tanh", LOSSES[::-1])))
    assert row["verdict"] == "not distinguishable"
    assert not is_distinguishable(row)


def test_fewer_than_3_seeds_get_no_verdict_and_no_correction() -> None:
    few = runs("sigmoid", [9.0, 9.1])
    table = rows(joined(few, runs("tanh", LOSSES), runs("relu", [x + 1 for x in LOSSES])))
    verdicts = {(row["a"], row["b"]): row for row in table}
    assert len(verdicts) == 3
    for pair in (("sigmoid", "tanh"), ("sigmoid", "relu")):
        assert verdicts[pair]["verdict"] == "no verdict: fewer than 3 seeds"
        assert np.isnan(verdicts[pair]["p_holm"])
        assert verdicts[pair]["seeds"] == 2
    assert verdicts["tanh", "relu"]["p_holm"] == verdicts["tanh", "relu"]["p_value"]


def test_holm_goes_over_one_quantity_in_one_panel() -> None:
    generator = np.random.default_rng(0)
    parts = [
        runs(name, generator.normal(1.0, 0.1, 5), lr=lr, final_train_loss=generator.random(5))
        for name in ("sigmoid", "tanh", "relu")
        for lr in (0.01, 0.1)
    ]
    found = pairwise(joined(*parts))
    assert list(found.columns) == ["lr", *names(COMPARISONS)]
    for name in ("mean_train_loss", "final_train_loss"):
        for lr in (0.01, 0.1):
            table = found[(found["lr"] == lr) & (found["quantity"] == name)]
            p = sorted(table["p_value"])
            expected = np.maximum.accumulate([3 * p[0], 2 * p[1], p[2]]).clip(max=1)
            np.testing.assert_allclose(sorted(table["p_holm"]), expected)


def test_a_run_that_diverged_counts_as_chance() -> None:
    """Without it tanh would have the lower loss: the verdict would praise what diverges."""
    relu = runs("relu", LOSSES, test_accuracy=0.9)
    tanh = runs("tanh", [loss - 0.1 for loss in LOSSES], test_accuracy=0.8)
    tanh["status"] = ["finished"] * 3 + ["diverged"] * 2
    tanh.loc[3:, ["mean_train_loss", "test_accuracy"]] = [[9.0, 0.9], [np.nan, np.nan]]
    frame = joined(relu, tanh)
    (loss,), (accuracy,) = rows(frame), rows(frame, "test_accuracy")
    expected = [loss - 0.1 for loss in LOSSES[:3]] + [math.log(10)] * 2
    assert (loss["seeds"], accuracy["seeds"]) == (5, 5)
    assert loss["mean_a"] == pytest.approx(np.mean(expected))
    assert loss["difference"] == pytest.approx(np.mean(np.subtract(expected, LOSSES)))
    assert loss["difference"] > 0
    assert loss["verdict"].endswith("; tanh diverged in 2 of 5")
    assert accuracy["mean_a"] == pytest.approx((3 * 0.8 + 2 * 0.1) / 5)
    everywhere = runs("tanh", [np.nan] * 5, status="diverged")
    (row,) = rows(joined(relu, everywhere))
    assert row["mean_a"] == pytest.approx(math.log(10))
    assert row["verdict"].startswith("tanh higher by 1.7")
    assert row["verdict"].endswith("; tanh diverged in 5 of 5")


def test_diverging_is_never_better_than_ending_worse_than_chance() -> None:
    """As with lr=1000: chance would beat a loss of 9 by 6.7 nats, in every seed."""
    lost = runs("tanh", [9.0, 9.1, 9.2, 8.9, 9.0], test_accuracy=0.05)
    diverged = runs("square", [np.nan] * 5, status="diverged", test_accuracy=np.nan)
    for name in ("mean_train_loss", "test_accuracy"):
        (row,) = rows(joined(lost, diverged), name)
        assert (row["difference"], row["seeds"], row["p_value"]) == (0.0, 5, 1.0)
        assert row["verdict"] == "not distinguishable; square diverged in 5 of 5"
    # Two that diverged are equal, however their partners of other pairs did.
    (row,) = rows(joined(runs("relu", [np.nan] * 5, status="diverged"), diverged))
    assert (row["difference"], row["mean_a"]) == (0.0, pytest.approx(math.log(10)))


def test_never_is_counted_as_the_budget_and_said() -> None:
    reached = pd.array([True] * 5, dtype="boolean")
    relu = runs("relu", LOSSES, iterations_to_target=[30.0, 31, 32, 33, 34], target_reached=reached)
    relu["seconds_to_target"] = relu["iterations_to_target"] / 100
    sigmoid = runs("sigmoid", LOSSES, target_reached=~reached)
    sigmoid["status"] = ["diverged"] + ["finished"] * 4
    sigmoid["iteration"], sigmoid["seconds"] = [100.0] + [1000.0] * 4, [1.0] + [10.0] * 4
    frame = joined(relu, sigmoid)
    (row,) = rows(frame, "iterations_to_target")
    assert (row["a"], row["never_a"], row["never_b"]) == ("sigmoid", 5, 0)
    assert row["difference"] == pytest.approx(1000 - 32)
    assert row["verdict"].startswith("sigmoid later by at least 968.0 iterations [")
    assert row["verdict"].endswith("; sigmoid never in 5 of 5")
    (row,) = rows(frame, "seconds_to_target")
    assert row["difference"] == pytest.approx(10 - 0.32), "the diverged one at its own pace"
    quick = frame.assign(seconds=np.where(frame["activation"] == "sigmoid", 0.1, frame["seconds"]))
    (row,) = rows(quick, "seconds_to_target")
    # Of the four that spent their budgets quickly none was early; the diverged one is 0.7 s later.
    assert row["difference"] == pytest.approx(0.7 / 5)
    both = joined(runs("relu", LOSSES, target_reached=~reached), sigmoid)
    (row,) = rows(both, "iterations_to_target")
    assert row["verdict"] == "not distinguishable; sigmoid never in 5 of 5; relu never in 5 of 5"
    both["seconds"] += np.where(both["activation"] == "relu", 5 + both["seed"], 0)
    (row,) = rows(both, "seconds_to_target")
    assert row["difference"] == 0, "a slower machine, or a costlier activation, is no later arrival"
    assert row["verdict"] == "not distinguishable; sigmoid never in 5 of 5; relu never in 5 of 5"


def test_lines_are_parameters_or_the_values_of_another_key() -> None:
    slopes = [runs("leaky_relu", LOSSES, **{"activation.negative_slope": s}) for s in (0.3, 0.01)]
    (row,) = rows(joined(*slopes))
    assert (row["a"], row["b"]) == (
        *("leaky_relu negative_slope=0.01", "leaky_relu negative_slope=0.3"),
    )
    rates = [runs("relu", LOSSES, lr=lr, init=init) for lr in (0.1, 0.01) for init in ("u", "n")]
    found = rows(joined(*rates))
    assert [(row["init"], row["a"], row["b"]) for row in found] == [
        *(("u", "lr=0.01", "lr=0.1"), ("n", "lr=0.01", "lr=0.1")),
    ]
    assert pairwise(runs("relu", LOSSES)).empty


def test_too_many_pairs_are_compared_with_one_reference() -> None:
    names = ("sigmoid", "tanh", "relu", "elu")
    few = joined(*(runs(name, LOSSES, lr=lr) for name in names for lr in (0.01, 0.1)))
    assert scope(few) == ""
    assert len(rows(few)) == 2 * 6
    panels = MOST_PAIRS // 6 + 1
    many = joined(*(runs(name, LOSSES[:3], lr=lr) for name in names for lr in range(panels)))
    assert scope(many) == "306 pairs are too many: each line is compared with relu only"
    found = rows(many)
    assert len(found) == 3 * panels
    assert {row["b"] for row in found} == {"relu"}
    assert "relu" not in {row["a"] for row in found}


def test_differences_are_written_to_the_digits_that_are_known() -> None:
    assert (
        format_difference("mean_train_loss", -0.0341, -0.0482, -0.02) == "-0.034 [-0.048, -0.020]"
    )
    assert format_difference("test_accuracy", 0.0123, 0.004, 0.02) == "1.23 points [0.40, 2.00]"
    words = format_difference("iterations_to_target", 1234.4, 1034.0, 1434.0)
    assert words == "1,234 iterations [1,034, 1,434]"
    assert format_difference("mean_train_loss", 0.0, 0.0, 0.0) == "0 [0, 0]"
    assert format_difference("seconds_to_target", 3.0, 3.0, 3.0) == "3.0 seconds [3.0, 3.0]"


@pytest.mark.slow
def test_in_at_most_5_percent_of_null_tables_something_is_called_different() -> None:
    """A table of three equal activations; only seeds differ, and seeds have an effect of their own.

    Every verdict of difference is false here. The same activations with a real effect of three
    deviations are told apart nearly always, so that the rate is not bought by silence.
    """
    generator = np.random.default_rng(7)
    panels, seeds = 150, 5
    effect_of_seed = generator.normal(0, 0.3, (panels, seeds))
    names = ("sigmoid", "tanh", "relu")
    noise = generator.normal(0, 0.1, (len(names), panels, seeds))
    rates: list[float] = []
    powers: list[float] = []
    for effect, kept in ((0.0, rates), (0.6, powers)):
        parts = [
            runs(name, 1 + effect * (name == "sigmoid") + effect_of_seed[k] + noise[i, k], lr=k)
            for i, name in enumerate(names)
            for k in range(panels)
        ]
        found = pairwise(joined(*parts))
        found = found[found["quantity"] == "mean_train_loss"]
        told = found.apply(is_distinguishable, axis=1)
        assert (told == ~found["verdict"].eq("not distinguishable")).all()
        wrong = told & ~((found["a"] == "sigmoid") | (effect == 0))
        kept.append(told.groupby(found["lr"]).any().mean())
        assert wrong.groupby(found["lr"]).any().mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / panels)
    assert rates[0] <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / panels)
    assert powers[0] > 0.9


def test_verdicts_of_run_directories(tmp_path: Path) -> None:
    for name, rate in (("relu", 10.0), ("tanh", 90.0)):
        for seed in range(5):
            write_run(
                *(tmp_path / "s", f"{name}-{seed}", descent(200, seed, rate=rate)),
                activation=name,
                seed=seed,
            )
    summary = summarise(load_sweep(tmp_path / "s"))
    found = pairwise(summary).set_index("quantity")
    assert set(found.index) == set(QUANTITIES)
    a = summary.loc[summary["activation"] == "tanh", "mean_train_loss"].to_numpy()
    b = summary.loc[summary["activation"] == "relu", "mean_train_loss"].to_numpy()
    assert found.loc["mean_train_loss", "p_value"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert str(found.loc["mean_train_loss", "verdict"]).startswith("tanh higher by 0.")
    assert str(found.loc["iterations_to_accuracy", "verdict"]).startswith("tanh later by ")
