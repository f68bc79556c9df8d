"""The claims that have a test of their own."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import pytest

from lenet_bench.claims.evidence import Evidence, probe_results
from lenet_bench.claims.registry import CLAIMS
from lenet_bench.claims.rules import LackingError
from tests.claims.made_up import noisy_evidence, tuned, with_values

Rows = dict[int, list[tuple[str, int, int]]]


def dead_units(by_seed: Rows) -> Evidence:
    """A hot run per seed, with (layer, died, revived) at one probe."""
    runs = pd.DataFrame(
        [{"run": f"r{s}", "activation": "relu", "lr": 0.5, "seed": s} for s in by_seed]
    )
    layers = pd.DataFrame(
        [
            {"run": f"r{seed}", "iteration": 25, "layer": layer, "units": 84, "dead_fraction": 0.0,
             "dormant_fraction": 0.0, "zero_fraction": 0.0, "died": died, "revived": revived,
             "gradient_norm": 0.0}
            for seed, rows in by_seed.items()
            for layer, died, revived in rows
        ]
    )  # fmt: skip
    return Evidence(runs=runs.merge(probe_results(layers), on="run"), layers=layers)


def test_units_that_revive_refute_that_the_dead_stay_dead() -> None:
    test = CLAIMS["dead_stays_dead"].test
    none: Rows = {seed: [("fc1", 20, 0), ("fc2", 9 + seed, 0)] for seed in range(5)}
    assert test.evaluate(dead_units(none)).verdict == "supported"
    many: Rows = {seed: [("fc1", 20, 0), ("fc2", 20, 7 + seed)] for seed in range(5)}
    finding = test.evaluate(dead_units(many))
    assert finding.verdict == "refuted"
    assert finding.effect == pytest.approx(9 / 40)
    assert "fc1 0 of 100, fc2 45 of 100" in finding.note
    once: Rows = {**none, 4: [("fc2", 20, 1)]}
    assert test.evaluate(dead_units(once)).verdict == "inconclusive"
    few: Rows = {seed: many[seed] for seed in range(2)}
    finding = test.evaluate(dead_units(few))
    assert finding.verdict == "inconclusive"
    assert "fewer than 3 seeds (2)" in finding.note


def test_leaky_relu_may_have_no_dead_unit_at_all() -> None:
    test = CLAIMS["leaky_ends_dying"].test

    def dead_relu(runs: pd.DataFrame) -> Any:
        return 0.5 * (runs["activation"] == "relu")

    evidence = with_values("relu_family", dead_fraction=dead_relu)
    assert test.evaluate(evidence).verdict == "supported"
    alive = with_values("relu_family", dead_fraction=lambda runs: 0.0 * runs["lr"])
    assert test.evaluate(alive).verdict == "inconclusive", "nothing that could end"
    leaky = evidence.runs.index[evidence.runs["activation"] == "leaky_relu"]
    evidence.runs.loc[leaky[0], "largest_dead_fraction"] = 0.01
    assert test.evaluate(evidence).verdict == "refuted"


def _scaled(factor: float, runs: pd.DataFrame) -> Any:
    return factor * runs["zero_fraction"]


def _unrelated(runs: pd.DataFrame) -> Any:
    return (-1.0) ** runs["seed"] * runs["zero_fraction"]


def test_sparsity_is_correlated_with_the_gap_seed_by_seed() -> None:
    test = CLAIMS["sparser_overfit_less"].test
    for sign, expected in ((-1.0, "supported"), (1.0, "refuted")):
        evidence = with_values("sparsity", gap=partial(_scaled, sign))
        finding = test.evaluate(evidence)
        assert (finding.verdict, finding.seeds) == (expected, 5)
        assert finding.effect == pytest.approx(sign, abs=0.02)
    evidence = with_values("sparsity", gap=_unrelated)
    assert test.evaluate(evidence).verdict == "inconclusive"


def test_what_was_dead_from_the_start_says_nothing_about_overfitting() -> None:
    """Sparse as can be, without a gap: it would decide the claim alone."""
    test = CLAIMS["sparser_overfit_less"].test
    evidence = with_values("sparsity", gap=partial(_scaled, 1.0))
    runs = evidence.runs
    dead = runs["activation"] == runs["activation"].iloc[0]
    runs.loc[dead, "zero_fraction"], runs.loc[dead, "gap"] = 1.0, 0.0
    runs.loc[dead, "mean_train_loss"] = evidence.chance_loss
    finding = test.evaluate(evidence)
    assert finding.verdict == "refuted"
    assert f"{dead.sum()} more learned nothing and are left out" in finding.note
    runs["mean_train_loss"] = evidence.chance_loss
    with pytest.raises(LackingError, match="no run that learned"):
        test.evaluate(evidence)


def test_any_gradient_at_all_refutes_that_the_step_has_none() -> None:
    test = CLAIMS["step_untrainable"].test
    evidence = noisy_evidence("all_activations")
    assert test.evaluate(evidence).verdict == "supported"
    steps = evidence.runs["activation"] == "binary_step"
    evidence.runs.loc[steps, "largest_gradient_norm"] = 1e-30
    assert test.evaluate(evidence).verdict == "refuted"


def test_best_rates_are_compared_seed_by_seed_and_edges_are_minded() -> None:
    test = CLAIMS["sigmoid_needs_hot_rate"].test
    cases = (
        ({"sigmoid": 0.1, "relu": 0.01}, "supported"),
        ({"sigmoid": 0.03, "relu": 0.01}, "supported"),
        ({"sigmoid": 0.03, "relu": 0.03}, "refuted"),
        ({"sigmoid": 0.01, "relu": 0.03}, "refuted"),
        ({"sigmoid": 0.1, "relu": 0.03}, "supported"),  # beyond the grid it would be more
        ({"sigmoid": 0.1, "relu": 0.1}, "inconclusive"),
    )
    for best, expected in cases:
        finding = test.evaluate(tuned(best, {}))
        assert finding.verdict == expected, best
        assert finding.effect == pytest.approx(best["sigmoid"] / best["relu"])
    assert "sigmoid 7 at 0.1, relu 7 at 0.1" in finding.note
    assert "not refuted: the ratio may be another beyond the grid" in finding.note


def test_seeds_that_disagree_on_the_best_rate_decide_nothing() -> None:
    test = CLAIMS["sigmoid_needs_hot_rate"].test
    evidence = tuned({"sigmoid": 0.03, "relu": 0.01}, {})
    runs = evidence.runs
    odd = (runs["activation"] == "relu") & (runs["seed"] % 2 == 1)
    runs.loc[odd & (runs["lr"] == 0.03), "final_validation_loss"] = -1.0
    finding = test.evaluate(evidence)
    assert finding.verdict == "inconclusive"
    assert "relu 4 at 0.01 and 3 at 0.03" in finding.note
    assert finding.effect == pytest.approx(3 ** (4 / 7))


def test_a_rate_at_which_a_run_diverged_is_not_its_best() -> None:
    """Its loss counts as that of chance, which may be less than what a plateau has."""
    test = CLAIMS["sigmoid_needs_hot_rate"].test
    evidence = tuned({"sigmoid": 0.1, "relu": 0.01}, {})
    runs = evidence.runs
    calm = (runs["activation"] == "sigmoid") & (runs["lr"] == 0.003)
    runs.loc[calm, "final_validation_loss"] = -1.0
    runs.loc[calm, "status"] = "diverged"
    assert "sigmoid 7 at 0.1" in test.evaluate(evidence).note
    runs.loc[runs["activation"] == "relu", "status"] = "diverged"
    with pytest.raises(LackingError, match="validation loss of relu"):
        test.evaluate(evidence)


def test_six_times_the_iterations_is_judged_at_both_rates() -> None:
    for factor, expected in ((6.0, "supported"), (1.2, "refuted")):
        evidence = tuned({}, {"tanh": 20 * factor, "relu": 20.0})
        for name in ("relu_six_times_faster", "relu_six_times_faster_tuned"):
            finding = CLAIMS[name].test.evaluate(evidence)
            assert (finding.verdict, finding.seeds) == (expected, 4)
            assert finding.effect == pytest.approx(factor, rel=0.02)
            assert "tanh at lr 0.03; relu at lr 0.03" in finding.note


def test_a_tanh_that_never_arrives_refutes_nothing() -> None:
    evidence = tuned({}, {"tanh": 40.0, "relu": 20.0})
    evidence.runs["never"] = evidence.runs["activation"] == "tanh"
    for name in ("relu_six_times_faster", "relu_six_times_faster_tuned"):
        finding = CLAIMS[name].test.evaluate(evidence)
        assert finding.verdict == "inconclusive"
        assert "lower bound" in finding.note


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear_without_nonlinearity", "refuted"),
        ("max_pool_commutes", "supported"),
        ("relu_twice", "supported"),
    ],
)
def test_what_can_be_computed_is_computed(name: str, expected: str) -> None:
    finding = CLAIMS[name].test.evaluate(Evidence())
    assert finding.verdict == expected, finding.note
