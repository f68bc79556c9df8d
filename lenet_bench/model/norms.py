"""Batch normalisation of N LeNets: each channel of each run by itself.

In: N plain LeNets; values of a layer of all runs. Out: the values normalised, and running
statistics that are updated while the runs learn.

Letters in shapes: N runs in the stack, B images in a batch, C channels or units of a layer in one
run, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_bench.model.lenet import LeNet
from lenet_bench.model.parameters import StackedParameters

MOMENTUM = 0.1  # torch's default, as in the plain LeNet
EPS = 1e-5


class StackedNorms:
    """The batch norms of all layers and runs of a stack; none if the models have none.

    Args:
        models: The plain LeNets; their running statistics are copied.
        parameters: Theirs, stacked.
    """

    def __init__(self, models: Sequence[LeNet], parameters: StackedParameters) -> None:
        device = parameters.values.device
        self._runs = len(models)
        self._units = models[0].units
        self._scales = {
            layer: (
                parameters.leaf(f"norms.{layer}.weight", slice(None)),  # (N, C)
                parameters.leaf(f"norms.{layer}.bias", slice(None)),
            )
            for layer in models[0].norms
        }
        self._statistics: dict[str, tuple[Tensor, Tensor]] = {}  # running mean, variance: (N*C,)
        for layer in models[0].norms:
            buffers = [dict(model.norms[layer].named_buffers()) for model in models]
            self._statistics[layer] = (
                torch.cat([each["running_mean"] for each in buffers]).to(device),
                torch.cat([each["running_var"] for each in buffers]).to(device),
            )
        # What batch norm calls num_batches_tracked; a tensor, so that a captured step counts too.
        self._steps = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def state(self) -> dict[str, Tensor]:
        """The running statistics of all runs, and how often they were updated."""
        state = {"steps": self._steps}
        for layer, (mean, variance) in self._statistics.items():
            state |= {f"{layer}.mean": mean, f"{layer}.variance": variance}
        return state

    def count_step(self) -> None:
        """Count one more update of the running statistics."""
        self._steps.add_(1)

    def apply(self, layer: str, x: Tensor, *, training: bool, learning: bool) -> Tensor:
        """Normalise the values of a layer.

        Args:
            layer: Its name.
            x: (B, N*C, H, W) or (N, B, C).
            training: By the statistics of the batch itself, not by the running ones.
            learning: Update the running statistics.

        Returns:
            The same shape and type.
        """
        mean, variance = self._statistics[layer]
        scale, shift = self._scales[layer]
        flat = x if x.dim() == 4 else x.transpose(0, 1).flatten(1)  # (B, N*C, ...)
        needs_statistics = learning or not training
        result = F.batch_norm(
            flat.to(mean.dtype),
            mean if needs_statistics else None,
            variance if needs_statistics else None,
            scale.flatten(),
            shift.flatten(),
            training=training,
            momentum=MOMENTUM,
            eps=EPS,
        ).to(x.dtype)
        if x.dim() == 4:
            return result
        return result.view(len(result), self._runs, -1).transpose(0, 1)

    def state_dict(self, run: int) -> dict[str, Tensor]:
        """Copy the running statistics of one run to the CPU, under their plain names."""
        state = {}
        for layer, (mean, variance) in self._statistics.items():
            channels = slice(run * self._units[layer], (run + 1) * self._units[layer])
            state[f"norms.{layer}.running_mean"] = mean[channels].cpu().clone()
            state[f"norms.{layer}.running_var"] = variance[channels].cpu().clone()
            state[f"norms.{layer}.num_batches_tracked"] = self._steps.cpu().clone()
        return state
