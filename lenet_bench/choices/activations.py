"""The zoo of activation functions: one entry each, with formula, derivative and facts.

In: tensors, and the parameters a user set. Out: `ACTIVATIONS`, which the configuration, the stack,
the probes, the plots and the docs read, and the loading of a user's own module.

Importing this file does not import torch: formulas call tensor methods, so configuration mistakes
and `--help` answer at once. Formulas keep their relative accuracy far out in the tails and never
meet inf * 0, in float32, float64 and bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from lenet_bench.choices.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal[
    "linear",
    "step",
    "polynomial",
    "sigmoidal",
    "rectified",
    "exponential linear",
    "smooth rectified",
    "self-gated",
]


@dataclass(frozen=True)
class Activation:
    """One activation function f and what is known about it.

    A formula or a fact takes the function's *arguments* by keyword, as `arguments()` derives them
    from the parameters in the configuration. To formulas they are numbers, or tensors of x's dtype
    that broadcast against x: values per run, PReLU's slopes, RReLU's noise. To facts they are
    numbers.

    Attributes:
        name: The choice in the configuration.
        formula: f(x) in plain text.
        function: (x, **arguments) -> f(x), the shape of x.
        derivative: (x, **arguments) -> f'(x), the shape of x; at a kink, what torch's own backward
            uses there.
        family: The kind of curve.
        output_range: Infimum and supremum of f.
        gain: Recommended gain of the weights before f: torch.nn.init.calculate_gain's where torch
            knows f, 1 elsewhere; PReLU and RReLU have Leaky ReLU's at their mean slope, which is
            the case He et al. (2015) derive it for.
        max_slope: Supremum of |f'|.
        reference: The paper to cite.
        non_decreasing: Whether f never decreases for any allowed parameters, during training too:
            max pooling then commutes with it. Every other entry falls and then rises, so that its
            maximum over a set lies at the set's largest or smallest member.
        can_die: Whether f' is exactly 0 somewhere a unit can stay, so that it can be dead. False
            for a tail that only underflows.
        parameters: What the user may set.
        torch_module: f's class in torch.nn, if it has one.
        to_arguments: Parameters -> arguments, where they differ.
        argument_derivatives: (x, **arguments) -> df/d(argument), for the arguments that learn.
        conflict: Says what is wrong between parameters that are fine by themselves.
    """

    name: str
    formula: str
    function: Callable[..., Tensor]
    derivative: Callable[..., Tensor]
    family: Family
    output_range: Callable[..., tuple[float, float]]
    gain: Callable[..., float]
    max_slope: Callable[..., float]
    reference: str
    non_decreasing: bool = True
    can_die: Callable[..., bool] = lambda **_: False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    torch_module: str | None = None
    to_arguments: Callable[..., dict[str, float]] = lambda **parameters: parameters
    argument_derivatives: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)
    conflict: Callable[..., str | None] = lambda **_: None

    def complete(self, parameters: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return the given parameters with the defaults of all others.

        Raises:
            KeyError: The activation has no parameter of a given name.
        """
        given = dict(parameters or {})
        if unknown := given.keys() - self.parameters.keys():
            raise KeyError(f"{self.name} has no parameter {', '.join(sorted(unknown))}")
        return {name: given.get(name, entry.default) for name, entry in self.parameters.items()}

    def arguments(self, parameters: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return what formulas and facts take, from the parameters of the configuration.

        They differ for two activations, whose one argument is `slope`: PReLU's is its initial
        slope, RReLU's the mean of its bounds, the value it has at evaluation.
        """
        return self.to_arguments(**self.complete(parameters))


def _constant(value: Any) -> Callable[..., Any]:
    return lambda **_: value


_SQRT2 = math.sqrt(2)
_LINE = (-math.inf, math.inf)

# Self-normalisation constants of Klambauer et al. (2017), to the digits that torch uses.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


# --- formulas -----------------------------------------------------------------------------------


def _positive(x: Tensor) -> Tensor:
    """Return 1 where x > 0, 0 elsewhere, in x's dtype.

    On the CPU sign and clamp are vectorised; comparing and `where` take several times as long.
    """
    return x.sign().clamp(min=0)


def _identity(x: Tensor) -> Tensor:
    return x


def _identity_derivative(x: Tensor) -> Tensor:
    return x.new_ones(()).expand_as(x)


def _binary_step(x: Tensor) -> Tensor:
    return (x >= 0).to(x.dtype)


def _binary_step_derivative(x: Tensor) -> Tensor:
    return x.new_zeros(()).expand_as(x)


def _square(x: Tensor) -> Tensor:
    return x * x


def _square_derivative(x: Tensor) -> Tensor:
    return 2 * x


def _sigmoid(x: Tensor) -> Tensor:
    return x.sigmoid()


def _sigmoid_derivative(x: Tensor) -> Tensor:
    # 1 - sigmoid(x) would be rounded to 0 from x = 17 on in float32; sigmoid(-x) is not.
    return x.sigmoid() * (-x).sigmoid()


def _tanh(x: Tensor) -> Tensor:
    return x.tanh()


def _tanh_derivative(x: Tensor) -> Tensor:
    # sech(x)^2, without the cancellation of 1 - tanh(x)^2.
    return 4 * _sigmoid_derivative(2 * x)


def _relu(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def _relu_derivative(x: Tensor) -> Tensor:
    return _positive(x)


def _leaky_relu(x: Tensor, negative_slope: float | Tensor) -> Tensor:
    return x.clamp(min=0) + negative_slope * x.clamp(max=0)


def _leaky_relu_derivative(x: Tensor, negative_slope: float | Tensor) -> Tensor:
    positive = _positive(x)
    return positive + negative_slope * (1 - positive)


def _slope_relu(x: Tensor, slope: float | Tensor) -> Tensor:
    return _leaky_relu(x, slope)


def _slope_relu_derivative(x: Tensor, slope: float | Tensor) -> Tensor:
    return _leaky_relu_derivative(x, slope)


def _derivative_by_slope(x: Tensor, slope: float | Tensor) -> Tensor:
    return x.clamp(max=0)


def _relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


def _relu6_derivative(x: Tensor) -> Tensor:
    return _positive(x) * _positive(6 - x)


def _leaky_relu6(x: Tensor, negative_slope: float | Tensor) -> Tensor:
    return _leaky_relu(x, negative_slope).clamp(max=6)


def _leaky_relu6_derivative(x: Tensor, negative_slope: float | Tensor) -> Tensor:
    return _leaky_relu_derivative(x, negative_slope) * _positive(6 - x)


def _softplus(x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return x.clamp(min=0) + (-(beta * x).abs()).exp().log1p() / beta


def _softplus_derivative(x: Tensor, beta: float | Tensor) -> Tensor:
    return (beta * x).sigmoid()


def _softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def _softsign_derivative(x: Tensor) -> Tensor:
    return (1 + x.abs()) ** -2


def _elu(x: Tensor, alpha: float | Tensor) -> Tensor:
    return x.clamp(min=0) + alpha * x.clamp(max=0).expm1()


def _elu_derivative(x: Tensor, alpha: float | Tensor) -> Tensor:
    positive = _positive(x)
    return positive + alpha * (x.clamp(max=0).exp() - positive)


def _selu(x: Tensor) -> Tensor:
    return _SELU_SCALE * _elu(x, _SELU_ALPHA)


def _selu_derivative(x: Tensor) -> Tensor:
    return _SELU_SCALE * _elu_derivative(x, _SELU_ALPHA)


def _celu(x: Tensor, alpha: float | Tensor) -> Tensor:
    return x.clamp(min=0) + alpha * (x.clamp(max=0) / alpha).expm1()


def _celu_derivative(x: Tensor, alpha: float | Tensor) -> Tensor:
    return (x.clamp(max=0) / alpha).exp()


def _normal_cdf(x: Tensor) -> Tensor:
    # erfc keeps the lower tail, which 1 + erf cancels away.
    return 0.5 * (-x / _SQRT2).erfc()


def _gelu(x: Tensor) -> Tensor:
    return x * _normal_cdf(x)


def _gelu_derivative(x: Tensor) -> Tensor:
    density = (-0.5 * x * x).exp() / math.sqrt(2 * math.pi)
    return _normal_cdf(x) + x * density


def _swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()


def _swish_derivative(x: Tensor) -> Tensor:
    return x.sigmoid() + x * _sigmoid_derivative(x)


def _hard_swish(x: Tensor) -> Tensor:
    return x * _hard_sigmoid(x)


def _hard_swish_derivative(x: Tensor) -> Tensor:
    inside, above = _positive(3 - x.abs()), 1 - _positive(3 - x)
    return inside * (x / 3 + 0.5) + above


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


def _hard_sigmoid_derivative(x: Tensor) -> Tensor:
    return _positive(3 - x.abs()) / 6


def _hard_tanh(x: Tensor) -> Tensor:
    return x.clamp(-1, 1)


def _hard_tanh_derivative(x: Tensor) -> Tensor:
    return _positive(1 - x.abs())


def _mish_terms(x: Tensor) -> tuple[Tensor, Tensor]:
    # tanh(log(1 + e)) = n / (n + 2) with e = exp(x), n = e (e + 2): one exponential instead of
    # three functions, and no cancellation far below 0. From x = 20 on the quotient is 1.
    e = x.clamp(max=20).exp()
    return e, e * (e + 2)


def _mish(x: Tensor) -> Tensor:
    _, n = _mish_terms(x)
    return x * (n / (n + 2))


def _mish_derivative(x: Tensor) -> Tensor:
    e, n = _mish_terms(x)
    return n / (n + 2) + x.clamp(max=20) * (4 * e * (e + 1) / (n + 2) ** 2)


# --- facts --------------------------------------------------------------------------------------


def _leaky_gain(negative_slope: float) -> float:
    return math.sqrt(2 / (1 + negative_slope**2))


def _leaky_range(negative_slope: float) -> tuple[float, float]:
    # A negative slope, which PReLU may have, folds the negative half upwards.
    return (-math.inf if negative_slope > 0 else 0.0, math.inf)


# Where the derivative of swish is largest x = 2 / tanh(x / 2), and f'(x) = 1/2 + x/4.
_SWISH_MAX_SLOPE = 0.5 + 2.3993572805154675 / 4
# Largest derivative of Mish, at x = 1.4905712; no closed form.
_MISH_MAX_SLOPE = 1.0884981612512517
# Minima, at x = -0.7517916, -1.2784645 (where f(x) = 1 + x) and -1.1924312.
_GELU_MINIMUM = -0.16997120747990363
_SWISH_MINIMUM = -0.2784645427610738
_MISH_MINIMUM = -0.3088434130172504

_NEGATIVE_SLOPE = Parameter(0.01, "slope for negative inputs; 0 is the version without leak", low=0)
_ALPHA = Parameter(1.0, "minus the value approached far below 0", low=0, low_open=True)


# --- the zoo ------------------------------------------------------------------------------------

_ENTRIES = (
    Activation(
        name="identity",
        formula="x",
        function=_identity,
        derivative=_identity_derivative,
        family="linear",
        output_range=_constant(_LINE),
        gain=_constant(1.0),
        max_slope=_constant(1.0),
        reference="No activation: a linear network, the control of every experiment",
        torch_module="Identity",
    ),
    Activation(
        name="binary_step",
        formula="1 if x >= 0 else 0",
        function=_binary_step,
        derivative=_binary_step_derivative,
        family="step",
        output_range=_constant((0.0, 1.0)),
        gain=_constant(1.0),
        max_slope=_constant(0.0),
        can_die=_constant(True),
        reference="McCulloch & Pitts 1943, A logical calculus of the ideas immanent in nervous "
        "activity, doi:10.1007/BF02478259",
    ),
    Activation(
        name="square",
        formula="x^2",
        function=_square,
        derivative=_square_derivative,
        family="polynomial",
        output_range=_constant((0.0, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant(math.inf),
        can_die=_constant(True),  # at an input of exactly 0, as zero weights give
        non_decreasing=False,
        reference="Livni, Shalev-Shwartz & Shamir 2014, On the computational efficiency of "
        "training neural networks, arXiv:1410.1141",
    ),
    Activation(
        name="sigmoid",
        formula="1 / (1 + exp(-x))",
        function=_sigmoid,
        derivative=_sigmoid_derivative,
        family="sigmoidal",
        output_range=_constant((0.0, 1.0)),
        gain=_constant(1.0),
        max_slope=_constant(0.25),
        reference="Rumelhart, Hinton & Williams 1986, Learning representations by "
        "back-propagating errors, doi:10.1038/323533a0",
        torch_module="Sigmoid",
    ),
    Activation(
        name="tanh",
        formula="tanh(x)",
        function=_tanh,
        derivative=_tanh_derivative,
        family="sigmoidal",
        output_range=_constant((-1.0, 1.0)),
        gain=_constant(5 / 3),
        max_slope=_constant(1.0),
        reference="LeCun, Bottou, Orr & Müller 1998, Efficient BackProp, "
        "doi:10.1007/3-540-49430-8_2",
        torch_module="Tanh",
    ),
    Activation(
        name="relu",
        formula="max(0, x)",
        function=_relu,
        derivative=_relu_derivative,
        family="rectified",
        output_range=_constant((0.0, math.inf)),
        gain=_constant(_SQRT2),
        max_slope=_constant(1.0),
        can_die=_constant(True),
        reference="Nair & Hinton 2010, Rectified linear units improve restricted Boltzmann "
        "machines, ICML",
        torch_module="ReLU",
    ),
    Activation(
        name="leaky_relu",
        formula="x if x > 0 else negative_slope x",
        function=_leaky_relu,
        derivative=_leaky_relu_derivative,
        family="rectified",
        output_range=_leaky_range,
        gain=_leaky_gain,
        max_slope=lambda negative_slope: max(1.0, negative_slope),
        can_die=lambda negative_slope: negative_slope == 0,
        reference="Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network "
        "acoustic models, ICML workshop",
        parameters={"negative_slope": _NEGATIVE_SLOPE},
        torch_module="LeakyReLU",
    ),
    Activation(
        name="prelu",
        formula="x if x > 0 else slope x, slope learned",
        function=_slope_relu,
        derivative=_slope_relu_derivative,
        family="rectified",
        output_range=lambda slope: _leaky_range(slope),
        gain=lambda slope: _leaky_gain(slope),
        max_slope=lambda slope: max(1.0, abs(slope)),
        non_decreasing=False,  # nothing keeps a learned slope from turning negative
        can_die=lambda slope: slope == 0,
        reference="He, Zhang, Ren & Sun 2015, Delving deep into rectifiers, arXiv:1502.01852",
        parameters={
            "init": Parameter(0.25, "initial slope for negative inputs"),
            "per_unit": Parameter(True, "one slope per unit (true) or one per layer (false)"),
        },
        torch_module="PReLU",
        to_arguments=lambda init, per_unit: {"slope": init},
        argument_derivatives={"slope": _derivative_by_slope},
    ),
    Activation(
        name="rrelu",
        formula="x if x > 0 else slope x, slope uniform in [lower, upper] for each input in "
        "training, their mean at evaluation",
        function=_slope_relu,
        derivative=_slope_relu_derivative,
        family="rectified",
        output_range=lambda slope: _leaky_range(slope),
        gain=lambda slope: _leaky_gain(slope),
        max_slope=lambda slope: max(1.0, slope),
        non_decreasing=False,  # the noise reorders negative inputs
        can_die=lambda slope: slope == 0,
        reference="Xu, Wang, Chen & Li 2015, Empirical evaluation of rectified activations in "
        "convolutional network, arXiv:1505.00853",
        parameters={
            "lower": Parameter(1 / 8, "smallest slope for negative inputs", low=0),
            "upper": Parameter(1 / 3, "largest slope for negative inputs", low=0),
        },
        torch_module="RReLU",
        to_arguments=lambda lower, upper: {"slope": (lower + upper) / 2},
        conflict=lambda lower, upper: (
            f"lower must not exceed upper (lower={lower:g}, upper={upper:g})"
            if lower > upper
            else None
        ),
    ),
    Activation(
        name="relu6",
        formula="min(max(0, x), 6)",
        function=_relu6,
        derivative=_relu6_derivative,
        family="rectified",
        output_range=_constant((0.0, 6.0)),
        gain=_constant(1.0),
        max_slope=_constant(1.0),
        can_die=_constant(True),
        reference="Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10",
        torch_module="ReLU6",
    ),
    Activation(
        name="leaky_relu6",
        formula="min(x if x > 0 else negative_slope x, 6)",
        function=_leaky_relu6,
        derivative=_leaky_relu6_derivative,
        family="rectified",
        output_range=lambda negative_slope: (_leaky_range(negative_slope)[0], 6.0),
        gain=_constant(1.0),
        max_slope=lambda negative_slope: max(1.0, negative_slope),
        can_die=_constant(True),
        reference="This project: ReLU6 with the slope of Leaky ReLU below 0",
        parameters={"negative_slope": _NEGATIVE_SLOPE},
    ),
    Activation(
        name="softplus",
        formula="log(1 + exp(beta x)) / beta",
        function=_softplus,
        derivative=_softplus_derivative,
        family="smooth rectified",
        output_range=_constant((0.0, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant(1.0),
        reference="Dugas, Bengio, Bélisle, Nadeau & Garcia 2001, Incorporating second-order "
        "functional knowledge for better option pricing, NIPS",
        parameters={"beta": Parameter(1.0, "sharpness: ReLU as it grows", low=0, low_open=True)},
        torch_module="Softplus",
    ),
    Activation(
        name="softsign",
        formula="x / (1 + |x|)",
        function=_softsign,
        derivative=_softsign_derivative,
        family="sigmoidal",
        output_range=_constant((-1.0, 1.0)),
        gain=_constant(1.0),
        max_slope=_constant(1.0),
        reference="Bergstra, Desjardins, Lamblin & Bengio 2009, Quadratic polynomials learn "
        "better image features, technical report 1337, Université de Montréal",
        torch_module="Softsign",
    ),
    Activation(
        name="elu",
        formula="x if x > 0 else alpha (exp(x) - 1)",
        function=_elu,
        derivative=_elu_derivative,
        family="exponential linear",
        output_range=lambda alpha: (-alpha, math.inf),
        gain=_constant(1.0),
        max_slope=lambda alpha: max(1.0, alpha),
        reference="Clevert, Unterthiner & Hochreiter 2016, Fast and accurate deep network "
        "learning by exponential linear units, arXiv:1511.07289",
        parameters={"alpha": _ALPHA},
        torch_module="ELU",
    ),
    Activation(
        name="selu",
        formula="1.0507 (x if x > 0 else 1.67326 (exp(x) - 1))",
        function=_selu,
        derivative=_selu_derivative,
        family="exponential linear",
        output_range=_constant((-_SELU_SCALE * _SELU_ALPHA, math.inf)),
        gain=_constant(0.75),
        max_slope=_constant(_SELU_SCALE * _SELU_ALPHA),
        reference="Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural "
        "networks, arXiv:1706.02515",
        torch_module="SELU",
    ),
    Activation(
        name="celu",
        formula="x if x > 0 else alpha (exp(x / alpha) - 1)",
        function=_celu,
        derivative=_celu_derivative,
        family="exponential linear",
        output_range=lambda alpha: (-alpha, math.inf),
        gain=_constant(1.0),
        max_slope=_constant(1.0),
        reference="Barron 2017, Continuously differentiable exponential linear units, "
        "arXiv:1704.07483",
        parameters={"alpha": _ALPHA},
        torch_module="CELU",
    ),
    Activation(
        name="gelu",
        formula="x Phi(x), Phi the standard normal distribution function",
        function=_gelu,
        derivative=_gelu_derivative,
        family="self-gated",
        output_range=_constant((_GELU_MINIMUM, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant((1 + math.erf(1)) / 2 + math.exp(-1) / math.sqrt(math.pi)),
        non_decreasing=False,
        reference="Hendrycks & Gimpel 2016, Gaussian error linear units, arXiv:1606.08415",
        torch_module="GELU",
    ),
    Activation(
        name="swish",
        formula="x / (1 + exp(-x))",
        function=_swish,
        derivative=_swish_derivative,
        family="self-gated",
        output_range=_constant((_SWISH_MINIMUM, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant(_SWISH_MAX_SLOPE),
        non_decreasing=False,
        reference="Ramachandran, Zoph & Le 2017, Searching for activation functions, "
        "arXiv:1710.05941 (SiLU: Elfwing, Uchibe & Doya 2018, doi:10.1016/j.neunet.2017.12.012)",
        torch_module="SiLU",
    ),
    Activation(
        name="hard_swish",
        formula="x min(max(0, x + 3), 6) / 6",
        function=_hard_swish,
        derivative=_hard_swish_derivative,
        family="self-gated",
        output_range=_constant((-0.375, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant(1.5),
        non_decreasing=False,
        can_die=_constant(True),
        reference="Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244",
        torch_module="Hardswish",
    ),
    Activation(
        name="hard_sigmoid",
        formula="min(max(0, x + 3), 6) / 6",
        function=_hard_sigmoid,
        derivative=_hard_sigmoid_derivative,
        family="sigmoidal",
        output_range=_constant((0.0, 1.0)),
        gain=_constant(1.0),
        max_slope=_constant(1 / 6),
        can_die=_constant(True),
        reference="Courbariaux, Bengio & David 2015, BinaryConnect, arXiv:1511.00363; with the "
        "slope 1/6 of Howard et al. 2019, arXiv:1905.02244",
        torch_module="Hardsigmoid",
    ),
    Activation(
        name="hard_tanh",
        formula="min(max(-1, x), 1)",
        function=_hard_tanh,
        derivative=_hard_tanh_derivative,
        family="sigmoidal",
        output_range=_constant((-1.0, 1.0)),
        gain=_constant(1.0),
        max_slope=_constant(1.0),
        can_die=_constant(True),
        reference="Collobert 2004, Large scale machine learning, PhD thesis, Université de "
        "Paris VI",
        torch_module="Hardtanh",
    ),
    Activation(
        name="mish",
        formula="x tanh(log(1 + exp(x)))",
        function=_mish,
        derivative=_mish_derivative,
        family="self-gated",
        output_range=_constant((_MISH_MINIMUM, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant(_MISH_MAX_SLOPE),
        non_decreasing=False,
        reference="Misra 2019, Mish: a self regularized non-monotonic activation function, "
        "arXiv:1908.08681",
        torch_module="Mish",
    ),
)

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
