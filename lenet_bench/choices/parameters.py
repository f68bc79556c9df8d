"""One number or switch that a user may set: its default, its meaning, its allowed values.

In: a value that a user gave. Out: what is wrong with it, if anything. The tables of activations,
initial weights, optimizers and schedules list their parameters in this form, and the configuration
schema checks values against them. Nothing here needs torch, so that a mistake is reported at once.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Parameter:
    """A setting with a default, a meaning and an allowed range.

    Attributes:
        default: The value when the user gives none; its type (bool, int or float) is the
            parameter's kind.
        meaning: One line for the help text.
        low: The smallest allowed value.
        high: The largest allowed value.
        low_open: Whether `low` itself is refused.
        high_open: Whether `high` itself is refused.
    """

    default: float | int | bool
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    @property
    def kind(self) -> type[bool | int | float]:
        """The type of the values: bool, int or float."""
        return type(self.default)

    @property
    def allowed(self) -> str:
        """What the values may be, in words: "a number in [0, 1)", "an integer >= 1"."""
        if self.kind is bool:
            return "true or false"
        noun = "an integer" if self.kind is int else "a finite number"
        if math.isinf(self.low) and math.isinf(self.high):
            return noun
        noun = noun.replace("finite ", "")
        if math.isinf(self.high):
            return f"{noun} {'>' if self.low_open else '>='} {self.low:g}"
        if math.isinf(self.low):
            return f"{noun} {'<' if self.high_open else '<='} {self.high:g}"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"{noun} in {left}{self.low:g}, {self.high:g}{right}"

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value.

        A bool is not a number, NaN and infinity are refused, and an integer is fine where a
        float is asked for.

        Returns:
            A phrase such as "must be a number in [0, 1)", to follow the parameter's name; None
            if the value is allowed.
        """
        return None if self._allows(value) else f"must be {self.allowed}"

    def _allows(self, value: object) -> bool:
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        if not isinstance(value, int if self.kind is int else (int, float)):
            return False
        # Comparisons instead of math.isfinite: an int may be too large for a float.
        if not -_LARGEST <= value <= _LARGEST:
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below
