"""The zoo against torch's own modules, SciPy, finite differences and each entry's stated facts."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn
from torch.nn import functional, init

from lenet_bench.choices.activations import ACTIVATIONS, Activation
from lenet_bench.choices.custom import check_custom_path, load_custom
from lenet_bench.common.errors import UserError
from lenet_bench.model.autograd import elementwise

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
    assert " ".join(ACTIVATIONS) == (
        "identity binary_step square sigmoid tanh relu leaky_relu prelu rrelu relu6 "
        "leaky_relu6 softplus softsign elu selu celu gelu swish hard_swish hard_sigmoid "
        "hard_tanh mish"
    )


def test_importing_the_zoo_leaves_torch_alone() -> None:
    code = (
        "import sys; from lenet_bench.choices.custom import check_custom_path;"
        "check_custom_path('torch.nn:ReLU'); print('torch' in sys.modules)"
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
    x = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    for kink in KINKS.get(name, []):
        x = x[(x - kink).abs() > 2 * step]
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


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "binary_step"])
def test_divergence_is_not_hidden(name: str) -> None:
    entry = ACTIVATIONS[name]
    assert entry.function(torch.tensor([math.nan]), **entry.arguments()).isnan().all()


@pytest.mark.parametrize("name", [name for name, entry in ACTIVATIONS.items() if entry.arguments()])
def test_arguments_may_differ_along_the_stack(name: str) -> None:
    entry = ACTIVATIONS[name]
    (argument,) = entry.arguments()
    values = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    x = torch.linspace(-8, 8, 50, dtype=torch.float64).expand(3, 50)  # (N, units)
    for formula in (entry.function, entry.derivative):
        together = formula(x, **{argument: values[:, None]})
        alone = [formula(x[i], **{argument: values[i].item()}) for i in range(3)]
        assert torch.equal(together, torch.stack(alone))


# --- facts --------------------------------------------------------------------------------------


@over([variant for variant in VARIANTS if variant[0] != "square"])
def test_max_slope_is_the_supremum_of_the_slope(name: str, parameters: dict[str, float]) -> None:
    entry = ACTIVATIONS[name]
    arguments = entry.arguments(parameters)
    kinks = torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64)
    x = torch.cat([grid(), kinks - 1e-12, kinks + 1e-12])
    slopes = entry.derivative(x, **arguments).abs()
    assert slopes.max().item() == pytest.approx(entry.max_slope(**arguments), rel=1e-6)
    assert slopes.max().item() <= entry.max_slope(**arguments) + 1e-12


def test_the_slope_of_square_has_no_bound() -> None:
    assert ACTIVATIONS["square"].max_slope() == math.inf
    assert ACTIVATIONS["square"].derivative(torch.tensor(1e9)) > 1e9


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
    if name not in ("prelu", "rrelu"):
        assert commutes == entry.non_decreasing
    else:  # at a fixed slope it may; a learned slope turns negative, noise reorders
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


# --- autograd -----------------------------------------------------------------------------------


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


def test_an_argument_without_a_derivative_cannot_learn() -> None:
    alpha = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="elu has no derivative by alpha"):
        elementwise(torch.zeros(2), ACTIVATIONS["elu"], {"alpha": alpha})


# --- a user's own module ------------------------------------------------------------------------

MODULES = """
import torch
from torch import nn

class Snake(nn.Module):
    def __init__(self, frequency=1.0):
        super().__init__()
        self.frequency = nn.Parameter(torch.tensor(frequency))
    def forward(self, x):
        return x + (self.frequency * x).sin() ** 2 / self.frequency

class Needy(nn.Module):
    def __init__(self, slope):
        super().__init__()

class Halving(nn.Module):
    def forward(self, x):
        return x[:, : x.shape[1] // 2]

class Widening(nn.Module):
    def forward(self, x):
        return x.double()

class Soft(nn.Module):
    def forward(self, x):
        return x.softmax(1)

class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("needs 7 channels\\nsecond line")

class Pair(nn.Module):
    def forward(self, x):
        return x, x

class Plain:
    pass

def function(x):
    return x
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, holding a user's modules."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    for module in ("users_activations", "users_package"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "users_activations.py").write_text(MODULES)
    return tmp_path


def test_a_users_module_is_found_in_the_current_directory(folder: Path) -> None:
    assert check_custom_path("users_activations:Snake") is None
    snake = load_custom("users_activations:Snake")
    x = torch.linspace(-1, 1, 6).reshape(2, 3)
    torch.testing.assert_close(snake()(x), x + x.sin() ** 2)


@pytest.mark.parametrize(
    "path", ["", "users_activations", "users_activations:", ":Snake", "a-b:C", "a..b:C", "a:b:c"]
)
def test_a_malformed_path_is_told(path: str, folder: Path) -> None:
    problem = check_custom_path(path)
    assert problem is not None
    assert f"activation.path={path!r} is not of the form package.module:Class" in problem
    with pytest.raises(UserError, match="not of the form"):
        load_custom(path)


def test_a_missing_module_is_told_with_the_folder_searched(folder: Path) -> None:
    problem = check_custom_path("users_activation:Snake")
    assert problem is not None
    assert f"no module 'users_activation' in {folder}" in problem
    problem = check_custom_path("users_activations.deeper.still:Snake")
    assert problem is not None
    assert "no module 'users_activations.deeper'" in problem


def test_checking_a_path_runs_no_code_of_the_user(folder: Path) -> None:
    (folder / "users_package").mkdir()
    (folder / "users_package" / "__init__.py").write_text("raise RuntimeError('ran\\nhere')")
    (folder / "users_package" / "inner.py").write_text("class Snake: ...")
    assert check_custom_path("users_package.inner:Snake") is None
    with pytest.raises(
        UserError, match=r"importing users_package.inner failed: RuntimeError: ran$"
    ):
        load_custom("users_package.inner:Snake")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Snek", "has no class 'Snek'; did you mean Snake?"),
        ("Xyzzy", "has no class 'Xyzzy'; its classes are Failing, Halving, "),
        ("Plain", "Plain is the class Plain, not a torch.nn.Module class"),
        ("function", "function is a function, not a torch.nn.Module class"),
        ("Needy", "cannot be built without arguments (TypeError: "),
        ("Halving", "turns shape (2, 3, 4, 4) and torch.float32 into (2, 1, 4, 4)"),
        ("Widening", "and torch.float64; an activation keeps both"),
        ("Soft", "does not map each element by itself"),
        ("Failing", "failed on an input of shape (2, 3, 4, 4): RuntimeError: needs 7 channels"),
        ("Pair", "returns a tuple, not a tensor"),
    ],
)
def test_a_class_that_cannot_serve_is_told(name: str, message: str, folder: Path) -> None:
    with pytest.raises(UserError) as raised:
        load_custom(f"users_activations:{name}")
    assert message in str(raised.value)
    assert f"users_activations:{name}" in str(raised.value)
    assert "\n" not in str(raised.value)
