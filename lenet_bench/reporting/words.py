"""How values are written in every table: p values, and the dash where there is no value."""

from __future__ import annotations

import math

NOTHING = "\N{EN DASH}"


def p_value(p: float, sign: bool = False) -> str:
    """A p value with two digits, or `< 0.0001`; with `sign` also `= 0.012`."""
    if math.isnan(p):
        return NOTHING
    if p < 1e-4:
        return "< 0.0001"
    return f"{'= ' if sign else ''}{p:.2g}"
