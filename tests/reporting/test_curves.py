"""Averaging, smoothing and thinning."""

from __future__ import annotations

import numpy as np

from lenet_bench.reporting.figures.curves import (
    MOST_POINTS,
    average_runs,
    centred_mean,
    envelope,
    smoothing_window,
)


def test_smoothing_is_the_plain_mean_and_survives_a_spike() -> None:
    values = np.random.default_rng(0).normal(size=60)
    values[20] = 1e300
    smooth = centred_mean(values, np.arange(60), 5)
    assert smooth[0] == values[0]
    np.testing.assert_allclose(smooth[1], values[:3].mean())
    np.testing.assert_allclose(smooth[40], values[38:43].mean(), rtol=1e-14)
    np.testing.assert_allclose(smooth[-1], values[-3:].mean())
    assert [smoothing_window(n) for n in (0, 20, 780, 2000, 40_000)] == [1, 1, 19, 25, 501]


def test_thinning_keeps_the_extremes() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    x, y = envelope(np.arange(5000.0), values)
    assert len(y) <= MOST_POINTS
    assert (y.min(), y.max()) == (values.min(), values.max())
    np.testing.assert_array_equal(y, values[x.astype(int)])


def test_a_curve_is_the_mean_over_its_runs_and_marks_where_one_stopped() -> None:
    x = np.arange(1.0, 101.0)
    series = {"a": (x, np.full(100, 1.0)), "b": (x, np.full(100, 3.0))}
    series["c"] = (x[:50], np.append(np.full(49, 2.0), np.nan))
    found = average_runs(series, frozenset("abc"), frozenset("c"), window=5)
    assert found is not None
    np.testing.assert_allclose(found.mean, 2.0)
    assert found.stops == ((49.0, 2.0),)
    assert (found.runs, found.diverged) == (3, 1)
    assert average_runs({}, frozenset("a"), frozenset(), 1) is None
