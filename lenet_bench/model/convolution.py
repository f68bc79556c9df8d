"""Convolution and 2x2 max pooling fused into one pass over the batch, a few images at a time.

In: the images or feature maps of a whole batch. Out: of each pooling window the one value that an
activation maps to the window's maximum. The full-size feature maps, by far the largest tensors of a
LeNet, exist only for the few images that fit a core's cache, in the forward pass and again in the
backward pass.

Letters in shapes: B images in the batch, b images in a chunk of it, C channels (those of all runs
of a stack side by side), H and W height and width, G groups of the convolution. Channels come and
go in parts, one for each activation, so that an activation works on memory without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

WINDOW = [2, 2]
# Elements of the full-size feature maps that are worked on at a time on a CPU, 2 MB in float32.
# The whole batch at once takes three times as long.
CACHED_ELEMENTS = 1 << 19
# A CPU's instructions work on 8 or 16 channels at once, however few there are. With fewer channels
# in a group than this, two rows of the input's gradient take no longer than one.
NARROW = 8


@dataclass(frozen=True)
class Part:
    """Neighbouring channels that share an activation.

    Attributes:
        channels: How many.
        activation: f, if it falls and then rises: its maximum over a window may lie at the
            smallest value. None if f never decreases: it lies at the largest.
    """

    channels: int
    activation: Callable[[Tensor], Tensor] | None = None


def convolve_and_pool(
    inputs: Sequence[Tensor], weight: Tensor, bias: Tensor, groups: int, parts: Sequence[Part]
) -> tuple[Tensor, ...]:
    """Convolve, and keep of each pooling window the value z whose f(z) is the largest.

    With z = conv2d(cat(inputs, 1), weight, bias, groups=groups), the activation f of the result is
    max_pool2d(f(z), 2), and gradients flow to the places that the pooling would have chosen.

    Args:
        inputs: (B, *, H, W) each, channels_last; side by side they are the C_in channels.
        weight: (C, C_in / groups, kernel, kernel).
        bias: (C,).
        groups: Of the convolution.
        parts: How the C channels divide by activation.

    Returns:
        A tensor for each part, (B, its channels, H', W'), H' = (H - kernel + 1) // 2.
    """
    learns = torch.is_grad_enabled()  # within the function it never is
    result: tuple[Tensor, ...] = _ConvolveAndPool.apply(
        weight, bias, groups, tuple(parts), learns, *inputs
    )
    return result


class _ConvolveAndPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor,
        groups: int,
        parts: tuple[Part, ...],
        learns: bool,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        b, _, h, w = inputs[0].shape
        kernel = weight.shape[-1]
        full = h - kernel + 1, w - kernel + 1
        ctx.full, ctx.groups = (len(weight), *full), groups
        pooled = [(b, part.channels, full[0] // 2, full[1] // 2) for part in parts]
        # Positions in a feature map mostly fit 16 bits, a quarter of what pooling returns.
        short = torch.int16 if full[0] * full[1] < 1 << 15 else torch.int32
        values = [_empty(shape, inputs[0], inputs[0].dtype) for shape in pooled]
        places = _empty((b if learns else 0, len(weight), *pooled[0][2:]), inputs[0], short)
        sections = _sections(part.channels for part in parts)
        for rows in _chunks(inputs[0], ctx.full):
            z = F.conv2d(_side_by_side(inputs, rows), weight, bias, groups=groups)
            highest, at = torch.ops.aten.max_pool2d_with_indices(z, WINDOW)
            for part, channels, value in zip(parts, sections, values, strict=True):
                chosen = highest[:, channels]
                if part.activation is not None and part.channels:
                    chosen, at[:, channels] = _better_extreme(
                        part.activation, z[:, channels], chosen, at[:, channels]
                    )
                value[rows] = chosen
            if learns:
                places[rows] = at
        ctx.save_for_backward(weight, places, *inputs)
        return tuple(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_values: Tensor) -> tuple[Tensor | None, ...]:
        weight, places, *inputs = ctx.saved_tensors
        needs_inputs = any(ctx.needs_input_grad[5:])
        # bfloat16 has too few digits for a sum over many chunks.
        wide = torch.promote_types(weight.dtype, torch.float32)
        by_weight = torch.zeros_like(weight, dtype=wide)
        by_inputs = [torch.empty_like(x) for x in inputs] if needs_inputs else []
        sections = _sections(by_input.shape[1] for by_input in by_inputs)
        pairs = _paired_kernels(weight, ctx.groups, inputs[0]) if needs_inputs else None
        chunks = _chunks(inputs[0], ctx.full)
        unpool = torch.ops.aten.max_pool2d_with_indices_backward.grad_input
        memory = _empty((len(inputs[0][chunks[0]]), *ctx.full), inputs[0], inputs[0].dtype)
        for rows in chunks:
            x = _side_by_side(inputs, rows)
            by_z = memory[: len(x)]
            # The operation asks for what was pooled, but only uses its shape: that of the gradient.
            unpool(
                _side_by_side(by_values, rows), by_z, WINDOW, WINDOW, [0, 0], [1, 1], False,
                places[rows].long(), grad_input=by_z,
            )  # fmt: skip
            by_x, by_weight_here, _ = torch.ops.aten.convolution_backward(
                by_z, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], ctx.groups,
                [needs_inputs and pairs is None, True, False],
            )  # fmt: skip
            by_weight += by_weight_here
            if pairs is not None:
                by_x = _convolve_pairs(by_z, pairs, ctx.groups)
            for by_input, channels in zip(by_inputs, sections, strict=True):
                by_input[rows] = by_x[:, channels]
        by_bias = torch.cat([by_value.sum((0, 2, 3)) for by_value in by_values])
        by_weight = by_weight.to(weight.dtype)
        none = [None] * len(inputs)
        return by_weight, by_bias, None, None, None, *(by_inputs if needs_inputs else none)


def _paired_kernels(weight: Tensor, groups: int, x: Tensor) -> Tensor | None:
    """Kernels that give two rows of the input's gradient at a time, or None where that is no use.

    The gradient by the input is itself a convolution, of the gradient by the output with the
    kernels turned by 180 degrees. Two of its rows are one row of a convolution with twice as many
    kernels, each padded to be a row higher, that takes steps of two rows.

    Returns:
        (2 C_in, C / G, kernel + 1, kernel).
    """
    if x.device.type != "cpu" or weight.shape[1] >= NARROW or x.shape[2] % 2:
        return None
    turned = (
        weight.unflatten(0, (groups, -1)).flip(3, 4).transpose(1, 2)
    )  # (G, C_in / G, C / G, kernel, kernel)
    both = torch.stack([F.pad(turned, (0, 0, 0, 1)), F.pad(turned, (0, 0, 1, 0))], dim=1)
    return both.flatten(0, 2).contiguous(memory_format=torch.channels_last)


def _convolve_pairs(by_z: Tensor, pairs: Tensor, groups: int) -> Tensor:
    """The gradient by the input, (b, C_in, H, W), from that by the output, (b, C, ...)."""
    around = pairs.shape[3] - 1
    rows = F.conv2d(by_z, pairs, None, (2, 1), around, 1, groups)  # (b, 2 C_in, H/2, W)
    apart: Tensor = rows.unflatten(1, (groups, 2, -1))  # (b, G, 2, C_in/G, H/2, W)
    by_x = apart.permute(0, 4, 2, 5, 1, 3).flatten(4, 5).flatten(1, 2)  # (b, H, W, C_in)
    return by_x.permute(0, 3, 1, 2)


def _better_extreme(
    activation: Callable[[Tensor], Tensor], z: Tensor, highest: Tensor, at: Tensor
) -> tuple[Tensor, Tensor]:
    """The largest or the smallest value of each window, whichever f is larger at, and its place."""
    opposite, at_lowest = torch.ops.aten.max_pool2d_with_indices(z.neg(), WINDOW)
    highest = highest.contiguous(memory_format=torch.channels_last)
    lowest = opposite.neg_()
    low = activation(lowest) > activation(highest)
    return torch.where(low, lowest, highest), torch.where(low, at_lowest, at)


def _chunks(x: Tensor, full: tuple[int, int, int]) -> list[slice]:
    """Divide the batch into chunks of a few images each; on a GPU it stays whole.

    Args:
        x: The batch.
        full: Shape of an image's full-size feature maps, (C, H, W).
    """
    images = len(x)
    if x.device.type == "cpu":
        most = max(1, CACHED_ELEMENTS // (full[0] * full[1] * full[2]))
        images = -(-len(x) // -(-len(x) // most))  # of equal length as far as that goes
    return [slice(start, start + images) for start in range(0, len(x), images)]


def _sections(sizes: Iterable[int]) -> list[slice]:
    """Where each of some parts lies when they are side by side."""
    ends = [0, *accumulate(sizes)]
    return [slice(*both) for both in pairwise(ends)]


def _side_by_side(parts: Sequence[Tensor], rows: slice) -> Tensor:
    if len(parts) == 1:
        return parts[0][rows]
    return torch.cat([part[rows] for part in parts], dim=1)


def _empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last)
