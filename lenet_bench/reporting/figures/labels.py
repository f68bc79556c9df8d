"""Places for direct labels: wished positions in, positions that never overlap out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression


def spread(wished: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions as little as possible so that neighbours are `gap` apart within bounds.

    Least squares under the spacing constraint: with the i-th smallest position shifted by
    `-i * gap`, the constraint becomes "not decreasing", which is isotonic regression. When the
    bounds cannot hold all labels, the gap shrinks until they fit.
    """
    count = len(wished)
    if count == 0:
        return []
    if count > 1:
        gap = min(gap, (high - low) / (count - 1))
    positions = np.asarray(wished, dtype=np.float64)
    order = np.argsort(positions, kind="stable")
    shifts = gap * np.arange(count)
    level = isotonic_regression(positions[order] - shifts).x
    placed = np.empty(count)
    placed[order] = np.clip(level, low, high - shifts[-1]) + shifts
    return [float(position) for position in placed]
