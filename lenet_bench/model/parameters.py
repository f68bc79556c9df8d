"""The parameters of N LeNets in one buffer, and their gradients in another.

In: N initialised plain LeNets; later, losses. Out: leaves that autograd differentiates by, which
are views of the buffer; gradients in the same layout; the parameters of one run under their plain
names.

Letters in shapes: N runs in the stack, P columns of a run, n neighbouring runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lenet_bench.model.layout import ACTIVATION_PREFIX, layout
from lenet_bench.model.lenet import LeNet


class StackedParameters:
    """The parameters of all runs of a stack.

    Args:
        models: The plain LeNets, of one architecture; their parameters are copied.
        device: Where the buffers live.

    Attributes:
        values: (N, P), a row per run: all of its parameters. A run whose activation learns less
            than another's has unused columns at the end.
        gradients: (N, P), filled by `backward`.
        decay_mask: (N, P), 0 where weight decay must not pull: what the activations learn.
    """

    def __init__(self, models: Sequence[LeNet], device: torch.device) -> None:
        self._slots = [layout(model) for model in models]
        width = max(slot.end for slots in self._slots for slot in slots.values())
        dtype = models[0].conv1.weight.dtype
        self.values = torch.zeros(len(models), width, dtype=dtype, device=device)
        self.gradients = torch.zeros_like(self.values)
        self.decay_mask = torch.ones_like(self.values)
        self._leaves: list[Tensor] = []
        self._leaf_gradients: list[Tensor] = []  # where the gradient of each leaf goes
        for run, (model, slots) in enumerate(zip(models, self._slots, strict=True)):
            for name, parameter in model.named_parameters():
                columns = slots[name].columns
                self.values[run, columns] = parameter.detach().flatten()
                if name.startswith(ACTIVATION_PREFIX):
                    self.decay_mask[run, columns] = 0

    def columns(self, name: str, run: int = 0) -> slice:
        """The columns of a parameter in a run, which are the same in all runs for most."""
        return self._slots[run][name].columns

    def leaf(self, name: str, runs: slice | int) -> Tensor:
        """Return a leaf of autograd that views a parameter of neighbouring runs.

        Call it once for each parameter and run, before the first `backward`.

        Returns:
            (n, *shape) for a slice of n runs, (*shape) for a single run.
        """
        first = runs if isinstance(runs, int) else range(len(self._slots))[runs][0]
        slot = self._slots[first][name]
        values, gradients = self.values[runs, slot.columns], self.gradients[runs, slot.columns]
        shape = (*values.shape[:-1], *slot.shape)
        leaf = values.view(shape).detach().requires_grad_()
        self._leaves.append(leaf)
        self._leaf_gradients.append(gradients.view(shape))
        return leaf

    def backward(self, losses: Tensor) -> None:
        """Fill `gradients` with those of each run's own loss, (N,)."""
        # Each loss depends on its run's parameters alone, so the sum keeps gradients apart.
        gradients = torch.autograd.grad(losses.sum(), self._leaves, allow_unused=True)
        for target, gradient in zip(self._leaf_gradients, gradients, strict=True):
            if gradient is None:  # a user's own module may not use all it has
                target.zero_()
            else:
                target.copy_(gradient)

    def state_dict(self, run: int) -> dict[str, Tensor]:
        """Copy the parameters of one run to the CPU, under their names in the plain LeNet."""
        return {
            name: self.values[run, slot.columns].view(slot.shape).cpu().clone()
            for name, slot in self._slots[run].items()
        }
