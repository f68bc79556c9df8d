"""The formulas of the activations as functions that autograd can differentiate.

In: a tensor, an entry of the list of activations and the arguments of its formulas. Out: f(x),
whose backward pass uses the derivative that the entry states, at kinks too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lenet_bench.choices.entry import Activation, OutputFormula


def elementwise(x: Tensor, entry: Activation, arguments: Mapping[str, float | Tensor]) -> Tensor:
    """Apply an activation of the list.

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


def by_output(x: Tensor, formula: OutputFormula) -> Tensor:
    """Apply a formula whose backward pass needs f(x) alone, so that x is not kept.

    Args:
        x: Pre-activations of any shape.
        formula: How f and the gradient are computed.

    Returns:
        f(x), the shape of x.
    """
    result: Tensor = _ByOutput.apply(x, formula)
    return result


class _ByOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, formula: OutputFormula) -> Tensor:
        ctx.formula = formula
        y = formula.function(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return ctx.formula.gradient(gradient, y), None
