"""When a claim counts as supported or refuted: values per seed in, a finding out.

These are the rules for every claim that is decided by numbers with a spread. The registry fixes the
comparisons of a claim before anything is trained. A comparison has one value per seed, mostly the
difference between two runs of that seed; a bound, mostly 0; and the side of it that is claimed.

- A comparison is *supported* if the 95 % bootstrap interval of the mean lies on the claimed side of
  the bound and p < 0.05 in a two-sided paired t test. It is *refuted* if the interval lies on the
  other side, again with p < 0.05. It is also refuted if the difference is shown to be negligible:
  the interval lies inside of the margin that the claim states, and p < 0.05 in the equivalence test
  (two one-sided t tests) within this margin.
- Where values are claimed to be *close*, a comparison is supported if they are shown to be close in
  the same way. It is refuted if the interval lies outside of the margin and p < 0.05 there.
- The p values of a claim's comparisons are adjusted together by Holm's method. The claim is refuted
  if one of them is refuted, supported if all of them are supported, and otherwise *inconclusive*.
- Where each activation is compared at its own best learning rate, an activation whose best rate is
  on an edge of the grid might do better beyond the grid. A comparison that this could overturn is
  inconclusive: instead of supported if the activation is claimed to do worse, instead of refuted if
  it is claimed to do better.
- Fewer than 3 seeds: inconclusive, whatever the numbers.

Effect, interval and p value of a finding are those of the comparison that decides: the clearest of
those that refute the claim, else the least certain one.
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
    """The verdict on a claim and the numbers behind it; what does not apply is NaN.

    Attributes:
        verdict: What became of the claim.
        effect: The effect that decides, in the unit that the note says.
        low: The lower end of its 95 % interval.
        high: The upper end.
        p_value: Its p value after Holm's correction.
        seeds: How many seeds the verdict rests on.
        note: How the verdict came about.
    """

    verdict: Verdict
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    seeds: int = 0
    note: str = ""


class LackingError(Exception):
    """A claim lacks evidence that it needs; the message says which."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """What a claim says about the mean of some values, of which there is one per seed.

    Attributes:
        words: What is compared, as in `relu - tanh`.
        quantity: The quantity that is compared, with its unit.
        values: By seed; NaN where a run lacks the value.
        claimed: The side of `bound` that is claimed, or that the mean is `close` to it.
        bound: In the unit of the values.
        margin: The distance from the bound up to which a mean is negligible, or close. None if
            every distance counts.
        ratio: Whether the values are logarithms of ratios, which are shown as ratios.
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
        """The mean distance of the values from the bound, with its interval and test."""
        return one_sample(self.values.to_numpy(dtype=np.float64) - self.bound)

    def shown(self, distance: float) -> float:
        """Turn a distance from the bound into a value, or into a ratio where these are compared."""
        value = distance + self.bound
        return math.exp(value) if self.ratio else value

    def described(self) -> str:
        """`relu - tanh is 0.012 [0.004, 0.02]`."""
        estimate = self.result()
        if not estimate.n:
            return f"{self.words} has no values"
        numbers = with_interval(*map(self.shown, (estimate.mean, estimate.low, estimate.high)))
        return f"{self.words} is {numbers}"

    @property
    def missing(self) -> int:
        """How many seeds have no value."""
        return int((~np.isfinite(self.values.to_numpy(dtype=np.float64))).sum())


@dataclass(frozen=True)
class _Judged:
    """A hypothesis with its verdict.

    Attributes:
        hypothesis: What is claimed.
        estimate: What the values say.
        verdict: What follows from them.
        p_value: After Holm's correction.
        because: Why the verdict is inconclusive whatever the numbers say; mostly empty.
    """

    hypothesis: Hypothesis
    estimate: Paired
    verdict: Verdict
    p_value: float
    because: str = ""


def decide(
    hypotheses: Sequence[Hypothesis],
    also: Sequence[Hypothesis] = (),
    remarks: Sequence[str] = (),
) -> Finding:
    """Apply the rules above.

    Args:
        hypotheses: What the claim consists of.
        also: What only the note mentions. It decides nothing, whether it has values or not.
        remarks: What else the note says.
    """
    judged = _judge(hypotheses)
    seeds = min(each.estimate.n for each in judged)
    verdict: Verdict = "inconclusive"
    decides = max(judged, key=lambda each: _uncertainty(each.p_value))
    if seeds >= MIN_SEEDS:
        against = [each for each in judged if each.verdict == "refuted"]
        if against:
            verdict, decides = "refuted", min(against, key=lambda each: each.p_value)
        elif all(each.verdict == "supported" for each in judged):
            verdict = "supported"
        else:
            undecided = [each for each in judged if each.verdict == "inconclusive"]
            decides = max(undecided, key=lambda each: _uncertainty(each.p_value))
    notes = [too_few(seeds)] if seeds < MIN_SEEDS else []
    if len(judged) > 1 and not notes:
        notes.append(f"decided by {decides.hypothesis.words}, {decides.hypothesis.quantity}")
    notes += dict.fromkeys(each.because for each in judged if each.because)
    notes += _by_quantity(
        [
            (each.hypothesis.quantity, each.hypothesis.described() + _negligible(each))
            for each in judged
        ]
    )
    notes += _by_quantity([(each.quantity, each.described()) for each in also])
    notes += [_missing(each) for each in (*hypotheses, *also) if each.missing]
    estimate, shown = decides.estimate, decides.hypothesis.shown
    return Finding(
        verdict,
        shown(estimate.mean),
        shown(estimate.low),
        shown(estimate.high),
        decides.p_value if seeds >= MIN_SEEDS else math.nan,
        seeds,
        "; ".join([*notes, *remarks]),
    )


def too_few(seeds: int) -> str:
    """Say why so few seeds give no verdict."""
    return f"no verdict from fewer than {MIN_SEEDS} seeds ({seeds})"


def with_interval(mean: float, low: float, high: float) -> str:
    """Format as `0.034 [0.02, 0.048]`, or only the mean if there is no interval."""
    # The difference of equal numbers can be a rounding error, which is shown as 0.
    shown = [f"{0.0 if abs(value) < 1e-12 else value:.3g}" for value in (mean, low, high)]
    if not (math.isfinite(low) and math.isfinite(high)):
        return shown[0]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _by_quantity(described: Sequence[tuple[str, str]]) -> list[str]:
    """One text per quantity: `test accuracy: relu - tanh is 0.01, relu - sigmoid is 0.3`."""
    texts: dict[str, list[str]] = {}
    for quantity, text in described:
        texts.setdefault(quantity, []).append(text)
    return [f"{quantity}: {', '.join(listed)}" for quantity, listed in texts.items()]


def _judge(hypotheses: Sequence[Hypothesis]) -> list[_Judged]:
    estimates = [each.result() for each in hypotheses]
    tests = [_test(*pair) for pair in zip(hypotheses, estimates, strict=True)]
    p_values = holm([test.p_value for test in tests])
    negligible = holm([_p_negligible(each) for each in hypotheses])
    judged = []
    for hypothesis, estimate, test, p, p_small in zip(
        hypotheses, estimates, tests, p_values, negligible, strict=True
    ):
        verdict: Verdict = "inconclusive"
        if p_small < LEVEL:
            verdict, p = "refuted", p_small
        elif p < LEVEL:
            verdict = test.verdict
        because = ""
        if verdict in hypothesis.open:
            because = f"not {verdict}: {hypothesis.open[verdict]}"
            verdict = "inconclusive"
        judged.append(_Judged(hypothesis, estimate, verdict, float(p), because))
    return judged


@dataclass(frozen=True)
class _Test:
    p_value: float
    verdict: Verdict  # if the p value is small enough


def _test(hypothesis: Hypothesis, estimate: Paired) -> _Test:
    """Test in the direction in which the values lie."""
    if estimate.n < 2:
        return _Test(math.nan, "inconclusive")
    if hypothesis.claimed == "close":
        return _closeness(hypothesis, estimate)
    sign = 1.0 if hypothesis.claimed == "above" else -1.0
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    inside = low <= 0 <= high
    verdict: Verdict = "inconclusive" if inside else "supported" if low > 0 else "refuted"
    return _Test(_p_value(estimate), verdict)


def _closeness(hypothesis: Hypothesis, estimate: Paired) -> _Test:
    if hypothesis.margin is None:
        raise ValueError("what is claimed to be close needs a margin")
    margin = hypothesis.margin
    distances = hypothesis.values.to_numpy(dtype=np.float64) - hypothesis.bound
    if abs(estimate.mean) < margin:
        inside = -margin < estimate.low and estimate.high < margin
        return _Test(equivalence(distances, margin), "supported" if inside else "inconclusive")
    outside = one_sample(distances - math.copysign(margin, estimate.mean))
    beyond = estimate.low > margin or estimate.high < -margin
    return _Test(_p_value(outside), "refuted" if beyond else "inconclusive")


def _p_value(estimate: Paired) -> float:
    """The two-sided p value; for values that are all equal, that of a one-sided sign test.

    Without a spread there is no t test. A two-sided sign test of five seeds cannot fall below 0.06,
    however plain the case is (every unit dead in each seed), but here the side is fixed beforehand.
    """
    if estimate.low == estimate.high and estimate.mean != 0:
        return float(2.0**-estimate.n)
    return estimate.p_value


def _p_negligible(hypothesis: Hypothesis) -> float:
    """P value of the equivalence test: NaN if there is no margin, 1 if the interval is wider."""
    if hypothesis.claimed == "close" or hypothesis.margin is None:
        return math.nan
    estimate = hypothesis.result()
    if estimate.low <= -hypothesis.margin or estimate.high >= hypothesis.margin:
        return 1.0
    distances = hypothesis.values.to_numpy(dtype=np.float64) - hypothesis.bound
    return equivalence(distances, hypothesis.margin)


def _negligible(each: _Judged) -> str:
    """Say that a difference is negligible, if that is why it was refuted."""
    margin = each.hypothesis.margin
    if each.hypothesis.claimed == "close" or margin is None or each.verdict != "refuted":
        return ""
    inside = -margin < each.estimate.mean < margin and _p_negligible(each.hypothesis) < LEVEL
    size = f"a factor of {math.exp(margin):.3g}" if each.hypothesis.ratio else f"{margin:.3g}"
    return f" (negligible: within {size})" if inside else ""


def _missing(hypothesis: Hypothesis) -> str:
    """Say how many seeds lack a value."""
    seeds = f"{hypothesis.missing} of {len(hypothesis.values)} seeds"
    return f"{hypothesis.words}: {seeds} lack a value of {hypothesis.quantity}"


def _uncertainty(p_value: float) -> float:
    """A key to sort by: the less certain, the larger; without a p value last."""
    return math.inf if math.isnan(p_value) else p_value
