"""Contrasts between runs, and the tests that are made of them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lenet_bench.claims.evaluation import judge
from lenet_bench.claims.evidence import Evidence
from lenet_bench.claims.kinds import Difference, Level, compare, costs
from lenet_bench.claims.registry import CLAIMS
from lenet_bench.claims.rules import LackingError
from tests.claims.made_up import noisy_evidence, rounds, runs_of, tuned, with_values


def test_differences_pair_by_seed() -> None:
    evidence = runs_of(relu={0: 0.5, 1: 0.6, 7: 0.9}, tanh={1: 0.5, 0: 0.1, 3: 0.0})
    values = Difference("test_accuracy", "relu", "tanh", "above").values(evidence)
    assert values.to_dict() == pytest.approx({0: 0.4, 1: 0.1})


def test_never_counts_as_the_budget_but_two_nevers_say_nothing() -> None:
    evidence = runs_of(relu={0: 1, 1: 1, 2: 1, 3: 1}, tanh={0: 1, 1: 1, 2: 1, 3: 1})
    runs = evidence.runs
    runs["iterations_to_target"] = [10.0, 10, 20, 100, 100, 80, 100, 100]
    runs["never"] = runs["iterations_to_target"] == 100
    test = compare(Difference("iterations_to_target", "tanh", "relu", "above", math.log(3)))
    finding = test.evaluate(evidence)
    assert finding.seeds == 3
    assert finding.effect == pytest.approx((10 * 8 * 5) ** (1 / 3))
    assert "never there, counted as the budget: 3 of tanh, 1 of relu" in finding.note


def test_what_is_only_told_may_lack_and_decides_nothing() -> None:
    needed = Difference("test_accuracy", "relu", "tanh", "above")
    also = (
        Difference("test_accuracy", "relu", "elu", "above"),
        Difference("test_accuracy", "tanh", "relu", "above"),
    )
    evidence = runs_of(
        relu={seed: 0.8 + 0.01 * seed for seed in range(5)},
        tanh={seed: 0.5 + 0.012 * seed for seed in range(5)},
    )
    alone = compare(needed).evaluate(evidence)
    told = compare(needed, also=also).evaluate(evidence)
    assert told.verdict == alone.verdict == "supported"
    assert (told.effect, told.p_value) == (alone.effect, alone.p_value)
    assert told.note.endswith("relu - elu is lacking: there is no run of elu")
    assert "tanh - relu is -0.2" in told.note


def at_best_rates(best: dict[str, float], accuracy: dict[str, float]) -> Evidence:
    """As `tuned`, with these accuracies, and validation losses to match."""
    evidence = tuned(best, {})
    runs = evidence.runs
    noise = np.random.default_rng(6).normal(0, 0.001, len(runs))
    runs["test_accuracy"] = runs["activation"].map(accuracy).fillna(0.5) + noise
    runs["final_validation_loss"] = 2 * (1 - runs["test_accuracy"])
    return evidence


def test_a_loser_whose_best_rate_is_on_an_edge_has_not_lost() -> None:
    test = CLAIMS["tanh_beats_sigmoid_tuned"].test
    ahead, behind, equal = (
        {"tanh": tanh, "sigmoid": sigmoid} for tanh, sigmoid in ((0.9, 0.5), (0.5, 0.9), (0.7, 0.7))
    )
    cases: tuple[tuple[dict[str, float], dict[str, float], str, str], ...] = (
        ({}, ahead, "supported", ""),
        ({"sigmoid": 0.1}, ahead, "inconclusive", "not supported: sigmoid might do better"),
        ({"tanh": 0.1}, ahead, "supported", "best rate of tanh on the edge of the grid (highest)"),
        ({}, behind, "refuted", ""),
        ({"tanh": 0.003}, behind, "inconclusive", "not refuted: tanh might do better"),
        (
            {"sigmoid": 0.003},
            behind,
            "refuted",
            "best rate of sigmoid on the edge of the grid (low",
        ),
        ({}, equal, "refuted", "negligible"),
        ({"tanh": 0.1}, equal, "inconclusive", "not refuted: tanh might do better"),
        ({"relu": 0.1}, ahead, "supported", ""),
    )
    for best, accuracy, expected, told in cases:
        finding = test.evaluate(at_best_rates(best, accuracy))
        assert finding.verdict == expected, (best, accuracy, finding.note)
        assert told in finding.note
        for name in ("tanh", "sigmoid"):
            assert (f"best rate of {name} on the edge" in finding.note) == (name in best)
    assert "the best rate of sigmoid (if supported) or tanh (if refuted) is on an edge" in test.rule


def test_of_iterations_fewer_are_better_and_what_is_shared_has_no_best_rate() -> None:
    """ReLU on an edge could be six times faster beyond it; tanh there could only be faster."""
    slower, faster = {"tanh": 300.0, "relu": 40.0}, {"tanh": 60.0, "relu": 40.0}
    cases = (
        ({"relu": 0.1}, faster, "inconclusive"),
        ({"tanh": 0.1}, faster, "refuted"),
        ({"relu": 0.1}, slower, "supported"),
        ({"tanh": 0.1}, slower, "inconclusive"),
    )
    for best, iterations, expected in cases:
        evidence = tuned(best, iterations)
        assert CLAIMS["relu_six_times_faster_tuned"].test.evaluate(evidence).verdict == expected
        finding = CLAIMS["relu_six_times_faster"].test.evaluate(evidence)
        assert finding.verdict == ("refuted" if iterations is faster else "supported")
        assert "edge" not in finding.note


def test_counts_at_the_window_of_the_mean_are_told() -> None:
    evidence = tuned({}, {"tanh": 40.0})
    relu = evidence.runs["activation"] == "relu"
    evidence.runs.loc[relu, "iterations_to_target"] = 25.0
    test = CLAIMS["relu_six_times_faster"].test
    note = test.evaluate(evidence).note
    assert "there at iteration 25, the first that can be told" in note
    assert "mean over 25): 4 of relu setting=shared" in note
    assert "no count is below 25" in test.rule


def test_one_learning_rate_tunes_nothing() -> None:
    evidence = noisy_evidence("learning_rate")
    summary = evidence.summary[evidence.summary["lr"] == 0.01]
    row = judge(CLAIMS["tanh_beats_sigmoid_tuned"], Evidence(summary, evidence.runs))
    assert row["verdict"] == "inconclusive"
    assert "learning rates are not tuned" in str(row["note"])


def test_costs_are_ratios_within_a_round() -> None:
    test = costs("hard_swish", reference="swish", claimed="below")
    assert test.evaluate(rounds(hard_swish=1.5, swish=2.0)).verdict == "supported"
    finding = test.evaluate(rounds(hard_swish=2.0, swish=1.5))
    assert finding.verdict == "refuted"
    assert finding.effect == pytest.approx(2 / 1.5, rel=0.02)
    assert test.evaluate(rounds(hard_swish=2.0, swish=2.0)).verdict == "refuted"  # negligible
    with pytest.raises(LackingError, match="swish"):
        test.evaluate(rounds(hard_swish=2.0))
    both = CLAIMS["exponentials_slower"].test
    assert both.evaluate(rounds(sigmoid=2, tanh=3)).verdict == "supported"
    assert both.evaluate(rounds(sigmoid=2, tanh=1)).verdict == "refuted"


def _constant(value: float, runs: pd.DataFrame) -> Any:
    return np.full(len(runs), value)


def test_a_level_is_held_against_its_bound() -> None:
    for factor, expected in ((0.95, "supported"), (0.5, "refuted")):
        evidence = with_values("depth", gradient_ratio_per_layer=partial(_constant, factor))
        finding = CLAIMS["relu_gradients_keep"].test.evaluate(evidence)
        assert finding.verdict == expected
        assert finding.effect == pytest.approx(factor, rel=0.01)
    assert Level("test_accuracy", "relu", "above").margin() == (None, False)


def test_a_run_that_diverged_is_no_better_than_one_that_ended_worse_than_chance() -> None:
    """The rule of `analysis.outcomes`, in claims as in comparisons."""
    runs = pd.DataFrame(
        {
            "activation": ["relu"] * 3 + ["tanh"] * 3,
            "seed": [0, 1, 2] * 2,
            "status": ["diverged"] * 3 + ["finished"] * 3,
            "mean_train_loss": [math.log(10)] * 3 + [9.0, 1.0, 2.0],
            "test_accuracy": [0.1] * 3 + [0.05, 0.9, 0.8],
        }
    )
    values = {
        name: Difference(name, "relu", "tanh", "above").values(Evidence(runs=runs)).tolist()
        for name in ("mean_train_loss", "test_accuracy")
    }
    assert values["mean_train_loss"] == [0.0, math.log(10) - 1.0, math.log(10) - 2.0]
    np.testing.assert_allclose(values["test_accuracy"], [0.0, -0.8, -0.7])
