"""Paired statistics over seeds: values of two settings in, a verdict's numbers out.

The same seed gives the same initial weights and batches to every activation, so that runs pair by
seed and a difference is judged by its spread over seeds. Numbers in, numbers out: which runs are
compared, and what is said of it, is for `lenet_bench.analysis.comparisons`.
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
"""Fewer pairs give numbers but no verdict."""

MOST_ENUMERATED = 8
"""Up to this many pairs every resample is taken (6,435 that differ, of 8^8), else a sample."""

RESAMPLES = 10_000


@dataclass(frozen=True)
class Paired:
    """a - b over seeds.

    `n` pairs; `mean` of the differences with its 95 % bootstrap interval from `low` to
    `high`; `p_value` of the two-sided paired t test; `effect_size`, the mean in standard
    deviations of the differences with Hedges' correction; `probability` that a > b, the share
    of pairs, of which ties count half. What cannot be known from so few pairs is NaN.
    """

    n: int
    mean: float
    low: float
    high: float
    p_value: float
    effect_size: float
    probability: float


def paired(a: npt.ArrayLike, b: npt.ArrayLike) -> Paired:
    """Compare a with b, paired by position; pairs that lack a finite value are dropped.

    Where all of a are one value and all of b another (say, every run of one setting reached a
    target at the same evaluation and none of the other ever did), there is no spread for a t test,
    and p is 2 * 4^-n: no distribution that a and b might share does this more often.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    there = np.isfinite(first) & np.isfinite(second)
    first, second = first[there], second[there]
    found = one_sample(first - second)
    if found.n > 1 and found.mean and np.ptp(first) == np.ptp(second) == 0:
        return replace(found, p_value=2.0 * 4.0**-found.n)
    return found


def one_sample(values: npt.ArrayLike) -> Paired:
    """The same for ready-made differences, or whatever else is 0 when there is no effect.

    Differences that are all equal leave nothing to estimate a spread from: the interval is the
    point, the effect size infinite, and p is that of the sign-flip test, 2^(1 - n), since Student's
    would claim certainty; all zero, p is 1 and the effect size 0.
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

    The percentile and BCa intervals of 5 values hold the true mean in 82 to 84 % of cases, since
    no resample leaves the data's range; the studentised one does in 93 to 95 %, and where the
    distribution is skewed more often than Student's. Resamples without spread have no t and are
    left out, and t is cut off at Student's 99.95 % quantile: two values that nearly tie would
    otherwise make the interval endless. Below 4 values there are too few distinct resamples, and
    the interval is Student's. The same values give the same interval.
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
    """Holm's (1979) adjusted p values: at most 5 % chance of any false one among those <= 0.05.

    NaN is no test: it stays NaN and is not counted.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def equivalence(differences: npt.ArrayLike, margin: float) -> float:
    """Two one-sided t tests (Schuirmann 1987): a p value, small when |mean| is below `margin`.

    NaN for fewer than two differences. When all are equal it is the sign-flip test's 2^-n, or 1
    outside of the margin.

    Raises:
        ValueError: the margin is not positive.
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
    """All equal, but for rounding."""
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
        drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
        return drawn.astype(np.float64), np.full(RESAMPLES, 1 / RESAMPLES)
    # Stars and bars: n - 1 bars among 2n - 1 places part the n draws between the n values.
    bars = np.array(list(combinations(range(2 * n - 1), n - 1)))
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, 2 * n - 1)))
    counts = np.diff(edges, axis=1) - 1.0
    logarithms = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(axis=1) - n * np.log(n)
    return counts, np.exp(logarithms)
