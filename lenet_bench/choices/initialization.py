"""Initial weights: every scheme by name, drawn into a plain LeNet from one generator.

In: a LeNet, a scheme with its parameters, a generator. Out: the same LeNet, its weights and biases
overwritten; batch norms and learned slopes are left alone and draw nothing, so that a seed gives
the same weights to every activation.

Importing this file does not import torch: the configuration reads `SCHEMES` from it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from lenet_bench.choices.parameters import Parameter

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from lenet_bench.model.lenet import LeNet

LSUV_TOLERANCE = 0.01  # of the variance, relative
LSUV_TRIES = 10  # per layer; one is enough unless rounding interferes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scheme:
    """One way to draw the weights of a layer.

    Attributes:
        name: The choice in the configuration.
        meaning: One line for the help text: the distribution at gain 1.
        draw: (weight, generator, **parameters) -> None, overwrites a weight at gain 1.
        reference: The paper to cite.
        own_gain: The gain that `draw` already contains; an activation's recommended gain takes
            its place.
        parameters: What the user may set.
        draws_biases: Whether biases are drawn too, when the user gives no constant.
        needs_images: Whether the weights are adapted to training images.
    """

    name: str
    meaning: str
    draw: Callable[..., None]
    reference: str
    own_gain: float = 1.0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    draws_biases: bool = False
    needs_images: bool = False


def gain_factor(scheme: str, gain: float | Literal["auto"], recommended: float) -> float:
    """Return what multiplies the weights that a scheme draws.

    Args:
        scheme: A name in `SCHEMES`.
        gain: The user's: a number, or "auto" for the activation's.
        recommended: The activation's recommended gain, `Activation.gain`.

    Returns:
        The number itself; for "auto" the recommended gain over the one the scheme contains, which
        is sqrt(2) in Kaiming's and 1 in the others'.
    """
    return recommended / SCHEMES[scheme].own_gain if gain == "auto" else gain


def initialize(
    model: LeNet,
    *,
    scheme: str,
    generator: Generator,
    gain: float = 1.0,
    bias: float | None = None,
    logits_gain: float = 1.0,
    parameters: Mapping[str, float] | None = None,
    images: Tensor | None = None,
) -> None:
    """Overwrite the weights and biases of every weighted layer, the logits included.

    Layers are drawn from `conv1` to `logits`, all by the same scheme. A `logits_gain` well below 1
    makes the first predictions nearly uniform, so that training starts near the loss of chance
    whatever the activation puts out. It also shrinks the first gradients of all layers below, which
    prolongs a sigmoid's plateau; 1 is the scheme by the book.

    Args:
        model: The network, on the generator's device.
        scheme: A name in `SCHEMES`.
        generator: Where the draw comes from; the same state gives the same weights.
        gain: Multiplies the weights (for lsuv: the deviation that layers put out);
            `gain_factor` resolves "auto" to this.
        bias: The constant of all biases; None is 0, except for torch_default, which draws them
            as torch does.
        logits_gain: Multiplies the weights of the logits once more.
        parameters: The scheme's own that differ from their defaults, such as normal's `std`.
        images: Standardised training images (B, C, H, W), for lsuv alone.

    Raises:
        ValueError: lsuv without images.
    """
    import torch

    entry = SCHEMES[scheme]
    if entry.needs_images and images is None:
        raise ValueError(f"{scheme} adapts the weights to images and got none")
    values = {name: p.default for name, p in entry.parameters.items()} | dict(parameters or {})
    with torch.no_grad():
        for name in model.weighted_layers:
            layer = model.layer(name)
            assert layer.bias is not None
            entry.draw(layer.weight, generator, **values)
            layer.weight.mul_(gain)
            if bias is None and entry.draws_biases:
                bound = 1 / math.sqrt(_fan_in(layer.weight))
                layer.bias.uniform_(-bound, bound, generator=generator)
            else:
                layer.bias.fill_(bias or 0.0)
        if images is not None and entry.needs_images:
            _scale_to_unit_variance(model, images, gain)
        model.logits.weight.mul_(logits_gain)


def _scale_to_unit_variance(model: LeNet, images: Tensor, gain: float) -> None:
    """Scale layer after layer until its outputs, before the activation, deviate by `gain`."""
    training = model.training
    # Without the noise of RReLU and without touching the running statistics of batch norms.
    model.eval()
    x = images
    for name in model.weighted_layers:
        layer = model.layer(name)
        for _ in range(LSUV_TRIES):
            ratio = float(layer(x).double().var(correction=0)) / gain**2
            if not 0 < ratio < math.inf:
                _log.warning("lsuv: %s has no output variance to scale; left orthogonal", name)
                break
            if abs(ratio - 1) <= LSUV_TOLERANCE:
                break
            layer.weight.div_(math.sqrt(ratio))
        if name != "logits":
            x, _ = model.apply_hidden_layer(name, x)
    model.train(training)


def _fan_in(weight: Tensor) -> int:
    return weight[0].numel()


def _torch_default(weight: Tensor, generator: Generator) -> None:
    from torch.nn import init

    init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)


def _xavier_uniform(weight: Tensor, generator: Generator) -> None:
    from torch.nn import init

    init.xavier_uniform_(weight, generator=generator)


def _xavier_normal(weight: Tensor, generator: Generator) -> None:
    from torch.nn import init

    init.xavier_normal_(weight, generator=generator)


def _kaiming_uniform(weight: Tensor, generator: Generator) -> None:
    from torch.nn import init

    init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)


def _kaiming_normal(weight: Tensor, generator: Generator) -> None:
    from torch.nn import init

    init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


def _lecun_normal(weight: Tensor, generator: Generator) -> None:
    from torch.nn import init

    init.kaiming_normal_(weight, nonlinearity="linear", generator=generator)


def _orthogonal(weight: Tensor, generator: Generator) -> None:
    from torch.nn import init

    init.orthogonal_(weight, generator=generator)


def _normal(weight: Tensor, generator: Generator, std: float) -> None:
    from torch.nn import init

    init.normal_(weight, std=std, generator=generator)


def _uniform(weight: Tensor, generator: Generator, bound: float) -> None:
    from torch.nn import init

    init.uniform_(weight, -bound, bound, generator=generator)


def _zeros(weight: Tensor, generator: Generator) -> None:
    weight.zero_()


_GLOROT = (
    "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural "
    "networks, AISTATS"
)
_HE = "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers, arXiv:1502.01852"

_ENTRIES = (
    Scheme(
        name="torch_default",
        meaning="uniform in +-1/sqrt(fan_in), biases too: what torch's layers draw by themselves",
        draw=_torch_default,
        reference="torch.nn.Linear and torch.nn.Conv2d",
        draws_biases=True,
    ),
    Scheme(
        name="xavier_uniform",
        meaning="uniform with variance 2/(fan_in + fan_out)",
        draw=_xavier_uniform,
        reference=_GLOROT,
    ),
    Scheme(
        name="xavier_normal",
        meaning="normal with variance 2/(fan_in + fan_out)",
        draw=_xavier_normal,
        reference=_GLOROT,
    ),
    Scheme(
        name="kaiming_uniform",
        meaning="uniform with variance 2/fan_in",
        draw=_kaiming_uniform,
        reference=_HE,
        own_gain=math.sqrt(2),
    ),
    Scheme(
        name="kaiming_normal",
        meaning="normal with variance 2/fan_in",
        draw=_kaiming_normal,
        reference=_HE,
        own_gain=math.sqrt(2),
    ),
    Scheme(
        name="lecun_normal",
        meaning="normal with variance 1/fan_in",
        draw=_lecun_normal,
        reference="LeCun, Bottou, Orr & Müller 1998, Efficient BackProp, "
        "doi:10.1007/3-540-49430-8_2",
    ),
    Scheme(
        name="orthogonal",
        meaning="orthonormal rows or columns, whichever are fewer",
        draw=_orthogonal,
        reference="Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of "
        "learning in deep linear neural networks, arXiv:1312.6120",
    ),
    Scheme(
        name="normal",
        meaning="normal with deviation std",
        draw=_normal,
        reference="Fixed deviation, blind to the size of the layer",
        parameters={"std": Parameter(0.05, "standard deviation", low=0, low_open=True)},
    ),
    Scheme(
        name="uniform",
        meaning="uniform in +-bound",
        draw=_uniform,
        reference="Fixed bound, blind to the size of the layer",
        parameters={"bound": Parameter(0.05, "largest absolute value", low=0, low_open=True)},
    ),
    Scheme(
        name="zeros",
        meaning="all weights 0: units that start alike stay alike",
        draw=_zeros,
        reference="The control that shows why weights are drawn at random",
    ),
    Scheme(
        name="lsuv",
        meaning="orthogonal, then each layer scaled to unit output variance on training images",
        draw=_orthogonal,
        reference="Mishkin & Matas 2016, All you need is a good init, arXiv:1511.06422",
        needs_images=True,
    ),
)

SCHEMES: Mapping[str, Scheme] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
