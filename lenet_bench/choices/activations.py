"""The list of activations: every activation function that can be chosen, an entry each.

In: the formulas of `formulas`. Out: `ACTIVATIONS`, the entries by name, in the order in which they
are listed everywhere. A new activation is one more entry here, with its formulas in `formulas`:
choices, help, networks, probes, figures, tests and documentation follow from it.

Importing this file does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from lenet_bench.choices import formulas
from lenet_bench.choices.entry import Activation, OutputFormula
from lenet_bench.choices.parameters import Parameter

T = TypeVar("T")

_LINE = (-math.inf, math.inf)


def _constant(value: T) -> Callable[..., T]:
    return lambda **_: value


def _leaky_gain(negative_slope: float) -> float:
    return math.sqrt(2 / (1 + negative_slope**2))


def _leaky_range(negative_slope: float) -> tuple[float, float]:
    # A negative slope, which PReLU may have, folds the negative half upwards.
    return (-math.inf if negative_slope > 0 else 0.0, math.inf)


def _slopes(units: int, init: float, per_unit: float) -> int:
    return units if per_unit else 1


# Where the derivative of swish is largest x = 2 / tanh(x / 2), and f'(x) = 1/2 + x/4.
_SWISH_MAX_SLOPE = 0.5 + 2.3993572805154675 / 4
# Largest derivative of Mish, at x = 1.4905712; no closed form.
_MISH_MAX_SLOPE = 1.0884981612512517
# Minima, at x = -0.7517916, -1.2784645 (where f(x) = 1 + x) and -1.1924312.
_GELU_MINIMUM = -0.16997120747990363
_SWISH_MINIMUM = -0.2784645427610738
_MISH_MINIMUM = -0.3088434130172504

_NEGATIVE_SLOPE = Parameter(
    0.01, "slope for negative inputs; 0 gives the same function without leak", low=0
)
_ALPHA = Parameter(1.0, "far below 0, f(x) approaches -alpha", low=0, low_open=True)

_ENTRIES = (
    Activation(
        name="identity",
        formula="x",
        function=formulas.identity,
        derivative=formulas.identity_derivative,
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
        function=formulas.binary_step,
        derivative=formulas.binary_step_derivative,
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
        function=formulas.square,
        derivative=formulas.square_derivative,
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
        function=formulas.sigmoid,
        derivative=formulas.sigmoid_derivative,
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
        function=formulas.tanh,
        derivative=formulas.tanh_derivative,
        family="sigmoidal",
        output_range=_constant((-1.0, 1.0)),
        gain=_constant(5 / 3),
        max_slope=_constant(1.0),
        reference="LeCun, Bottou, Orr & Müller 1998, Efficient BackProp, "
        "doi:10.1007/3-540-49430-8_2",
        torch_module="Tanh",
        output_formula=OutputFormula(formulas.tanh_by_sigmoid, formulas.tanh_gradient),
    ),
    Activation(
        name="relu",
        formula="max(0, x)",
        function=formulas.relu,
        derivative=formulas.relu_derivative,
        family="rectified",
        output_range=_constant((0.0, math.inf)),
        gain=_constant(formulas.SQRT2),
        max_slope=_constant(1.0),
        can_die=_constant(True),
        reference="Nair & Hinton 2010, Rectified linear units improve restricted Boltzmann "
        "machines, ICML",
        torch_module="ReLU",
    ),
    Activation(
        name="leaky_relu",
        formula="x if x > 0 else negative_slope x",
        function=formulas.leaky_relu,
        derivative=formulas.leaky_relu_derivative,
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
        function=formulas.slope_relu,
        derivative=formulas.slope_relu_derivative,
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
        to_arguments=lambda init, per_unit: {"slope": init},
        argument_derivatives={"slope": formulas.derivative_by_slope},
        learned_values=_slopes,
        torch_module="PReLU",
        torch_arguments=lambda units, init, per_unit: {
            "num_parameters": _slopes(units, init, per_unit),
            "init": init,
        },
    ),
    Activation(
        name="rrelu",
        formula="x if x > 0 else slope x, slope uniform in [lower, upper] for each input in "
        "training, their mean at evaluation",
        function=formulas.slope_relu,
        derivative=formulas.slope_relu_derivative,
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
        to_arguments=lambda lower, upper: {"slope": (lower + upper) / 2},
        noise={"slope": lambda lower, upper: (lower, upper)},
        torch_module="RReLU",
        conflict=lambda lower, upper: (
            f"lower must not exceed upper (lower={lower:g}, upper={upper:g})"
            if lower > upper
            else None
        ),
    ),
    Activation(
        name="relu6",
        formula="min(max(0, x), 6)",
        function=formulas.relu6,
        derivative=formulas.relu6_derivative,
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
        function=formulas.leaky_relu6,
        derivative=formulas.leaky_relu6_derivative,
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
        function=formulas.softplus,
        derivative=formulas.softplus_derivative,
        family="smooth rectified",
        output_range=_constant((0.0, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant(1.0),
        reference="Dugas, Bengio, Bélisle, Nadeau & Garcia 2001, Incorporating second-order "
        "functional knowledge for better option pricing, NIPS",
        parameters={"beta": Parameter(1.0, "the larger, the closer to ReLU", low=0, low_open=True)},
        torch_module="Softplus",
    ),
    Activation(
        name="softsign",
        formula="x / (1 + |x|)",
        function=formulas.softsign,
        derivative=formulas.softsign_derivative,
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
        function=formulas.elu,
        derivative=formulas.elu_derivative,
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
        function=formulas.selu,
        derivative=formulas.selu_derivative,
        family="exponential linear",
        output_range=_constant((-formulas.SELU_SCALE * formulas.SELU_ALPHA, math.inf)),
        gain=_constant(0.75),
        max_slope=_constant(formulas.SELU_SCALE * formulas.SELU_ALPHA),
        reference="Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural "
        "networks, arXiv:1706.02515",
        torch_module="SELU",
    ),
    Activation(
        name="celu",
        formula="x if x > 0 else alpha (exp(x / alpha) - 1)",
        function=formulas.celu,
        derivative=formulas.celu_derivative,
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
        function=formulas.gelu,
        derivative=formulas.gelu_derivative,
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
        function=formulas.swish,
        derivative=formulas.swish_derivative,
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
        function=formulas.hard_swish,
        derivative=formulas.hard_swish_derivative,
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
        function=formulas.hard_sigmoid,
        derivative=formulas.hard_sigmoid_derivative,
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
        function=formulas.hard_tanh,
        derivative=formulas.hard_tanh_derivative,
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
        function=formulas.mish,
        derivative=formulas.mish_derivative,
        family="self-gated",
        output_range=_constant((_MISH_MINIMUM, math.inf)),
        gain=_constant(1.0),
        max_slope=_constant(_MISH_MAX_SLOPE),
        non_decreasing=False,
        reference="Misra 2019, Mish: a self regularized non-monotonic activation function, "
        "arXiv:1908.08681",
        torch_module="Mish",
        slow_in_torch=True,  # three times the time of the formula
    ),
)

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
