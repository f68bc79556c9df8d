"""The zoo against torch's own modules, SciPy, finite differences and each entry's stated facts.

A new entry is tested by all that runs over `ACTIVATIONS`. The tables here hold what is known about
some entries besides, from elsewhere; they need not know every entry.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn
from torch.nn import functional, init

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.entry import Activation

# Every entry at its defaults, and those with parameters at others too.
VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in ACTIVATIONS),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("leaky_relu", {"negative_slope": 1.5}),
    ("prelu", {"init": 2.0}),
    ("prelu", {"init": -0.5}),
    ("prelu", {"init": 0.0}),
    ("rrelu", {"lower": 0.5, "upper": 0.7}),
    ("leaky_relu6", {"negative_slope": 0.3}),
    ("leaky_relu6", {"negative_slope": 0.0}),
    ("softplus", {"beta": 3.0}),
    ("elu", {"alpha": 0.5}),
    ("elu", {"alpha": 2.0}),
    ("celu", {"alpha": 2.0}),
]
# Where the slope jumps, or (CELU, softsign) its slope.
KINKS = {
    "binary_step": [0.0],
    "relu": [0.0],
    "leaky_relu": [0.0],
    "prelu": [0.0],
    "rrelu": [0.0],
    "relu6": [0.0, 6.0],
    "leaky_relu6": [0.0, 6.0],
    "elu": [0.0],
    "selu": [0.0],
    "celu": [0.0],
    "softsign": [0.0],
    "hard_swish": [-3.0, 3.0],
    "hard_sigmoid": [-3.0, 3.0],
    "hard_tanh": [-1.0, 1.0],
}
IN_TORCH = [variant for variant in VARIANTS if ACTIVATIONS[variant[0]].torch_module]
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def variant_id(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={number:g}" for key, number in value.items())
    return str(value)


def over(variants: list[tuple[str, dict[str, float]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "parameters"), variants, ids=variant_id)


def torch_module(name: str, parameters: dict[str, float]) -> nn.Module:
    """torch's module in float64, without RReLU's noise."""
    entry = ACTIVATIONS[name]
    assert entry.torch_module is not None
    module: nn.Module = getattr(nn, entry.torch_module)(**parameters)
    return module.double().eval()


def grid(dtype: torch.dtype = torch.float64) -> Tensor:
    """Inputs on both sides of every kink, exactly at them, and far out."""
    special_points = torch.tensor([-6.0, -3, -1, 0, 1, 3, 6], dtype=torch.float64)
    near = [special_points + step for step in (-1e-3, -1e-9, 0, 1e-9, 1e-3)]
    far = torch.tensor([-1e4, -800, -100, -30, 30, 100, 800, 1e4], dtype=torch.float64)
    return torch.cat([torch.linspace(-12, 12, 4001, dtype=torch.float64), *near, far]).to(dtype)


def test_the_zoo_holds_the_designs_activations_in_its_order() -> None:
    designed = [
        *("identity", "binary_step", "square", "sigmoid", "tanh", "relu", "leaky_relu", "prelu"),
        *("rrelu", "relu6", "leaky_relu6", "softplus", "softsign", "elu", "selu", "celu", "gelu"),
        *("swish", "hard_swish", "hard_sigmoid", "hard_tanh", "mish"),
    ]
    assert [name for name in ACTIVATIONS if name in designed] == designed
    assert all(name == entry.name for name, entry in ACTIVATIONS.items())


def test_importing_the_zoo_leaves_torch_alone() -> None:
    code = (
        "import sys; from lenet_bench.choices.activations import ACTIVATIONS;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- formulas and derivatives -------------------------------------------------------------------


@over(IN_TORCH)
def test_values_and_gradients_are_torchs(name: str, parameters: dict[str, float]) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    module = torch_module(name, parameters)
    x = grid().requires_grad_()
    expected = module(x)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    # torch's softplus turns linear beyond 20 / beta, and its hard sigmoid's backward multiplies
    # by 1/6 in single precision: each is worth some 1e-9.
    tolerance = 6e-9 if name in ("softplus", "hard_sigmoid") else 1e-14
    value, slope = entry.function(x, **arguments), entry.derivative(x, **arguments)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=tolerance)
    torch.testing.assert_close(slope, gradient, rtol=1e-12, atol=tolerance)


@over(VARIANTS)
def test_derivatives_are_the_slopes_of_values(name: str, parameters: dict[str, float]) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    step = 1e-6
    # Every 0.006, shifted so that a kink at a round number is never within a step.
    x = torch.linspace(-9, 9, 3001, dtype=torch.float64) + 0.00123
    above, below = entry.function(x + step, **arguments), entry.function(x - step, **arguments)
    slope = (above - below) / (2 * step)
    torch.testing.assert_close(entry.derivative(x, **arguments), slope, rtol=1e-7, atol=3e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@over([variant for variant in IN_TORCH if variant[0] in KINKS])
def test_slopes_at_and_one_step_from_kinks_are_torchs(
    name: str, parameters: dict[str, float], dtype: torch.dtype
) -> None:
    entry = ACTIVATIONS[name]
    kinks = torch.tensor(KINKS[name], dtype=dtype)
    infinity = torch.full_like(kinks, math.inf)
    x = torch.cat([torch.nextafter(kinks, -infinity), kinks, torch.nextafter(kinks, infinity)])
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(torch_module(name, parameters).to(dtype)(x).sum(), x)
    rounding = {torch.float64: 1e-7, torch.float32: 1e-6, torch.bfloat16: 2e-2}[dtype]
    slope = entry.derivative(x.detach(), **entry.arguments(parameters))
    torch.testing.assert_close(slope, gradient, rtol=rounding, atol=0)


def test_ours_at_their_kinks() -> None:
    at = torch.tensor([0.0, 6.0, 5.999, -2.0, 7.0])
    leaky = ACTIVATIONS["leaky_relu6"]
    torch.testing.assert_close(
        leaky.derivative(at, negative_slope=0.1), torch.tensor([0.1, 0.0, 1.0, 0.1, 0.0])
    )
    torch.testing.assert_close(
        leaky.function(at, negative_slope=0.1), torch.tensor([0.0, 6.0, 5.999, -0.2, 6.0])
    )
    step = ACTIVATIONS["binary_step"]
    at = torch.tensor([-1e-30, -0.0, 0.0, 1e-30])
    torch.testing.assert_close(step.function(at), torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert not step.derivative(at).any()


def test_mish_has_its_own_minimum_and_not_that_of_a_widespread_mistake() -> None:
    entry = ACTIVATIONS["mish"]
    x = torch.tensor(-1.1924, dtype=torch.float64)
    assert entry.function(x).item() == pytest.approx(-0.30884, abs=5e-6)
    assert abs(entry.derivative(x).item()) < 1e-4
    assert (entry.function(x) - x * functional.silu(x).tanh()).abs() > 0.02


Oracle = Callable[[Any], Any]


def _mish_slope(x: Any) -> Any:
    softplus = np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)
    return np.tanh(softplus) + x * special.expit(x) / np.cosh(np.minimum(softplus, 300)) ** 2


TAILS: dict[str, tuple[Oracle, Oracle]] = {
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "softplus": (lambda x: np.logaddexp(0, x), special.expit),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.exp(np.minimum(x, 0))),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
    ),
    "swish": (
        lambda x: x * special.expit(x),
        lambda x: special.expit(x) * (1 + x * special.expit(-x)),
    ),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), _mish_slope),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", TAILS)
def test_tails_keep_their_relative_accuracy(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments()
    # Exact in float32, clear of the zeros of the derivatives, where no relative error is small.
    x = torch.cat([torch.arange(-9.0, -2.0, 0.25), torch.arange(2.0, 9.25, 0.25)]).to(dtype)
    value, slope = TAILS[name]
    for ours, oracle in ((entry.function, value), (entry.derivative, slope)):
        expected = torch.from_numpy(oracle(x.double().numpy()))
        torch.testing.assert_close(ours(x, **arguments).double(), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@over(VARIANTS)
def test_shape_dtype_and_memory_format_are_kept(
    name: str, parameters: dict[str, float], dtype: torch.dtype
) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    generator = torch.Generator().manual_seed(0)
    x = (3 * torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator)).to(dtype)
    x = x.to(memory_format=torch.channels_last)
    y, slope = entry.function(x, **arguments), entry.derivative(x, **arguments)
    assert y.dtype == slope.dtype == dtype
    assert y.shape == slope.shape == x.shape
    assert y.is_contiguous(memory_format=torch.channels_last)
    exact = entry.function(x.double(), **arguments)
    tolerance = {torch.float64: 0.0, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(y.double(), exact, rtol=tolerance, atol=tolerance)
    exact = entry.derivative(x.double(), **arguments)
    torch.testing.assert_close(slope.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "entry",
    [entry for entry in ACTIVATIONS.values() if entry.family != "step"],
    ids=lambda entry: entry.name,
)
def test_divergence_is_not_hidden(entry: Activation) -> None:
    assert entry.function(torch.tensor([math.nan]), **entry.arguments()).isnan().all()


@pytest.mark.parametrize("name", [name for name, entry in ACTIVATIONS.items() if entry.arguments()])
def test_arguments_may_differ_along_the_stack(name: str) -> None:
    entry = ACTIVATIONS[name]
    values = {
        argument: torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64) + number
        for number, argument in enumerate(entry.arguments())
    }
    x = torch.linspace(-8, 8, 50, dtype=torch.float64).expand(3, 50)  # (N, units)
    for formula in (entry.function, entry.derivative, *entry.argument_derivatives.values()):
        together = formula(x, **{argument: each[:, None] for argument, each in values.items()})
        alone = [
            formula(x[run], **{argument: each[run].item() for argument, each in values.items()})
            for run in range(3)
        ]
        assert torch.equal(together, torch.stack(alone))


# --- facts --------------------------------------------------------------------------------------


@over(VARIANTS)
def test_max_slope_is_the_supremum_of_the_slope(name: str, parameters: dict[str, float]) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    stated = entry.max_slope(**arguments)
    if math.isinf(stated):
        far = torch.tensor([-1e9, 1e9], dtype=torch.float64)
        assert entry.derivative(far, **arguments).abs().max() > 1e6
        return
    kinks = torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64)
    x = torch.cat([grid(), kinks - 1e-12, kinks + 1e-12])
    steepest = x[entry.derivative(x, **arguments).abs().argmax()]
    x = torch.cat([x, steepest + torch.linspace(-0.01, 0.01, 2001, dtype=torch.float64)])
    slopes = entry.derivative(x, **arguments).abs()
    assert slopes.max().item() == pytest.approx(stated, rel=1e-6)
    assert slopes.max().item() <= stated + 1e-12


@pytest.mark.parametrize(
    "entry",
    [entry for entry in ACTIVATIONS.values() if entry.learns],
    ids=lambda entry: entry.name,
)
def test_a_learned_argument_is_steepest_at_the_end_of_an_interval(entry: Activation) -> None:
    for argument in entry.argument_derivatives:
        for low, high in ((-3.0, 0.5), (0.1, 0.9), (-0.4, 2.0)):
            inside = torch.linspace(low, high, 101, dtype=torch.float64).tolist()
            slopes = [entry.max_slope(**{**entry.arguments(), argument: v}) for v in inside]
            assert max(slopes) == max(slopes[0], slopes[-1])


@over(VARIANTS)
def test_output_range(name: str, parameters: dict[str, float]) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    x = torch.cat([grid(), torch.tensor([-1e6, 1e6], dtype=torch.float64)])
    y = entry.function(x, **arguments)
    lowest, highest = entry.output_range(**arguments)
    for bound, extreme in ((-lowest, -y.min().item()), (highest, y.max().item())):
        if math.isinf(bound):
            assert extreme >= 1e3
        else:
            assert bound - 1e-5 <= extreme <= bound + 1e-12


@over(VARIANTS)
def test_max_pooling_commutes_with_what_never_decreases(
    name: str, parameters: dict[str, float]
) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(8, 3, 16, 16, dtype=torch.float64, generator=generator)
    pooled_first = entry.function(functional.max_pool2d(x, 2), **arguments)
    commutes = torch.allclose(
        pooled_first, functional.max_pool2d(entry.function(x, **arguments), 2)
    )
    if not (entry.learns or entry.noisy):
        assert commutes == entry.non_decreasing
    elif name in ("prelu", "rrelu"):
        # At a fixed slope it may; but a learned slope turns negative, and noise reorders.
        assert not entry.non_decreasing
        assert commutes == (arguments["slope"] >= 0)


@over(VARIANTS)
def test_can_die_means_a_flat_interval(name: str, parameters: dict[str, float]) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    x = torch.linspace(-20, 20, 801, dtype=torch.float64)
    flat = entry.derivative(x, **arguments) == 0
    neighbours = (flat[1:] & flat[:-1]).any().item()
    # x^2 is flat at 0 alone, but that is where zero weights hold a unit.
    assert (neighbours or name == "square") == entry.can_die(**arguments)


def test_gains_are_torchs() -> None:
    for name, nonlinearity in (
        ("identity", "linear"),
        ("sigmoid", "sigmoid"),
        ("tanh", "tanh"),
        ("relu", "relu"),
        ("selu", "selu"),
    ):
        assert ACTIVATIONS[name].gain() == init.calculate_gain(nonlinearity)  # type: ignore[arg-type]
    for slope in (0.0, 0.01, 0.5, 2.0):
        expected = init.calculate_gain("leaky_relu", slope)
        leaky, prelu = ACTIVATIONS["leaky_relu"], ACTIVATIONS["prelu"]
        assert leaky.gain(negative_slope=slope) == expected
        assert prelu.gain(**prelu.arguments({"init": slope})) == expected


@pytest.mark.parametrize("entry", ACTIVATIONS.values(), ids=lambda entry: entry.name)
def test_entries_are_complete(entry: Activation) -> None:
    assert entry.formula
    assert len(entry.reference) > 10
    assert entry.gain(**entry.arguments()) > 0
    for parameter in entry.parameters.values():
        assert parameter.meaning
        assert parameter.problem(parameter.default) is None
    assert entry.conflict(**entry.complete()) is None
    for argument in (*entry.argument_derivatives, *entry.noise):
        assert argument in entry.arguments()
    for argument, bounds in entry.noise.items():
        lower, upper = bounds(**entry.complete())
        assert lower <= entry.arguments()[argument] <= upper


def test_parameters_are_completed_and_turned_into_arguments() -> None:
    prelu, rrelu = ACTIVATIONS["prelu"], ACTIVATIONS["rrelu"]
    assert prelu.complete({"init": 0.1}) == {"init": 0.1, "per_unit": True}
    assert prelu.arguments({"init": 0.1, "per_unit": False}) == {"slope": 0.1}
    assert rrelu.arguments() == {"slope": pytest.approx((1 / 8 + 1 / 3) / 2)}
    assert ACTIVATIONS["elu"].arguments({"alpha": 2.0}) == {"alpha": 2.0}
    with pytest.raises(KeyError, match="elu has no parameter slope"):
        ACTIVATIONS["elu"].arguments({"slope": 2.0})


def test_the_bounds_of_rrelu_may_not_cross() -> None:
    problem = ACTIVATIONS["rrelu"].conflict(lower=0.5, upper=0.25)
    assert problem == "lower must not exceed upper (lower=0.5, upper=0.25)"
