"""The initial weights that can be chosen, an entry each: how a layer's weight is drawn.

In: a weight and a random generator. Out: `SCHEMES`, the table that the configuration reads and by
which `lenet_bench.model.initialize` fills a network; and `gain_factor`, what `init.gain` means.

Importing this file does not import torch, hence the imports inside the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from lenet_bench.choices.parameters import Parameter

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Scheme:
    """One way to draw the weights of a layer.

    Attributes:
        name: The choice in the configuration.
        meaning: One line for the help text: the distribution at gain 1.
        draw: (weight, generator, **parameters) -> None. It overwrites the weight, at gain 1.
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
        meaning="normal with standard deviation std",
        draw=_normal,
        reference="Fixed standard deviation, whatever the size of the layer",
        parameters={"std": Parameter(0.05, "standard deviation", low=0, low_open=True)},
    ),
    Scheme(
        name="uniform",
        meaning="uniform in +-bound",
        draw=_uniform,
        reference="Fixed bound, whatever the size of the layer",
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
