"""Places for direct labels: wished positions in, positions that never overlap out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(wished: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions as little as possible so that neighbours are `gap` apart within bounds.

    Least squares under the spacing constraint: with the i-th smallest position shifted by
    `-i * gap` the constraint becomes "not decreasing", which pooling adjacent violators (Ayer
    et al. 1955) solves exactly. When the bounds cannot hold all, the gap shrinks to fit.
    """
    count = len(wished)
    if count == 0:
        return []
    if count > 1:
        gap = min(gap, (high - low) / (count - 1))
    order = np.argsort(np.asarray(wished, dtype=np.float64), kind="stable")
    shifts = gap * np.arange(count)
    pools: list[tuple[float, int]] = []  # mean, size
    for position in np.asarray(wished, dtype=np.float64)[order] - shifts:
        mean, size = float(position), 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean = (before * members + mean * size) / (members + size)
            size += members
        pools.append((mean, size))
    level = np.repeat([mean for mean, _ in pools], [size for _, size in pools])
    placed = np.clip(level, low, high - shifts[-1]) + shifts
    result = np.empty(count)
    result[order] = placed
    return [float(position) for position in result]
