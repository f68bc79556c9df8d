"""Where each parameter of a plain LeNet lies in a row of a stack's buffer.

In: a plain LeNet. Out: a slot for each of its parameters, by name.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from lenet_bench.model.lenet import LeNet

ACTIVATION_PREFIX = "activations."  # of the names of parameters that an activation learns


class Slot(NamedTuple):
    """The neighbouring columns that hold one parameter."""

    offset: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """The column behind the last one."""
        return self.offset + torch.Size(self.shape).numel()

    @property
    def columns(self) -> slice:
        """All its columns."""
        return slice(self.offset, self.end)


def layout(model: LeNet) -> dict[str, Slot]:
    """Assign columns to every parameter.

    Runs of a stack may differ in what their activations learn. Those parameters come last, so
    that all others have the same columns in every run.
    """
    parameters = dict(model.named_parameters())
    slots: dict[str, Slot] = {}
    offset = 0
    for name in sorted(parameters, key=lambda name: name.startswith(ACTIVATION_PREFIX)):
        slots[name] = Slot(offset, tuple(parameters[name].shape))
        offset = slots[name].end
    return slots
