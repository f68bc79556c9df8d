"""What is measured: anything that can be started, timed once a round, and stopped.

In: nothing. Out: the vocabulary that peers, sweeps, rounds and tables share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Measurement:
    """One round of one contender.

    Attributes:
        milliseconds: Wall time per model and iteration; of the floor, of the arithmetic alone.
        rate: Floating-point operations per second, where that is what was measured.
        startup: Seconds from starting the processes to the first timed iteration, where this round
            started them.
        other_load: Cores that other processes kept busy just before.
    """

    milliseconds: float
    rate: float | None = None
    startup: float | None = None
    other_load: float | None = None


class Contender(Protocol):
    """A way to train, or to multiply matrices."""

    method: str  # what it is a variant of: `torch_func`
    label: str  # which variant: `torch.func, vmap of 8`
    models: int  # trained at the same time

    def start(self) -> None:
        """Begin and warm up."""

    def measure(self) -> Measurement:
        """Time some iterations while nothing else runs."""

    def losses(self) -> Sequence[Sequence[float]]:
        """Training losses (nats) of each comparable model, from its first iteration on."""

    def stop(self) -> None:
        """End whatever was started."""


class ContenderError(Exception):
    """A contender that cannot go on; the others can."""
