"""Labels at line ends never overlap, and move as little as possible."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize

from lenet_bench.reporting.figures.labels import spread


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=30),
    st.floats(0.01, 0.2),
)
def test_spread_labels_keep_apart_in_order_and_in_bounds(wished: list[float], gap: float) -> None:
    placed = spread(wished, gap, -1.0, 1.0)
    order = np.argsort(wished, kind="stable")
    room = min(gap, 2.0 / max(len(wished) - 1, 1))
    assert all(np.diff(np.array(placed)[order]) >= room - 1e-9)
    assert min(placed) >= -1 - 1e-9
    assert max(placed) <= 1 + 1e-9


def test_spread_moves_nothing_that_is_apart_and_centres_a_tie() -> None:
    assert spread([0.5, 0.1], 0.2, 0.0, 1.0) == [0.5, 0.1]
    np.testing.assert_allclose(spread([0.5, 0.5, 0.5], 0.1, 0.0, 1.0), [0.4, 0.5, 0.6])
    assert spread([], 0.1, 0, 1) == []


def test_labels_move_as_little_as_the_quadratic_programme_allows() -> None:
    generator = np.random.default_rng(0)
    low, high = -1.0, 1.0
    for _ in range(60):
        count, gap = int(generator.integers(2, 7)), float(generator.uniform(0.05, 0.3))
        wished = np.sort(generator.uniform(-1.2, 1.2, count))

        def movement(
            x: NDArray[np.float64], wished: NDArray[np.float64] = wished
        ) -> tuple[float, NDArray[np.float64]]:
            return float(np.sum((x - wished) ** 2)), 2 * (x - wished)

        room = min(gap, (high - low) / (count - 1))
        differences = np.eye(count)[1:] - np.eye(count)[:-1]
        solution = minimize(
            movement,
            np.linspace(low, high, count),
            jac=True,
            bounds=[(low, high)] * count,
            constraints=LinearConstraint(differences, room, np.inf),
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(spread(wished.tolist(), gap, low, high), solution.x, atol=1e-6)
