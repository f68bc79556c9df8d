"""Convolution and 2x2 pooling in one pass over the batch, a few images at a time.

In: images or feature maps of a whole batch. Out: the largest value of each pooling window, and on
request the smallest. The full-size feature maps, by far the largest tensors of a LeNet, exist only
for the few images that fit a core's cache, in the forward pass and again in the backward pass.

Shapes: B images, C channels (those of all runs of a stack side by side), H and W.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

WINDOW = [2, 2]
# Elements of the full-size feature maps that are worked on at a time on a CPU, 2 MB in float32.
# The whole batch at once takes three times as long.
CACHED_ELEMENTS = 1 << 19


def convolve_and_pool(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, lowest: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Convolve and pool, as `max_pool2d(conv2d(x, weight, bias, groups=groups), 2)` does.

    Args:
        x: (B, C_in, H, W), channels_last.
        weight: (C, C_in / groups, kernel, kernel).
        bias: (C,).
        groups: Of the convolution.
        lowest: First and last + 1 of the channels whose smallest values are wanted too.

    Returns:
        The largest value of each window, (B, C, H', W') with H' = (H - kernel + 1) // 2; and the
        smallest, (B, last - first, H', W'), None where none are wanted.
    """
    first, last = lowest or (0, 0)
    high, low = _ConvolveAndPool.apply(x, weight, bias, groups, first, last)
    return high, low if lowest else None


class _ConvolveAndPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, first: int, last: int
    ) -> tuple[Tensor, Tensor]:
        b, _, h, w = x.shape
        kernel = weight.shape[-1]
        ctx.full = (len(weight), h - kernel + 1, w - kernel + 1)
        height, width = ctx.full[1] // 2, ctx.full[2] // 2
        high = _empty(x, (b, len(weight), height, width))
        low = _empty(x, (b, last - first, height, width))
        high_places, low_places = [], []
        for rows in _few(x, ctx.full):
            z = F.conv2d(x[rows], weight, bias, groups=groups)
            high[rows], places = torch.ops.aten.max_pool2d_with_indices(z, WINDOW)
            high_places.append(_short(places, ctx.full))
            if last > first:
                opposite, places = torch.ops.aten.max_pool2d_with_indices(
                    z[:, first:last].neg(), WINDOW
                )
                torch.neg(opposite, out=low[rows])
                low_places.append(_short(places, ctx.full))
        ctx.save_for_backward(x, weight, *high_places, *low_places)
        ctx.groups, ctx.channels = groups, slice(first, last)
        return high, low

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_high: Tensor, by_low: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *places = ctx.saved_tensors
        # z itself is needed for its shape alone.
        chunks = list(_few(x, ctx.full))
        z = _empty(x, (len(x[chunks[0]]), *ctx.full))
        by_weight = torch.zeros_like(weight)
        by_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        for index, rows in enumerate(chunks):
            part = x[rows]
            by_z = _unpool(by_high[rows], z[: len(part)], places[index])
            if ctx.channels.stop > ctx.channels.start:
                by_z[:, ctx.channels] += _unpool(
                    by_low[rows], z[: len(part), ctx.channels], places[len(chunks) + index]
                )
            by_part, by_some_weight, _ = torch.ops.aten.convolution_backward(
                by_z, part, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], ctx.groups,
                [by_x is not None, True, False],
            )  # fmt: skip
            by_weight += by_some_weight
            if by_x is not None:
                by_x[rows] = by_part
        by_bias = by_high.sum((0, 2, 3))
        by_bias[ctx.channels] += by_low.sum((0, 2, 3))
        return by_x, by_weight, by_bias, None, None, None


def _few(x: Tensor, full: tuple[int, int, int]) -> list[slice]:
    """Slices of the batch, a few images each; on a GPU the whole of it."""
    images = len(x)
    if x.device.type == "cpu":
        images = max(1, min(images, CACHED_ELEMENTS // (full[0] * full[1] * full[2])))
        images = -(-len(x) // -(-len(x) // images))  # of equal length as far as that goes
    return [slice(start, start + images) for start in range(0, len(x), images)]


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _short(places: Tensor, full: tuple[int, int, int]) -> Tensor:
    """Positions in a feature map, in a quarter of the memory where they fit 16 bits."""
    return places.to(torch.int16) if full[1] * full[2] < 1 << 15 else places.to(torch.int32)


def _unpool(gradient: Tensor, z: Tensor, places: Tensor) -> Tensor:
    """Put each gradient where its value came from, zeros elsewhere, the shape of z."""
    result: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        gradient, z, WINDOW, WINDOW, [0, 0], [1, 1], False, places.long()
    )
    return result
