"""Paired statistics over seeds: the values of two settings in, the numbers of a verdict out.

The same seed gives the same initial weights and batches to every activation. So runs are paired by
seed, and a difference is judged by its spread over seeds. Which runs are compared, and what is said
about the result, is decided in `lenet_bench.analysis.comparisons`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]

MIN_SEEDS = 3
"""With fewer pairs there are numbers but no verdict."""

MOST_ENUMERATED = 8
"""Up to this many pairs all resamples are used (of 8^8, 6,435 are distinct), else a sample."""

RESAMPLES = 10_000


@dataclass(frozen=True)
class Paired:
    """The differences a - b over seeds; what cannot be known from so few pairs is NaN.

    Attributes:
        n: The number of pairs.
        mean: The mean difference.
        low: The lower end of its 95 % bootstrap interval.
        high: The upper end.
        p_value: Of the two-sided paired t test.
        effect_size: The mean in standard deviations of the differences, with Hedges' correction.
        probability: The share of pairs with a > b; ties count half.
    """

    n: int
    mean: float
    low: float
    high: float
    p_value: float
    effect_size: float
    probability: float


def paired(a: npt.ArrayLike, b: npt.ArrayLike) -> Paired:
    """Compare a with b, paired by position; pairs without two finite values are dropped.

    If all values of a are equal and so are all values of b, there is no spread for a t test. (This
    happens when every run of one setting reaches a target at the same evaluation and no run of the
    other does.) Then p is 2 * 4^-n: no distribution that a and b might share does this more often.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    there = np.isfinite(first) & np.isfinite(second)
    first, second = first[there], second[there]
    result = one_sample(first - second)
    if result.n > 1 and result.mean and np.ptp(first) == np.ptp(second) == 0:
        return replace(result, p_value=2.0 * 4.0**-result.n)
    return result


def one_sample(values: npt.ArrayLike) -> Paired:
    """Describe differences, or other values that are 0 when there is no effect.

    Differences that are all equal have no spread. Then the interval is a point, the effect size is
    infinite, and p is that of the sign-flip test, 2^(1 - n), because Student's test would claim
    certainty. If all are zero, p is 1 and the effect size 0.
    """
    d = _finite(values)
    n = len(d)
    if n == 0:
        return Paired(0, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan)
    mean = float(d.mean())
    probability = float((np.sign(d).mean() + 1) / 2)
    if n == 1:
        return Paired(1, mean, math.nan, math.nan, math.nan, math.nan, probability)
    if _without_spread(d):
        p_value = 2.0 ** (1 - n) if mean else 1.0
        effect = math.copysign(math.inf, mean) if mean else 0.0
        return Paired(n, mean, mean, mean, p_value, effect, probability)
    low, high = bootstrap_interval(d)
    p_value = float(stats.ttest_1samp(d, 0.0).pvalue)
    effect = mean / float(d.std(ddof=1)) * _hedges(n)
    return Paired(n, mean, low, high, p_value, effect, probability)


def bootstrap_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """95 % interval of the mean by the studentised bootstrap (Efron and Tibshirani 1993, 12.5).

    With 5 values, percentile and BCa intervals contain the true mean in only 82 to 84 % of cases,
    because no resample leaves the range of the data. The studentised interval contains it in 93 to
    95 %, and more often than Student's where the distribution is skewed. Resamples without spread
    have no t and are left out. t is cut off at Student's 99.95 % quantile; otherwise two values
    that nearly tie would make the interval endless. With fewer than 4 values there are too few
    distinct resamples, and the interval is Student's. The same values give the same interval.
    """
    d = _finite(values)
    n = len(d)
    if n < 2:
        return math.nan, math.nan
    mean = d.mean()
    error = d.std(ddof=1) / math.sqrt(n)
    if _without_spread(d):
        return float(mean), float(mean)
    if n < 4:
        half = float(special.stdtrit(n - 1, 0.975) * error)
        return float(mean - half), float(mean + half)
    counts, weights = _resamples(n)  # (R, n), (R,)
    z = (d - mean) / error
    means = counts @ z / n
    squares = counts @ z**2 / n - means**2
    spread = squares > 1e-9 * z.var()
    t = means[spread] * math.sqrt(n - 1) / np.sqrt(squares[spread])
    order = np.argsort(t)
    cumulative = np.cumsum(weights[spread][order])
    levels = np.array([0.025, 0.975]) * cumulative[-1] - 1e-12
    most = special.stdtrit(n - 1, 0.9995)
    first, last = np.clip(t[order][np.searchsorted(cumulative, levels)], -most, most)
    return float(mean - last * error), float(mean - first * error)


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjust p values by Holm's method (1979).

    The chance of any false one among those at or below 0.05 is then at most 5 %. NaN stays NaN and
    does not count as a test.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def equivalence(differences: npt.ArrayLike, margin: float) -> float:
    """The p value of two one-sided t tests (Schuirmann 1987), small if |mean| is below `margin`.

    It is NaN for fewer than two differences. If all are equal, it is that of the sign-flip test,
    2^-n, or 1 outside of the margin.

    Raises:
        ValueError: The margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin={margin}: must be above 0, in the unit of the differences")
    d = _finite(differences)
    if len(d) < 2:
        return math.nan
    if _without_spread(d):
        return 2.0 ** -len(d) if abs(d.mean()) < margin else 1.0
    above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(d, margin, alternative="less").pvalue
    return float(max(above, below))


def _finite(values: npt.ArrayLike) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    return data[np.isfinite(data)]


def _without_spread(d: Floats) -> bool:
    """Whether all values are equal except for rounding."""
    return bool(np.ptp(d) <= 1e-9 * np.abs(d).max())


def _hedges(n: int) -> float:
    """The factor that makes mean / deviation unbiased for normal values (Hedges 1981)."""
    if n < 3:
        return math.nan
    freedom = n - 1
    logarithm = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)
    return float(np.exp(logarithm) / math.sqrt(freedom / 2))


@lru_cache(maxsize=16)
def _resamples(n: int) -> tuple[Floats, Floats]:
    """How often each of n values occurs in each of R resamples (R, n), and their weights (R,)."""
    if n > MOST_ENUMERATED:
        sampled = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
        return sampled.astype(np.float64), np.full(RESAMPLES, 1 / RESAMPLES)
    # Stars and bars: n - 1 bars among 2n - 1 places distribute the n draws over the n values.
    bars = np.array(list(combinations(range(2 * n - 1), n - 1)))
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, 2 * n - 1)))
    counts = np.diff(edges, axis=1) - 1.0
    logarithms = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(axis=1) - n * np.log(n)
    return counts, np.exp(logarithms)
