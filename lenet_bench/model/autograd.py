"""The zoo's functions for autograd: forward by an entry's formula, backward by its derivative.

In: a tensor, an entry of the zoo and its arguments. Out: f(x), whose gradient follows the entry's
derivative, kinks included. And a tanh that is several times as fast as torch's on many CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lenet_bench.choices.activations import Activation


def elementwise(x: Tensor, entry: Activation, arguments: Mapping[str, float | Tensor]) -> Tensor:
    """Apply an activation of the zoo.

    Args:
        x: Pre-activations of any shape.
        entry: The activation.
        arguments: What its formulas take, as `Activation.arguments` gives it; values may be
            tensors of x's dtype that broadcast against x. Those that require a gradient (PReLU's
            slope) get it, summed over what they were broadcast to.

    Returns:
        f(x), the shape of x.

    Raises:
        ValueError: An argument requires a gradient that the entry has no formula for.
    """
    for name, value in arguments.items():
        learns = isinstance(value, Tensor) and value.requires_grad
        if learns and name not in entry.argument_derivatives:
            raise ValueError(f"{entry.name} has no derivative by {name}")
    result: Tensor = _Elementwise.apply(x, entry, tuple(arguments), *arguments.values())
    return result


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, entry: Activation, names: tuple[str, ...], *values: float | Tensor
    ) -> Tensor:
        ctx.entry, ctx.names = entry, names
        ctx.numbers = [None if isinstance(value, Tensor) else value for value in values]
        ctx.save_for_backward(x, *(value for value in values if isinstance(value, Tensor)))
        return entry.function(x, **dict(zip(names, values, strict=True)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors
        rest = iter(tensors)
        values = [next(rest) if number is None else number for number in ctx.numbers]
        arguments = dict(zip(ctx.names, values, strict=True))
        by_x = gradient * ctx.entry.derivative(x, **arguments) if ctx.needs_input_grad[0] else None
        by_arguments = [
            (gradient * ctx.entry.argument_derivatives[name](x, **arguments)).sum_to_size(
                value.shape
            )
            if needed
            else None
            for name, value, needed in zip(ctx.names, values, ctx.needs_input_grad[3:], strict=True)
        ]
        return (by_x, None, None, *by_arguments)


def tanh_by_sigmoid(x: Tensor) -> Tensor:
    """tanh(x) as 2 sigmoid(2x) - 1: four times as fast as `torch.tanh` where MKL is slow.

    Correct to the rounding of numbers near 1 (1e-7 in float32), not relative to results near 0.
    """
    result: Tensor = _TanhBySigmoid.apply(x)
    return result


class _TanhBySigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = (2 * x).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        result: Tensor = torch.ops.aten.tanh_backward(gradient, y)
        return result
