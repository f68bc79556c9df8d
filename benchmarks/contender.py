"""A contender is what a benchmark measures: it can be started, timed once a round, and stopped.

In: nothing. Out: the types that peers, sweeps, rounds and tables share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Measurement:
    """One round of one contender.

    Attributes:
        milliseconds: Wall time per model and iteration. For the floor, the time of the arithmetic.
        rate: Floating-point operations per second, if that was measured.
        startup: Seconds from starting the processes to the first timed iteration, if this round
            started them.
        other_load: How many cores other processes kept busy just before.
    """

    milliseconds: float
    rate: float | None = None
    startup: float | None = None
    other_load: float | None = None


class Contender(Protocol):
    """A way to train, or to multiply matrices."""

    method: str  # such as `torch_func`
    label: str  # names the variant of the method: `torch.func, vmap of 8`
    models: int  # how many are trained at the same time

    def start(self) -> None:
        """Start and warm up."""

    def measure(self) -> Measurement:
        """Time some iterations. Nothing else runs meanwhile."""

    def losses(self) -> Sequence[Sequence[float]]:
        """Training losses (nats) of each model that can be compared, from the first iteration."""

    def stop(self) -> None:
        """End all processes that were started."""


class ContenderError(Exception):
    """A contender cannot go on. The others can."""
