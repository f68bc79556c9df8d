"""Summaries and statistics, on fabricated run directories and against SciPy's own intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lenet_bench.analysis import load_sweep, summarise, summarise_groups
from lenet_bench.analysis.summary import (
    WINDOW,
    describe_target,
    group_keys,
    interval,
    iterations_to_target,
    mean_and_half_width,
)
from tests.fabricate import descent, write_run


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_interval_is_students(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    found = interval([*values, np.nan])
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert found.n == n
    np.testing.assert_allclose([found.mean, found.low, found.high], [values.mean(), low, high])


def test_interval_needs_two() -> None:
    one, none = interval([0.25]), interval([np.inf])
    assert (one.mean, one.n, none.n) == (0.25, 1, 0)
    assert np.isnan([one.low, one.high, none.mean, none.low]).all()


def test_bands_of_huge_and_missing_values() -> None:
    values = np.array([[1.0, 1e30, np.nan], [3.0, np.nan, np.nan]])
    mean, half = mean_and_half_width(values)
    np.testing.assert_allclose(mean, [2.0, 1e30, np.nan])
    np.testing.assert_allclose(half[0], stats.t.ppf(0.975, 1) * stats.sem([1.0, 3.0]))
    assert np.isnan(half[1:]).all()


def test_iterations_to_target_by_hand() -> None:
    iterations = np.arange(1, 101)
    losses = np.where(iterations <= 50, 2.0, 0.0)
    # The mean of 25 values of which k are 0 is 2 (25 - k) / 25: at most 1 from k = 13 on.
    assert iterations_to_target(iterations, losses, 1.0) == 63
    assert iterations_to_target(iterations, losses, 2.0) == WINDOW
    assert np.isnan(iterations_to_target(iterations, losses, -0.1))
    assert np.isnan(iterations_to_target(iterations[:24], np.zeros(24), 1.0))
    losses[-1] = np.nan
    assert iterations_to_target(iterations, losses, 1.0) == 63
    losses[30] = 1e30
    assert iterations_to_target(iterations, losses, 0.5) == 50 + WINDOW - 6


def test_summary_row_by_hand(tmp_path: Path) -> None:
    losses = np.linspace(2.0, 0.01, 200)
    write_run(tmp_path / "s", "a", losses, test_accuracy=0.875)
    row = summarise(load_sweep(tmp_path / "s")).iloc[0]
    assert row["final_train_loss"] == pytest.approx(losses[-25:].mean())
    assert row["mean_train_loss"] == pytest.approx(losses.mean())
    assert row["target_loss"] == pytest.approx(np.log(10) / 2)
    means = pd.Series(losses).rolling(25).mean()
    assert row["iterations_to_target"] == 1 + (means <= np.log(10) / 2).argmax()
    assert row["test_accuracy"] == 0.875
    assert row["best_validation_iteration"] == 200
    assert row["best_validation_accuracy"] == row["final_validation_accuracy"]
    assert row["seconds"] == 12.5
    assert row["seconds_to_target"] == pytest.approx(12.5 * row["iterations_to_target"] / 200)
    # Accuracy falls from 1 by 0.9 loss / ln 10; it is evaluated at 0, 50, ..., on the loss then.
    accuracies = {i: 1 - 0.9 * losses[min(i, 199)] / np.log(10) for i in range(0, 201, 50)}
    expected = min(i for i, accuracy in accuracies.items() if accuracy >= 0.55)
    assert row["target_accuracy"] == 0.55
    assert row["iterations_to_accuracy"] == expected
    assert row["seconds_to_accuracy"] == pytest.approx(12.5 * expected / 200)


def test_accuracy_is_never_reached_only_where_the_record_shows_it(tmp_path: Path) -> None:
    flat, steep = np.full(100, 2.3), descent(100, 0, rate=5.0)
    write_run(tmp_path / "s", "flat", flat)
    write_run(tmp_path / "s", "cut", flat, seed=1)
    write_run(tmp_path / "s", "stopped", flat, seed=2, status="interrupted")
    write_run(tmp_path / "s", "diverged", np.append(steep, np.nan), seed=3, status="diverged")
    write_run(tmp_path / "s", "steep", steep, seed=4, status="interrupted")
    path = tmp_path / "s" / "cut" / "evaluation.csv"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("100,")]
    path.write_text("\n".join(kept) + "\n")
    summary = summarise(load_sweep(tmp_path / "s")).set_index("run")
    known = summary["accuracy_reached"]
    assert {name: known[name] for name in ("flat", "diverged", "steep")} == {
        **{"flat": False, "diverged": False, "steep": True},
    }
    assert known[["cut", "stopped"]].isna().all()
    assert summary["iterations_to_accuracy"].notna().sum() == 1


def test_target_comes_from_argument_then_configuration_then_chance(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "a", descent(60, 0), report={"target_loss": 0.7}, classes=4)
    write_run(tmp_path / "s", "b", descent(60, 0), seed=1, classes=4)
    sweep = load_sweep(tmp_path / "s")
    summary = summarise(sweep)
    assert list(summary["target_loss"]) == [0.7, np.log(4) / 2]
    assert "ln(4)/2" in describe_target(summary)
    assert summarise(sweep, 0.3)["target_loss"].eq(0.3).all()
    assert describe_target(summarise(sweep, 0.3), 0.3) == "target loss 0.3 nats"


def test_metrics_fall_back_on_the_status(tmp_path: Path) -> None:
    run = write_run(
        *(tmp_path / "s", "a", descent(60, 0)), test_accuracy=0.5, evaluate={"every": 0}
    )
    (run / "evaluation.csv").unlink()
    row = summarise(load_sweep(tmp_path / "s")).iloc[0]
    assert row["test_accuracy"] == 0.5
    assert np.isnan(row["final_validation_accuracy"])


def test_groups_never_hide_a_run(tmp_path: Path) -> None:
    fast, accuracies = [descent(200, seed, rate=10.0) for seed in range(4)], (0.9, 0.8, 0.85, 0.95)
    for seed, losses in enumerate(fast):
        write_run(tmp_path / "s", f"relu-{seed}", losses, seed=seed, test_accuracy=accuracies[seed])
    broken = np.append(fast[0][:80], np.nan)  # under the target long before it diverged
    write_run(tmp_path / "s", "relu-4", broken, seed=4, status="diverged")
    for seed in range(2):
        flat = np.full(200, 2.3)
        write_run(tmp_path / "s", f"sig-{seed}", flat, activation="sigmoid", seed=seed)
    write_run(tmp_path / "s", "sig-2", np.array([]), activation="sigmoid", seed=2, status="failed")
    summary = summarise(load_sweep(tmp_path / "s"))
    assert summary.loc[summary["run"] == "relu-4", "iterations_to_target"].isna().all()
    assert group_keys(summary) == ["activation"]
    groups = summarise_groups(summary).set_index("activation")
    relu, sigmoid = groups.loc["relu"], groups.loc["sigmoid"]
    assert (relu["runs"], relu["diverged"], relu["reached"]) == (5, 1, 4)
    assert np.isnan(relu["iterations_to_target_mean"]), "no mean when one never got there"
    reached = summary.loc[summary["run"] != "relu-4"].query("activation == 'relu'")
    expected = reached["iterations_to_target"].sort_values().iloc[2]
    assert relu["iterations_to_target_median"] == expected, "the fifth counts as infinite"
    low, high = stats.t.interval(0.95, 3, loc=np.mean(accuracies), scale=stats.sem(accuracies))
    assert relu["test_accuracy_n"] == 4
    np.testing.assert_allclose([relu["test_accuracy_low"], relu["test_accuracy_high"]], [low, high])
    assert (sigmoid["runs"], sigmoid["failed"], sigmoid["reached"]) == (3, 1, 0)
    assert np.isnan(sigmoid["iterations_to_target_median"])


def test_only_a_whole_record_can_show_that_a_run_never_got_there(tmp_path: Path) -> None:
    flat = np.full(100, 2.3)
    expected = {"finished": 1, "diverged": 1, "interrupted": 0, "failed": 0, "running": 0}
    for status, never in expected.items():
        sweep = tmp_path / status
        write_run(sweep, "a", flat, status=status)
        group = summarise_groups(summarise(load_sweep(sweep))).iloc[0]
        assert (group["reached"], group["never"]) == (0, never), status


def test_groups_keep_what_varies_apart(tmp_path: Path) -> None:
    for lr in (0.01, 0.1):
        for name, classes in (("digits", 10), ("mnist", 10)):
            for seed in range(2):
                write_run(
                    tmp_path / "s",
                    f"{lr}-{name}-{seed}",
                    descent(60, seed),
                    lr=lr,
                    dataset=name,
                    classes=classes,
                    seed=seed,
                )
    summary = summarise(load_sweep(tmp_path / "s"))
    groups = summarise_groups(summary)
    assert set(group_keys(summary)) == {"activation", "lr", "dataset"}
    assert groups["runs"].tolist() == [2, 2, 2, 2]
    assert not groups.duplicated(["lr", "dataset"]).any()


def test_classes_may_be_listed_by_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s", "a", descent(60, 0))
    status = json.loads((run / "status.json").read_text())
    status["dataset"]["classes"] = ["cat", "dog", "fox"]
    (run / "status.json").write_text(json.dumps(status))
    assert load_sweep(run).runs["classes"].tolist() == [3]
