"""What a probe measures: dead, dormant, saturated and zero fractions, moments and norms per layer.

In: a stack, and the probe set, a fixed sample of training images. Out: rows of `layers.csv`, a
list per run. Training goes on as if nothing had been measured: no noise is drawn, no running
statistic is updated, and the gradients are those of the probe set.

The probe set passes a few images at a time, so that all that is counted stays in a core's cache;
with batch norm in chunks of about the batch size, by the statistics of the chunk, as in training.
Definitions: N runs in the stack, n neighbours of one activation, B images, C units, P inputs of a
unit in a chunk, which are the B*H*W positions of a feature map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from lenet_bench.model.convolutional import Batch
from lenet_bench.model.groups import Group
from lenet_bench.model.loss import cross_entropy
from lenet_bench.model.stack import Stack

CACHED_ELEMENTS = 1 << 21

# What adds up over the inputs of a unit: where f'(z) is not 0, |f'(z)| small, h not 0; values.
SUMS = ("alive", "saturated", "nonzero", "magnitude", "h", "h_squared", "z", "z_squared")


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
        self._can_die = torch.tensor(
            [stack.activations.can_die(run) for run in range(stack.runs)], device=images.device
        )
        self._wide = torch.float32 if images.device.type == "mps" else torch.float64
        self._dead_before: dict[str, Tensor] = {}

    def _chunks(self) -> Iterator[Tensor]:
        most = self._batch_size
        if self._stack.batch_norm == "none" and self._images.device.type == "cpu":
            positions = self._images.shape[2] * self._images.shape[3]
            units = self._stack.runs * self._stack.units["conv1"]
            most = max(1, CACHED_ELEMENTS // (positions * units))
        yield from self._images.tensor_split(-(-len(self._images) // most))

    def measure(self, iteration: int) -> list[list[Sequence[object]]]:
        """Probe all layers now.

        Returns:
            For each run, the rows of `layers.csv`: one per hidden layer, and one for the logits,
            which have no units and so only norms. `gradient_norm` is that of the mean loss over
            the probe set's first chunk, with respect to the layer's weight.
        """
        stack = self._stack
        sums = {
            layer: torch.zeros(
                len(SUMS), stack.runs, units, dtype=self._wide, device=self._images.device
            )
            for layer, units in stack.units.items()
        }  # (8, N, C)
        inputs = dict.fromkeys(stack.units, 0)  # of each unit

        def observe(layer: str, group: Group, preactivation: Tensor, activation: Tensor) -> None:
            runs = slice(group.start, group.stop)
            each = preactivation.numel() // sums[layer][0, runs].numel()
            sums[layer][:, runs] += self._count(layer, group, preactivation, activation, each)
            if group.start == 0:  # all groups see the same number
                inputs[layer] += each

        stack.observe(self._chunks(), observe)
        # Gradients cost twice the pass, so the size of a mini-batch has to do.
        first = Batch(self._images[: self._batch_size], self._everyone)
        labels = self._labels[: self._batch_size].expand(stack.runs, -1)
        logits = stack.forward([first], training=True, observing=True)
        stack.backward(cross_entropy(logits, labels))
        return self._rows(iteration, sums, inputs)

    def _count(self, layer: str, group: Group, z: Tensor, h: Tensor, inputs: int) -> Tensor:
        """The sums of a chunk over the `inputs` of each unit of n runs, (8, n, C)."""
        # z, h: (B, n*C, H, W) or (n, B, C)
        stack = self._stack
        slope = stack.activations.slope(layer, group, z)
        if z.dtype == torch.bfloat16:  # too few digits for a sum
            z, h, slope = z.float(), h.float(), slope.float()
        limits = [
            self._saturation * stack.activations.max_slope(layer, run)
            for run in range(group.start, group.stop)
        ]
        low: Tensor | float = limits[0]
        if any(limit != low for limit in limits):  # learned slopes
            low = torch.tensor(limits, dtype=z.dtype, device=z.device)
            if z.dim() == 4:
                low = low.repeat_interleave(stack.units[layer])
            low = low.view(-1, 1, 1)
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
        found = torch.stack(
            [
                count(torch.ne(slope, 0, out=flags)),
                count(torch.lt(slope, low, out=flags)),
                count(torch.ne(h, 0, out=flags)),
                by_h if group.never_negative else count(torch.abs(h, out=flags)),
                by_h,
                by_h_squared,
                by_z,
                by_z_squared,
            ]
        )
        alive, saturated = found[0], found[1]
        # Where f' is 0 throughout, no number lies below a share of its maximum.
        torch.maximum(saturated, inputs - alive, out=saturated)
        return found

    def _per_unit(self, layer: str, x: Tensor) -> Tensor:
        """Sum over the inputs of each unit: (B, n*C, H, W) or (n, B, C) to (n, C)."""
        # A chunk has few enough terms for single precision; chunks are added up in double.
        each = x.sum(1) if x.dim() == 3 else x.sum((0, 2, 3))
        return each.view(-1, self._stack.units[layer]).to(self._wide)

    def _rows(
        self, iteration: int, sums: Mapping[str, Tensor], inputs: Mapping[str, int]
    ) -> list[list[Sequence[object]]]:
        stack = self._stack
        rows: list[list[Sequence[object]]] = [[] for _ in range(stack.runs)]
        for layer in stack.weighted_layers:
            columns = stack.columns(layer)
            norms = torch.stack(
                [
                    stack.parameters[:, columns].norm(dim=1).double(),
                    stack.gradients[:, columns].norm(dim=1).double(),
                ],
                dim=1,
            ).tolist()
            if layer not in sums:
                for run, (weight, gradient) in enumerate(norms):
                    rows[run].append([iteration, layer, 0, *[None] * 10, weight, gradient])
                continue
            values, died, revived = self._describe(layer, sums[layer], inputs[layer])
            for run, (weight, gradient) in enumerate(norms):
                dead, dormant, saturated, zero, *moments = values[run]
                rows[run].append(
                    [
                        iteration,
                        layer,
                        stack.units[layer],
                        dead,
                        dormant,
                        saturated
                        if math.isfinite(stack.activations.max_slope(layer, run))
                        else None,
                        zero,
                        died[run],
                        revived[run],
                        *moments,
                        weight,
                        gradient,
                    ]
                )
        return rows

    def _describe(
        self, layer: str, sums: Tensor, inputs: int
    ) -> tuple[list[list[float]], list[int], list[int]]:
        alive, saturated, nonzero, magnitude, *moments = sums  # (N, C) each
        # Of a unit that has exploded nobody can say that it is dead; NaN has the sign 0.
        dead = (alive == 0) & self._can_die[:, None] & moments[2].isfinite()
        score = magnitude / magnitude.mean(1, keepdim=True)
        # Where a layer is silent all over, 0 / 0, every one of its units is dormant.
        dormant = (score <= self._tau) | (magnitude == 0)
        h, h_squared, z, z_squared = (moment.mean(1) / inputs for moment in moments)
        values = torch.stack(
            [
                dead.to(self._wide).mean(1),
                dormant.to(self._wide).mean(1),
                saturated.mean(1) / inputs,
                1 - nonzero.mean(1) / inputs,
                h,
                (h_squared - h.square()).clamp(min=0).sqrt(),
                z,
                (z_squared - z.square()).clamp(min=0).sqrt(),
            ],
            dim=1,
        ).tolist()
        before = self._dead_before.get(layer, dead)
        self._dead_before[layer] = dead
        died = (dead & ~before).sum(1).tolist()
        revived = (before & ~dead).sum(1).tolist()
        return values, died, revived
