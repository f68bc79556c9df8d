"""The zoo's formulas under autograd, against finite differences and torch's own functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.entry import Activation
from lenet_bench.model.autograd import by_output, elementwise
from tests.choices.test_activations import DTYPES, VARIANTS, over


@over(VARIANTS)
def test_autograd_follows_the_derivative(name: str, parameters: dict[str, float]) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    x = torch.tensor([[-4.1, -2.2, -0.7], [0.4, 2.1, 7.3]], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: elementwise(x, entry, arguments), (x.requires_grad_(),)
    )


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1)])
def test_a_slope_learns(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=generator).requires_grad_()
    slope = torch.rand(shape, dtype=torch.float64, generator=generator).requires_grad_()
    entry = ACTIVATIONS["prelu"]
    assert torch.autograd.gradcheck(
        lambda x, slope: elementwise(x, entry, {"slope": slope}), (x, slope)
    )


def test_a_slope_learns_as_in_torch_kinks_included() -> None:
    x = torch.tensor([[-2.0, 0.0, 3.0], [0.0, -1.0, -0.0]], requires_grad=True)
    slope = torch.tensor([0.25, 0.1, -0.3], requires_grad=True)
    ours = elementwise(x, ACTIVATIONS["prelu"], {"slope": slope})
    expected = functional.prelu(x, slope)
    weights = torch.arange(1.0, 7.0).reshape(2, 3)
    assert torch.equal(ours, expected)
    for mine, theirs in zip(
        torch.autograd.grad((weights * ours).sum(), (x, slope)),
        torch.autograd.grad((weights * expected).sum(), (x, slope)),
        strict=True,
    ):
        assert torch.equal(mine, theirs)


def test_a_gradient_is_summed_over_what_an_argument_was_broadcast_to() -> None:
    x = torch.tensor([[-1.0, -2.0], [-4.0, 8.0]])  # alone: x needs no gradient
    for shape, expected in (
        ((1, 2), [[-5.0, -2.0]]),
        ((2, 1), [[-3.0], [-4.0]]),
        ((1,), [-7.0]),
        ((2, 2), [[-1.0, -2.0], [-4.0, 0.0]]),
    ):
        slope = torch.full(shape, 0.5, requires_grad=True)
        y = elementwise(x, ACTIVATIONS["prelu"], {"slope": slope})
        (gradient,) = torch.autograd.grad(y.sum(), slope)
        assert gradient.tolist() == expected


@over(VARIANTS)
def test_the_backward_pass_is_the_derivative_at_kinks_too(
    name: str, parameters: dict[str, float]
) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    x = torch.arange(-8.0, 9.0).view(1, 17, 1).expand(3, 17, 2).transpose(0, 1).requires_grad_()
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(elementwise(x, entry, arguments), x, upstream)
    assert torch.equal(gradient, upstream * entry.derivative(x.detach(), **arguments))


def test_noise_for_every_input_is_an_argument_without_a_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, dtype=torch.float64, generator=generator).requires_grad_()
    slope = torch.rand(4, 5, dtype=torch.float64, generator=generator)
    y = elementwise(x, ACTIVATIONS["rrelu"], {"slope": slope})
    assert torch.equal(y, torch.where(x > 0, x, slope * x))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.where(x > 0, torch.ones_like(x), slope))


def test_a_second_derivative_is_refused() -> None:
    """It would be wrong: the formula of the derivative is not differentiated."""
    x = torch.ones(3, requires_grad=True)
    y = elementwise(x, ACTIVATIONS["swish"], {})
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_an_argument_without_a_derivative_cannot_learn() -> None:
    alpha = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="elu has no derivative by alpha"):
        elementwise(torch.zeros(2), ACTIVATIONS["elu"], {"alpha": alpha})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@over(VARIANTS)
def test_nothing_overflows_far_out(
    name: str, parameters: dict[str, float], dtype: torch.dtype
) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    far = torch.tensor([0, 17, 89, 104, 710, 746, 1e4], dtype=dtype)
    x = torch.cat([far, -far]).requires_grad_()
    y = elementwise(x, entry, arguments)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all()
    assert gradient.isfinite().all()


# --- from the output alone ------------------------------------------------------------------------

BY_OUTPUT = [entry for entry in ACTIVATIONS.values() if entry.output_formula is not None]


def applied(entry: Activation, x: Tensor) -> Tensor:
    assert entry.output_formula is not None
    return by_output(x, entry.output_formula)


@pytest.mark.parametrize("entry", BY_OUTPUT, ids=lambda entry: entry.name)
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 5e-16), (torch.float32, 3e-7)])
def test_an_output_formula_is_the_function_to_the_rounding_of_1(
    entry: Activation, dtype: torch.dtype, rounding: float
) -> None:
    x = torch.cat([torch.linspace(-9, 9, 2001), torch.tensor([-1e4, -100, 100, 1e4])]).to(dtype)
    x.requires_grad_()
    y = applied(entry, x)
    exact = x.detach().double()
    torch.testing.assert_close(y.double(), entry.function(exact), rtol=0, atol=rounding)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(
        gradient.double(), entry.derivative(exact), rtol=0, atol=2 * rounding
    )


@pytest.mark.parametrize("entry", BY_OUTPUT, ids=lambda entry: entry.name)
def test_an_output_formula_under_autograd(entry: Activation) -> None:
    x = torch.tensor([[-3.1, -0.2], [0.7, 2.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: applied(entry, x), (x,))
    before = x.detach().clone()
    y = applied(entry, x)
    assert torch.equal(x, before)  # nothing is computed in place of the input
    # The output is kept for the backward pass, and not the input.
    saved = y.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert [tensor.data_ptr() for tensor in saved] == [y.data_ptr()]


@pytest.mark.parametrize("entry", BY_OUTPUT, ids=lambda entry: entry.name)
def test_an_output_formula_does_not_hide_divergence(entry: Activation) -> None:
    x = torch.tensor([float("nan"), 1.0], requires_grad=True)
    y = applied(entry, x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.isnan().tolist() == gradient.isnan().tolist() == [True, False]
