"""When a claim counts as supported or refuted: values per seed in, a finding out.

The rules, for every claim that is decided by numbers with a spread. Its comparisons stand in the
registry, whatever the runs at hand; a comparison has one value per seed (mostly a difference
between two runs of that seed), a bound, mostly 0, and a side of it that is claimed.

- A comparison is *supported* if the 95 % bootstrap interval of the mean lies on the claimed side of
  the bound and p < 0.05 in a two-sided paired t test; *refuted* if it lies on the other side, again
  with p < 0.05. It is refuted, too, if the difference is shown to be negligible: the interval lies
  inside of the margin that the claim states, and p < 0.05 in the equivalence test (two one-sided t
  tests) within it.
- Where values are claimed to be *close*, a comparison is supported if they are shown to be so in
  the same way, and refuted if the interval lies outside of the margin and p < 0.05 there.
- The p values of a claim's comparisons are adjusted together by Holm's method. The claim is refuted
  if one of them is, supported if all of them are, else *inconclusive*.
- Where each activation is compared at its own best learning rate, one whose best rate is on an edge
  of the grid might do better beyond it. A comparison that this could overturn is inconclusive:
  instead of supported if it is the activation that is said to do worse, instead of refuted if it is
  the one that is said to do better.
- Fewer than 3 seeds: inconclusive, whatever the numbers.

Effect, interval and p value of a finding are those of the comparison that decides: the clearest of
the refuting ones, else the least certain one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from lenet_bench.analysis.comparisons import LEVEL
from lenet_bench.analysis.statistics import MIN_SEEDS, Paired, equivalence, holm, one_sample

Verdict = Literal["supported", "refuted", "inconclusive"]
Claimed = Literal["above", "below", "close"]


@dataclass(frozen=True)
class Finding:
    """What became of a claim: its verdict and the numbers behind it.

    `effect` with its 95 % interval from `low` to `high` is in the unit that `note` says;
    `seeds` is how many of them the verdict rests on. What does not apply is NaN.
    """

    verdict: Verdict
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    seeds: int = 0
    note: str = ""


class LackingError(Exception):
    """Evidence that a claim needs and that is not there; the message says which."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Values of one quantity, an entry per seed, and what is claimed of their mean.

    Attributes:
        words: What is compared: `relu - tanh`.
        quantity: In what, with its unit.
        values: By seed; NaN where a run lacks the value.
        claimed: The side of `bound` that is claimed, or that the mean is `close` to it.
        bound: In the unit of the values.
        margin: Distance from the bound that is negligible, or that still is close; None: no
            distance is too small to count.
        ratio: The values are logarithms of ratios, and are shown as ratios.
        open: Verdicts that these values cannot give, each with the reason.
    """

    words: str
    quantity: str
    values: pd.Series[float]
    claimed: Claimed
    bound: float = 0.0
    margin: float | None = None
    ratio: bool = False
    open: Mapping[Verdict, str] = field(default_factory=dict)

    def result(self) -> Paired:
        """Mean of the values' distance from the bound, over seeds."""
        return one_sample(self.values.to_numpy(dtype=np.float64) - self.bound)

    def shown(self, distance: float) -> float:
        """A distance from the bound as a reader wants to see it: as value, or as ratio."""
        value = distance + self.bound
        return math.exp(value) if self.ratio else value

    def described(self) -> str:
        """`relu - tanh is 0.012 [0.004, 0.02]`."""
        found = self.result()
        if not found.n:
            return f"{self.words} has no values"
        numbers = with_interval(*map(self.shown, (found.mean, found.low, found.high)))
        return f"{self.words} is {numbers}"

    @property
    def missing(self) -> int:
        """Seeds without a value."""
        return int((~np.isfinite(self.values.to_numpy(dtype=np.float64))).sum())


@dataclass(frozen=True)
class _Judged:
    comparison: Comparison
    found: Paired
    verdict: Verdict
    p_value: float
    because: str = ""
    """Why it is inconclusive, whatever the numbers."""


def decide(
    comparisons: Sequence[Comparison],
    also: Sequence[Comparison] = (),
    remarks: Sequence[str] = (),
) -> Finding:
    """Apply the rules above; `also` is told in the note and decides nothing, missing or not."""
    judged = _judge(comparisons)
    seeds = min(each.found.n for each in judged)
    verdict: Verdict = "inconclusive"
    decides = max(judged, key=lambda each: _certainty(each.p_value))
    if seeds >= MIN_SEEDS:
        against = [each for each in judged if each.verdict == "refuted"]
        if against:
            verdict, decides = "refuted", min(against, key=lambda each: each.p_value)
        elif all(each.verdict == "supported" for each in judged):
            verdict = "supported"
        else:
            undecided = [each for each in judged if each.verdict == "inconclusive"]
            decides = max(undecided, key=lambda each: _certainty(each.p_value))
    notes = [too_few(seeds)] if seeds < MIN_SEEDS else []
    if len(judged) > 1 and not notes:
        notes.append(f"decided by {decides.comparison.words}, {decides.comparison.quantity}")
    notes += dict.fromkeys(each.because for each in judged if each.because)
    notes += _by_quantity(
        [
            (each.comparison.quantity, each.comparison.described() + _negligible(each))
            for each in judged
        ]
    )
    notes += _by_quantity([(each.quantity, each.described()) for each in also])
    notes += [_missing(each) for each in (*comparisons, *also) if each.missing]
    found, shown = decides.found, decides.comparison.shown
    return Finding(
        verdict,
        shown(found.mean),
        shown(found.low),
        shown(found.high),
        decides.p_value if seeds >= MIN_SEEDS else math.nan,
        seeds,
        "; ".join([*notes, *remarks]),
    )


def too_few(seeds: int) -> str:
    """Why there is no verdict."""
    return f"no verdict from fewer than {MIN_SEEDS} seeds ({seeds})"


def with_interval(mean: float, low: float, high: float) -> str:
    """`0.034 [0.02, 0.048]`; without an interval only the mean."""
    # What is left of equal numbers after rounding is no number to show.
    shown = [f"{0.0 if abs(value) < 1e-12 else value:.3g}" for value in (mean, low, high)]
    if not (math.isfinite(low) and math.isfinite(high)):
        return shown[0]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _by_quantity(told: Sequence[tuple[str, str]]) -> list[str]:
    """`test accuracy: relu - tanh is 0.01, relu - sigmoid is 0.3`, one text per quantity."""
    texts: dict[str, list[str]] = {}
    for quantity, text in told:
        texts.setdefault(quantity, []).append(text)
    return [f"{quantity}: {', '.join(listed)}" for quantity, listed in texts.items()]


def _judge(comparisons: Sequence[Comparison]) -> list[_Judged]:
    found = [each.result() for each in comparisons]
    tests = [_test(*pair) for pair in zip(comparisons, found, strict=True)]
    p_values = holm([test.p_value for test in tests])
    negligible = holm([_p_negligible(each) for each in comparisons])
    judged = []
    for comparison, result, test, p, p_small in zip(
        comparisons, found, tests, p_values, negligible, strict=True
    ):
        verdict: Verdict = "inconclusive"
        if p_small < LEVEL:
            verdict, p = "refuted", p_small
        elif p < LEVEL:
            verdict = test.verdict
        because = ""
        if verdict in comparison.open:
            because = f"not {verdict}: {comparison.open[verdict]}"
            verdict = "inconclusive"
        judged.append(_Judged(comparison, result, verdict, float(p), because))
    return judged


@dataclass(frozen=True)
class _Test:
    p_value: float
    verdict: Verdict  # if the p value is small enough


def _test(comparison: Comparison, found: Paired) -> _Test:
    """The test in the direction in which the values lie."""
    if found.n < 2:
        return _Test(math.nan, "inconclusive")
    if comparison.claimed == "close":
        return _closeness(comparison, found)
    sign = 1.0 if comparison.claimed == "above" else -1.0
    low, high = sorted((sign * found.low, sign * found.high))
    inside = low <= 0 <= high
    verdict: Verdict = "inconclusive" if inside else "supported" if low > 0 else "refuted"
    return _Test(_p_value(found), verdict)


def _closeness(comparison: Comparison, found: Paired) -> _Test:
    margin = _given(comparison.margin)
    distances = comparison.values.to_numpy(dtype=np.float64) - comparison.bound
    if abs(found.mean) < margin:
        inside = -margin < found.low and found.high < margin
        return _Test(equivalence(distances, margin), "supported" if inside else "inconclusive")
    outside = one_sample(distances - math.copysign(margin, found.mean))
    beyond = found.low > margin or found.high < -margin
    return _Test(_p_value(outside), "refuted" if beyond else "inconclusive")


def _p_value(found: Paired) -> float:
    """Two-sided p; of values that are all equal that of the sign test for a side fixed before.

    Without a spread there is no t test, and the two-sided sign test of five seeds cannot fall
    below 0.06, however plain the case (every unit dead, in all of them).
    """
    if found.low == found.high and found.mean != 0:
        return float(2.0**-found.n)
    return found.p_value


def _p_negligible(comparison: Comparison) -> float:
    """P of the equivalence test; NaN where negligible is no question, 1 where it is not shown."""
    if comparison.claimed == "close" or comparison.margin is None:
        return math.nan
    found = comparison.result()
    if found.low <= -comparison.margin or found.high >= comparison.margin:
        return 1.0
    distances = comparison.values.to_numpy(dtype=np.float64) - comparison.bound
    return equivalence(distances, comparison.margin)


def _given(margin: float | None) -> float:
    if margin is None:
        raise ValueError("what is close needs a margin")
    return margin


def _negligible(each: _Judged) -> str:
    margin = each.comparison.margin
    if each.comparison.claimed == "close" or margin is None or each.verdict != "refuted":
        return ""
    inside = -margin < each.found.mean < margin and _p_negligible(each.comparison) < LEVEL
    size = f"a factor of {math.exp(margin):.3g}" if each.comparison.ratio else f"{margin:.3g}"
    return f" (negligible: within {size})" if inside else ""


def _missing(comparison: Comparison) -> str:
    seeds = f"{comparison.missing} of {len(comparison.values)} seeds"
    return f"{comparison.words}: {seeds} lack a value of {comparison.quantity}"


def _certainty(p_value: float) -> float:
    return math.inf if math.isnan(p_value) else p_value
