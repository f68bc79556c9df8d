"""What a probe measures: dead, dormant, saturated and zero fractions, moments and norms per layer.

In: a stack, and the probe set, a fixed sample of training images. Out: rows of `layers.csv` for
each run. Training goes on as if nothing had been measured: no noise is drawn, no running statistic
is updated, and the gradients are those of the probe set.

The probe set passes a few images at a time, so that all that is counted stays in a core's cache;
with batch norm in chunks of about the batch size, by the statistics of the chunk, as in training.

Letters in shapes: N runs in the stack, n runs of a group, B images, C units of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from lenet_bench.model.convolutional import Batch
from lenet_bench.model.groups import Group
from lenet_bench.model.loss import cross_entropy
from lenet_bench.model.stack import Stack
from lenet_bench.records.schema import LayerRow

CACHED_ELEMENTS = 1 << 21  # of the first layer's values that are worked on at a time on a CPU

T = TypeVar("T")


class Sums(NamedTuple):
    """What adds up over the inputs of each unit, (N, C) or (n, C).

    The inputs of a unit are the images and, in a feature map, the positions: z is the
    pre-activation at one of them and h = f(z).
    """

    alive: Tensor  # inputs with f'(z) other than 0
    saturated: Tensor  # inputs with |f'(z)| below the limit, or 0
    nonzero: Tensor  # inputs with h other than 0
    magnitude: Tensor  # |h|
    h: Tensor
    h_squared: Tensor
    z: Tensor
    z_squared: Tensor


class Described(NamedTuple, Generic[T]):
    """A layer in numbers, as `LayerRow` has them: tensors (N,) of all runs, or floats of one."""

    dead_fraction: T
    dormant_fraction: T
    saturated_fraction: T
    zero_fraction: T
    activation_mean: T
    activation_std: T
    preactivation_mean: T
    preactivation_std: T


class Probe:
    """Measures the hidden layers of a stack on a probe set.

    Args:
        stack: What is measured.
        images: Standardised images (B, C, H, W) of the probe set, in channels_last memory.
        labels: (B,).
        batch_size: About how many images pass at once.
        tau: A unit is dormant whose score is at or below this: its mean |h| over the layer's mean
            of that (Sokar et al. 2023, The dormant neuron phenomenon in deep reinforcement
            learning, arXiv:2302.12902, definition 3.1).
        saturation: A pair of unit and input is saturated where |f'(z)| is 0, or below this share
            of sup |f'|. Left empty where the supremum is infinite or unknown.

    Attributes:
        dead_before: The units (N, C) of each layer that were dead at the last probe.
    """

    def __init__(
        self,
        stack: Stack,
        images: Tensor,
        labels: Tensor,
        *,
        batch_size: int,
        tau: float,
        saturation: float,
    ) -> None:
        self._stack = stack
        self._everyone = range(stack.runs)
        self._images, self._labels = images, labels
        self._batch_size = batch_size
        self._tau = tau
        self._saturation = saturation
        self._wide = torch.float32 if images.device.type == "mps" else torch.float64
        self.dead_before: dict[str, Tensor] = {}

    def _chunks(self) -> Iterator[Tensor]:
        most = self._batch_size
        if self._stack.batch_norm == "none" and self._images.device.type == "cpu":
            positions = self._images.shape[2] * self._images.shape[3]
            units = self._stack.runs * self._stack.units["conv1"]
            most = max(1, CACHED_ELEMENTS // (positions * units))
        yield from self._images.tensor_split(-(-len(self._images) // most))

    def measure(self, iteration: int) -> list[list[LayerRow]]:
        """Probe all layers now.

        Returns:
            For each run, the rows of `layers.csv`: one per hidden layer, and one for the logits,
            which have no units and so only norms. `gradient_norm` is that of the mean loss over
            the probe set's first chunk, with respect to the layer's weight.
        """
        stack = self._stack
        shape = len(Sums._fields), stack.runs
        sums = {
            layer: torch.zeros(*shape, units, dtype=self._wide, device=self._images.device)
            for layer, units in stack.units.items()
        }  # (8, N, C), the fields of `Sums`
        inputs = dict.fromkeys(stack.units, 0)  # of each unit
        max_slopes = {
            layer: [stack.activations.max_slope(layer, run) for run in range(stack.runs)]
            for layer in stack.units
        }

        def observe(layer: str, group: Group, preactivation: Tensor, activation: Tensor) -> None:
            runs = slice(group.start, group.stop)
            each = preactivation.numel() // sums[layer][0, runs].numel()
            limits = [self._saturation * slope for slope in max_slopes[layer][runs]]
            counted = self._count(layer, group, preactivation, activation, each, limits)
            sums[layer][:, runs] += torch.stack(counted)
            if group.start == 0:  # all groups see the same number
                inputs[layer] += each

        stack.observe(self._chunks(), observe)
        # Gradients cost twice the pass, so the size of a mini-batch has to do.
        first = Batch(self._images[: self._batch_size], self._everyone)
        labels = self._labels[: self._batch_size].expand(stack.runs, -1)
        logits = stack.forward([first], training=True, observing=True)
        stack.backward(cross_entropy(logits, labels))

        rows: list[list[LayerRow]] = [[] for _ in range(stack.runs)]
        for layer in stack.weighted_layers:
            if layer in sums:
                layer_rows = self._rows(
                    iteration, layer, Sums(*sums[layer]), inputs[layer], max_slopes[layer]
                )
            else:
                layer_rows = self._rows_of_logits(iteration, layer)
            for run, row in enumerate(layer_rows):
                rows[run].append(row)
        return rows

    def _count(
        self,
        layer: str,
        group: Group,
        z: Tensor,
        h: Tensor,
        inputs: int,
        limits: Sequence[float],
    ) -> Sums:
        """Add up a chunk for n runs.

        Args:
            layer: Where the values stand.
            group: The runs.
            z: Pre-activations, (B, n*C, H, W) or (n, B, C).
            h: f(z), likewise.
            inputs: Of each unit in this chunk.
            limits: The |f'(z)| of each run below which an input is saturated.
        """
        slope = self._stack.activations.slope(layer, group, z)
        if z.dtype == torch.bfloat16:  # too few digits for a sum
            z, h, slope = z.float(), h.float(), slope.float()
        limit: Tensor | float = limits[0]
        if any(each != limit for each in limits):  # learned slopes
            limit = torch.tensor(limits, dtype=z.dtype, device=z.device)
            if z.dim() == 4:
                limit = limit.repeat_interleave(self._stack.units[layer])
            limit = limit.view(-1, 1, 1)
        # Flags are written as 0.0 and 1.0 into one buffer: a boolean tensor costs several times
        # the time, to make as much as to count.
        flags = torch.empty_like(z)
        count = partial(self._per_unit, layer)

        def moments(x: Tensor) -> tuple[Tensor, Tensor]:
            """Sums of x and of its square, the second with all its digits where x hardly varies."""
            total = count(x)
            mean = (total / inputs).to(x.dtype)
            torch.sub(x, mean.view(-1, 1, 1) if x.dim() == 4 else mean.unsqueeze(1), out=flags)
            return total, count(flags.square_()) + total.square() / inputs

        by_h, by_h_squared = moments(h)
        by_z, by_z_squared = moments(z)
        alive = count(torch.ne(slope, 0, out=flags))
        below = count(torch.lt(slope, limit, out=flags))
        return Sums(
            alive=alive,
            # Where f' is 0 throughout, no number lies below a share of its maximum.
            saturated=torch.maximum(below, inputs - alive),
            nonzero=count(torch.ne(h, 0, out=flags)),
            magnitude=by_h if group.never_negative else count(torch.abs(h, out=flags)),
            h=by_h,
            h_squared=by_h_squared,
            z=by_z,
            z_squared=by_z_squared,
        )

    def _per_unit(self, layer: str, x: Tensor) -> Tensor:
        """Sum over the inputs of each unit: (B, n*C, H, W) or (n, B, C) to (n, C)."""
        # A chunk has few enough terms for single precision; chunks are added up in double.
        each = x.sum(1) if x.dim() == 3 else x.sum((0, 2, 3))
        return each.view(-1, self._stack.units[layer]).to(self._wide)

    def _rows(
        self, iteration: int, layer: str, sums: Sums, inputs: int, max_slopes: Sequence[float]
    ) -> list[LayerRow]:
        """The row of each run for a hidden layer."""
        # Units with non-finite values are not counted as dead; NaN has the sign 0.
        can_die = self._stack.activations.can_die(layer).to(sums.alive.device)
        dead = (sums.alive == 0) & can_die & sums.z.isfinite()
        before = self.dead_before.get(layer, dead)
        self.dead_before[layer] = dead
        died = (dead & ~before).sum(1).tolist()
        revived = (before & ~dead).sum(1).tolist()
        described = self._describe(sums, dead, inputs)
        return [
            LayerRow(
                iteration=iteration,
                layer=layer,
                units=self._stack.units[layer],
                dead_fraction=of_run.dead_fraction,
                dormant_fraction=of_run.dormant_fraction,
                saturated_fraction=(
                    of_run.saturated_fraction if math.isfinite(max_slopes[run]) else None
                ),
                zero_fraction=of_run.zero_fraction,
                died=died[run],
                revived=revived[run],
                activation_mean=of_run.activation_mean,
                activation_std=of_run.activation_std,
                preactivation_mean=of_run.preactivation_mean,
                preactivation_std=of_run.preactivation_std,
                weight_norm=weight_norm,
                gradient_norm=gradient_norm,
            )
            for run, (of_run, (weight_norm, gradient_norm)) in enumerate(
                zip(described, self._norms(layer), strict=True)
            )
        ]

    def _rows_of_logits(self, iteration: int, layer: str) -> list[LayerRow]:
        blank: dict[str, Any] = dict.fromkeys(LayerRow._fields)
        return [
            LayerRow(**blank)._replace(
                iteration=iteration,
                layer=layer,
                units=0,
                weight_norm=weight_norm,
                gradient_norm=gradient_norm,
            )
            for weight_norm, gradient_norm in self._norms(layer)
        ]

    def _norms(self, layer: str) -> list[tuple[float, float]]:
        """Of each run the norms of a layer's weight and of the weight's gradient."""
        columns = self._stack.columns(layer)
        both = [
            values[:, columns].norm(dim=1).double()
            for values in (self._stack.parameters, self._stack.gradients)
        ]
        norms: list[tuple[float, float]] = torch.stack(both, dim=1).tolist()
        return norms

    def _describe(self, sums: Sums, dead: Tensor, inputs: int) -> list[Described[float]]:
        """Each run's numbers for a layer, from the sums over its units' inputs."""
        score = sums.magnitude / sums.magnitude.mean(1, keepdim=True)
        # Where a layer is silent all over, 0 / 0, every one of its units is dormant.
        dormant = (score <= self._tau) | (sums.magnitude == 0)
        h, h_squared, z, z_squared = (
            sums_of_units.mean(1) / inputs
            for sums_of_units in (sums.h, sums.h_squared, sums.z, sums.z_squared)
        )
        described = Described(
            dead_fraction=dead.to(self._wide).mean(1),
            dormant_fraction=dormant.to(self._wide).mean(1),
            saturated_fraction=sums.saturated.mean(1) / inputs,
            zero_fraction=1 - sums.nonzero.mean(1) / inputs,
            activation_mean=h,
            activation_std=(h_squared - h.square()).clamp(min=0).sqrt(),
            preactivation_mean=z,
            preactivation_std=(z_squared - z.square()).clamp(min=0).sqrt(),
        )
        return [Described(*of_run) for of_run in torch.stack(described, dim=1).tolist()]
