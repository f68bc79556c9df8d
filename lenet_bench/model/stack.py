"""N LeNets trained as one program: the stack, layer for layer beside the plain `LeNet`.

In: N initialised plain LeNets of one architecture, each with its activation, and batches of
images. Out: the logits of all of them, gradients in one buffer, and plain state dicts again.

Letters in shapes: N runs in the stack, n runs of a group, B images in a batch, C channels or units
of a layer in one run, H and W height and width.

Feature maps of all runs lie side by side as channels, (B, N*C, H, W) in channels_last memory, so
that the first convolution of runs that share a batch is one dense convolution and the second a
grouped one; fully connected layers are batched products (N, B, C). Every operation keeps the runs
apart: no run's NaN can reach another.

Max pooling comes before the activation, which then has a quarter of the values to work on. That
changes nothing: an activation that never decreases takes its maximum over a window at the window's
largest value, and one that falls and then rises at the largest or at the smallest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_bench.common.layers import LOGITS
from lenet_bench.model.activate import StackedActivations
from lenet_bench.model.convolutional import (
    Batch,
    Kernels,
    first_convolution,
    first_convolution_pooled,
    second_convolution_pooled,
)
from lenet_bench.model.groups import Group, RunActivation, group_runs, join_small_groups
from lenet_bench.model.lenet import LeNet
from lenet_bench.model.norms import StackedNorms
from lenet_bench.model.parameters import StackedParameters


class Observer(Protocol):
    """What a probe looks with: called for every hidden layer and group of a forward pass."""

    def __call__(self, layer: str, group: Group, preactivation: Tensor, activation: Tensor) -> None:
        """See the values of a group's n runs before pooling: (B, n*C, H, W) or (n, B, C)."""


class _Mode(NamedTuple):
    """What a forward pass is for."""

    training: bool  # batch norm by the batch's own statistics
    learning: bool  # running statistics are updated, noise is drawn
    observer: Observer | None


class Stack:
    """N LeNets of one architecture.

    Args:
        models: The plain LeNets, initialised; their parameters are copied.
        activations: The activation of each.
        device: Where the stack lives.
        compute: The type that forward and backward passes compute in; parameters keep the type
            of the models.

    Attributes:
        runs: N.
        parameters: (N, P), a row per run: all of its parameters. A run whose activation learns
            less than another's has unused columns at the end.
        gradients: (N, P), filled by `backward`.
        decay_mask: (N, P), 0 where weight decay must not pull: what the activations learn.
        activations: The activation functions of all runs.
    """

    def __init__(
        self,
        models: Sequence[LeNet],
        activations: Sequence[RunActivation],
        *,
        device: torch.device,
        compute: torch.dtype,
    ) -> None:
        first = models[0]
        self.runs = len(models)
        self.hidden_layers = first.hidden_layers
        self.weighted_layers = first.weighted_layers
        self.units = first.units
        self.batch_norm = first.batch_norm
        self.compute = compute
        self._max_pool = isinstance(first.pool, nn.MaxPool2d)

        self._parameters = StackedParameters(models, device)
        self.parameters = self._parameters.values
        self.gradients = self._parameters.gradients
        self.decay_mask = self._parameters.decay_mask
        everyone = slice(None)
        self._weights = {
            layer: self._parameters.leaf(f"{layer}.weight", everyone)
            for layer in self.weighted_layers
        }
        self._biases = {
            layer: self._parameters.leaf(f"{layer}.bias", everyone)
            for layer in self.weighted_layers
        }
        self._norms = StackedNorms(models, self._parameters)
        groups = group_runs(activations, models)
        self.activations = StackedActivations(models, activations, groups, self._parameters)
        # A GPU has the memory for the copies, and rather launches few kernels.
        one = [slice(0, len(groups))]
        self._joined = join_small_groups(groups) if device.type == "cpu" else one
        self._pools_first = (
            self._max_pool
            and self.batch_norm == "none"
            and all(activation.may_pool_first for activation in activations)
        )

    # --- what is kept for each run --------------------------------------------------------------

    def columns(self, layer: str) -> slice:
        """The columns of `parameters` and `gradients` that hold a layer's weight."""
        return self._parameters.columns(f"{layer}.weight")

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors that training changes: parameters and running statistics of all runs."""
        norms = {f"norms.{name}": tensor for name, tensor in self._norms.state.items()}
        return {"parameters": self.parameters, **norms}

    def state_dict(self, run: int) -> dict[str, Tensor]:
        """Copy the state dict of one run's plain `LeNet` to the CPU."""
        return {
            **self._parameters.state_dict(run),
            **self._norms.state_dict(run),
            **self.activations.state_dict(run),
        }

    # --- forward and backward ---------------------------------------------------------------------

    def forward(
        self, batches: Sequence[Batch], *, training: bool, observing: bool = False
    ) -> Tensor:
        """Map images to the logits (N, B, classes) of all runs.

        Args:
            batches: The images; together they serve each of the N runs once.
            training: Batch norm by the batch's own statistics; its running statistics are updated
                and noise is drawn.
            observing: As in training, but no state changes and no noise is drawn.
        """
        mode = _Mode(training or observing, training and not observing, observer=None)
        return self._fully_connected(self._convolutional(batches, mode), mode)

    def observe(self, chunks: Iterable[Tensor], observer: Observer) -> None:
        """Show every hidden layer to an observer, without a gradient; no state changes.

        Args:
            chunks: Images (B, C, H, W) that all runs share. The convolutional layers see chunk
                after chunk, the fully connected ones all of them at once.
            observer: What looks on.
        """
        mode = _Mode(training=True, learning=False, observer=observer)
        with torch.no_grad():
            features = [
                self._convolutional([Batch(images, range(self.runs))], mode) for images in chunks
            ]
            if self.batch_norm == "none":
                features = [torch.cat(features, 1)]
            for chunk in features:
                self._fully_connected(chunk, mode)

    def backward(self, losses: Tensor) -> None:
        """Fill `gradients` with those of each run's own loss, (N,)."""
        self._parameters.backward(losses)

    def _convolutional(self, batches: Sequence[Batch], mode: _Mode) -> Tensor:
        """Map images to the features (N, B, C*H*W) that the fully connected layers receive."""
        if mode.learning:
            self._norms.count_step()
        conv1, conv2 = self._kernels("conv1"), self._kernels("conv2")
        if self._pools_first and mode.observer is None:
            activate = self.activations.apply
            maps = first_convolution_pooled(batches, conv1, self.activations)
            maps = activate("conv1", maps, learning=mode.learning)  # per group (B, n*C, H, W)
            maps = second_convolution_pooled(maps, conv2, self.activations, self._joined)
            maps = activate("conv2", maps, learning=mode.learning)
            return torch.cat([self._flatten(part) for part in maps])
        z = first_convolution(batches, conv1, self.runs)
        x = self._after_weights("conv1", z, mode)  # (B, N*C, H, W)
        z = F.conv2d(x, conv2.weight, conv2.bias, groups=self.runs)
        return self._flatten(self._after_weights("conv2", z, mode))

    def _fully_connected(self, x: Tensor, mode: _Mode) -> Tensor:
        """Map features (N, B, C*H*W) to logits (N, B, classes)."""
        for layer in self.hidden_layers[2:]:
            x = self._after_weights(layer, self._linear(layer, x), mode)  # (N, B, C)
        return self._linear(LOGITS, x)

    def _kernels(self, layer: str) -> Kernels:
        weight = self._weights[layer].flatten(0, 1)  # (N*C, C_in, 5, 5)
        return Kernels(
            weight.to(self.compute, memory_format=torch.channels_last),
            self._biases[layer].flatten().to(self.compute),
        )

    def _linear(self, layer: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[layer], self._biases[layer]  # (N, C, C_in), (N, C)
        return torch.baddbmm(
            bias.unsqueeze(1).to(self.compute), x, weight.transpose(1, 2).to(self.compute)
        )

    def _flatten(self, maps: Tensor) -> Tensor:
        """(B, n*C, H, W) of n runs, behind the second layer, to (n, B, C*H*W)."""
        b, _, h, w = maps.shape
        each = maps.reshape(b, -1, self.units["conv2"], h, w).transpose(0, 1)
        return each.reshape(len(each), b, -1)

    def _after_weights(self, layer: str, z: Tensor, mode: _Mode) -> Tensor:
        """Norm, activation and pooling in the order of the plain LeNet, or an equivalent one.

        Args:
            layer: The hidden layer.
            z: What its weights put out, (B, N*C, H, W) or (N, B, C).
            mode: What the pass is for.
        """
        if self.batch_norm == "before":
            z = self._norm(layer, z, mode)
        parts = self.activations.split(layer, z)
        activated = self.activations.apply(layer, parts, learning=mode.learning)
        if mode.observer is not None:
            for group, part, h in zip(self.activations.groups, parts, activated, strict=True):
                mode.observer(layer, group, part, h)
        pools = layer.startswith("conv")
        if pools and self.batch_norm != "after":
            return _join([self._pool(h) for h in activated])
        h = _join(activated)
        if self.batch_norm == "after":
            h = self._norm(layer, h, mode)
        return self._pool(h) if pools else h

    def _norm(self, layer: str, x: Tensor, mode: _Mode) -> Tensor:
        return self._norms.apply(layer, x, training=mode.training, learning=mode.learning)

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self._max_pool else F.avg_pool2d(x, 2)


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Lay the values of groups side by side: (B, N*C, H, W) or (N, B, C)."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat(list(parts), 1 if parts[0].dim() == 4 else 0)
