"""The rules of verdicts, on values made up to deserve them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lenet_bench.claims.rules import Claimed, Hypothesis, decide
from tests.claims.made_up import spread


def verdict(
    *values: pd.Series[float], claimed: Claimed = "above", margin: float | None = None
) -> str:
    """The verdict of comparisons against 0."""
    return decide([Hypothesis("a - b", "loss", v, claimed, margin=margin) for v in values]).verdict


def test_a_difference_is_judged_by_the_side_it_lies_on() -> None:
    assert verdict(spread(1.0, 0.1)) == "supported"
    assert verdict(spread(-1.0, 0.1)) == "refuted"
    assert verdict(spread(0.05, 1.0)) == "inconclusive"
    assert verdict(spread(-1.0, 0.1), claimed="below") == "supported"
    assert verdict(spread(1.0, 0.1), claimed="below") == "refuted"


def test_a_difference_shown_to_be_negligible_refutes() -> None:
    tiny = spread(0.01, 0.001)
    assert verdict(tiny) == "supported"
    assert verdict(tiny, margin=0.02) == "refuted"
    assert verdict(tiny, margin=0.005) == "supported"
    assert verdict(spread(0.0, 1.0), margin=0.5) == "inconclusive"
    finding = decide([Hypothesis("a - b", "loss", tiny, "above", margin=0.02)])
    assert "negligible: within 0.02" in finding.note


def test_closeness_is_judged_by_its_margin() -> None:
    assert verdict(spread(0.1, 0.05), claimed="close", margin=1.0) == "supported"
    assert verdict(spread(2.0, 0.05), claimed="close", margin=1.0) == "refuted"
    assert verdict(spread(-2.0, 0.05), claimed="close", margin=1.0) == "refuted"
    assert verdict(spread(0.9, 1.0), claimed="close", margin=1.0) == "inconclusive"


def test_all_comparisons_have_to_hold_and_one_against_refutes() -> None:
    for_it, against, unclear = spread(1.0, 0.1), spread(-1.0, 0.1), spread(0.0, 1.0)
    assert verdict(for_it, for_it) == "supported"
    assert verdict(for_it, unclear) == "inconclusive"
    assert verdict(for_it, unclear, against) == "refuted"
    words = ("one", "two")
    pair = zip(words, (for_it, against), strict=True)
    finding = decide([Hypothesis(word, "loss", values, "above") for word, values in pair])
    assert finding.effect == pytest.approx(-1.0)
    assert finding.note.startswith("decided by two, loss; loss: one is 1 [")


def test_many_comparisons_ask_for_smaller_p_values() -> None:
    """p = 0.02 each: one alone is enough, four by Holm are not."""
    border = spread(1.3, 0.85)
    alone = decide([Hypothesis("a", "loss", border, "above")])
    assert 0.0125 < alone.p_value < 0.05
    assert alone.verdict == "supported"
    assert verdict(*[border] * 4) == "inconclusive"


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_give_no_verdict(seeds: int) -> None:
    finding = decide([Hypothesis("a - b", "loss", spread(1.0, 0.001, 5)[:seeds], "above")])
    assert (finding.verdict, finding.seeds) == ("inconclusive", seeds)
    assert f"no verdict from fewer than 3 seeds ({seeds})" in finding.note
    assert math.isnan(finding.p_value)
    assert verdict(spread(1.0, 0.1), spread(1.0, 0.1)[:2]) == "inconclusive"


def test_seeds_without_a_value_do_not_count_and_are_told() -> None:
    values = spread(1.0, 0.1)
    values.iloc[3:] = np.nan
    finding = decide([Hypothesis("a - b", "loss", values, "above")])
    assert finding.seeds == 3
    assert "2 of 5 seeds lack a value" in finding.note
    values.iloc[2] = np.nan
    assert decide([Hypothesis("a - b", "loss", values, "above")]).verdict == "inconclusive"


def test_five_equal_differences_are_as_clear_as_a_sign_test_says() -> None:
    """Every unit dead in every seed leaves no spread; 2^-5 is the chance of that by luck."""
    finding = decide([Hypothesis("dead", "loss", spread(1.0, 0.0), "above")])
    assert (finding.verdict, finding.p_value) == ("supported", 2.0**-5)
    assert verdict(spread(0.0, 0.0)) == "inconclusive"
    assert verdict(spread(0.0, 0.0), margin=0.01) == "refuted"


def test_ratios_are_shown_as_ratios() -> None:
    finding = decide(
        [Hypothesis("a / b", "loss", spread(math.log(4), 0.1), "above", math.log(3), ratio=True)]
    )
    assert finding.verdict == "supported"
    assert finding.effect == pytest.approx(4)
    assert 3 < finding.low < 4 < finding.high


def test_without_a_difference_a_claim_of_two_comparisons_is_rarely_decided() -> None:
    """At most 5 % of verdicts are wrong under the null; 600 draws, so 8 % would be 3 deviations."""
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(600):
        draws = generator.standard_normal((2, 5))
        wrong += verdict(*(pd.Series(values) for values in draws)) != "inconclusive"
    assert wrong / 600 < 0.08
