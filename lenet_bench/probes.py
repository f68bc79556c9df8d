"""What a probe measures: dead, dormant, saturated and zero fractions, moments and norms per layer.

In: a stack, and the probe set, a fixed sample of training images. Out: rows of `layers.csv`, a
list per run. Training goes on as if nothing had been measured: no noise is drawn, no running
statistic is updated, and the gradients are those of the probe set.

The probe set passes in chunks of about the batch size, with batch norm (where there is one) by the
statistics of the chunk, as in training. Definitions: N runs, B images, C units, H*W positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lenet_bench.stack import Batch, Stack, cross_entropy

# Feature maps are counted a few images at a time: a dozen passes over what fits a core's cache
# take a third of the time of as many over memory.
CACHED_ELEMENTS = 1 << 18


@dataclass
class _Sums:
    """What adds up over the chunks for one hidden layer; each is (N, C), a number per unit."""

    alive: Tensor  # inputs where f'(z) is not 0
    saturated: Tensor  # inputs where |f'(z)| is small
    nonzero: Tensor  # inputs where h is not 0
    magnitude: Tensor  # sum of |h|
    h: Tensor
    h_squared: Tensor
    z: Tensor
    z_squared: Tensor
    inputs: int  # per unit: images times positions


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
        chunks = -(-len(images) // batch_size)
        self._stack = stack
        self._everyone = range(stack.runs)
        self._chunks = list(
            zip(images.tensor_split(chunks), labels.tensor_split(chunks), strict=True)
        )
        self._tau = tau
        self._saturation = saturation
        self._can_die = torch.tensor(
            [stack.can_die(run) for run in range(stack.runs)], device=images.device
        )
        self._wide = torch.float32 if images.device.type == "mps" else torch.float64
        self._dead_before: dict[str, Tensor] = {}

    def measure(self, iteration: int) -> list[list[Sequence[object]]]:
        """Probe all layers now.

        Returns:
            For each run, the rows of `layers.csv`: one per hidden layer, and one for the logits,
            which have no units and so only norms. `gradient_norm` is that of the mean loss over
            the probe set's first chunk, with respect to the layer's weight.
        """
        sums: dict[str, _Sums] = {}
        stack = self._stack

        def observe(layer: str, preactivation: Tensor, activation: Tensor) -> None:
            z, h = preactivation.detach(), activation.detach()
            with torch.no_grad():
                if z.dim() == 3:
                    self._add(sums, layer, z, h)
                    return
                few = max(1, CACHED_ELEMENTS // z[0].numel())
                for some_z, some_h in zip(z.split(few), h.split(few), strict=True):
                    self._add(sums, layer, some_z, some_h)

        for index, (images, labels) in enumerate(self._chunks):
            # Gradients cost twice the pass, so one chunk, the size of a mini-batch, has to do.
            with torch.set_grad_enabled(index == 0):
                batch = Batch(images, self._everyone)
                logits = stack.forward([batch], training=True, observer=observe)
                if index == 0:
                    stack.backward(cross_entropy(logits, labels.expand(stack.runs, -1)))
        return self._rows(iteration, sums)

    def _add(self, sums: dict[str, _Sums], layer: str, z: Tensor, h: Tensor) -> None:
        # z, h: (B, N*C, H, W) or (N, B, C)
        stack = self._stack
        slope = stack.derivative(layer, z).abs()
        low = torch.tensor(
            [self._saturation * stack.max_slope(run, layer) for run in range(stack.runs)],
            dtype=z.dtype,
            device=z.device,
        )
        if z.dim() == 4:
            low = low.repeat_interleave(stack.units[layer])
        # Flags are written as 0.0 and 1.0 into one buffer: a boolean tensor costs several times
        # the time, to make as much as to count.
        scratch = torch.empty_like(z)
        seen = _Sums(
            alive=self._per_unit(torch.ne(slope, 0, out=scratch)),
            saturated=self._per_unit(torch.lt(slope, low.view(-1, 1, 1), out=scratch)),
            nonzero=self._per_unit(torch.ne(h, 0, out=scratch)),
            magnitude=self._per_unit(torch.abs(h, out=scratch)),
            h=self._per_unit(h),
            h_squared=self._per_unit(torch.square(h, out=scratch)),
            z=self._per_unit(z),
            z_squared=self._per_unit(torch.square(z, out=scratch)),
            inputs=z.numel() // (stack.runs * stack.units[layer]),
        )
        # Where f' is 0 throughout, no number lies below a share of its maximum.
        seen.saturated = torch.maximum(seen.saturated, seen.inputs - seen.alive)
        if layer in sums:
            before = vars(sums[layer])
            seen = _Sums(**{name: before[name] + value for name, value in vars(seen).items()})
        sums[layer] = seen

    def _per_unit(self, x: Tensor) -> Tensor:
        """Sum over images and positions: (B, N*C, H, W) or (N, B, C) to (N, C)."""
        if x.dim() == 3:
            return x.sum(1, dtype=self._wide)
        # Position by position first, along memory; few enough terms for single precision.
        by_image = x.permute(0, 2, 3, 1).flatten(1, 2).sum(1)  # (B, N*C)
        return by_image.sum(0, dtype=self._wide).view(self._stack.runs, -1)

    def _rows(self, iteration: int, sums: dict[str, _Sums]) -> list[list[Sequence[object]]]:
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
            values, died, revived = self._describe(layer, sums[layer])
            for run, (weight, gradient) in enumerate(norms):
                dead, dormant, saturated, zero, *moments = values[run]
                rows[run].append(
                    [
                        iteration,
                        layer,
                        stack.units[layer],
                        dead,
                        dormant,
                        saturated if math.isfinite(stack.max_slope(run, layer)) else None,
                        zero,
                        died[run],
                        revived[run],
                        *moments,
                        weight,
                        gradient,
                    ]
                )
        return rows

    def _describe(self, layer: str, total: _Sums) -> tuple[list[list[float]], list[int], list[int]]:
        dead = (total.alive == 0) & self._can_die[:, None]  # (N, C)
        score = total.magnitude / total.magnitude.mean(1, keepdim=True)
        # Where a layer is silent all over, 0 / 0, every one of its units is dormant.
        dormant = (score <= self._tau) | (total.magnitude == 0)
        h, h_squared, z, z_squared = (
            moment.mean(1) / total.inputs
            for moment in (total.h, total.h_squared, total.z, total.z_squared)
        )
        values = torch.stack(
            [
                dead.to(self._wide).mean(1),
                dormant.to(self._wide).mean(1),
                total.saturated.mean(1) / total.inputs,
                1 - total.nonzero.mean(1) / total.inputs,
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
