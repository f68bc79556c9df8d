"""The optimizers that can be chosen: an update rule each, and what can be set about it.

In: nothing. Out: `OPTIMIZERS`, the table from which the configuration and the trainer read. A rule
updates several runs at once, each with its own learning rate and hyper-parameters; the trainer
calls it with the parameters, gradients and memory of those runs.

Importing this file does not import torch, hence the imports inside the rules.

Letters in shapes: R runs that are updated together, P parameters of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lenet_bench.choices.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor


class OptimizedRuns(Protocol):
    """The runs that a rule updates together, as the rule sees them.

    All of them have the same terms of the rule turned on, but different values of its
    hyper-parameters.

    Attributes:
        parameters: (R, P), updated in place.
        state: The rule's buffers, by name.
        scratch: Two tensors (R, P) whose content means nothing between calls. A rule may overwrite
            the second at any time. The first may hold the gradients that the rule was given; it
            may be overwritten once these are no longer needed.
    """

    @property
    def parameters(self) -> Tensor: ...  # noqa: D102 - see the class
    @property
    def state(self) -> Mapping[str, Tensor]: ...  # noqa: D102
    @property
    def scratch(self) -> tuple[Tensor, Tensor]: ...  # noqa: D102

    def on(self, name: str) -> bool:
        """Whether a hyper-parameter is true or not zero."""

    def value(self, name: str) -> Tensor:
        """A hyper-parameter of each run, (R, 1)."""

    def complement(self, name: str) -> Tensor:
        """One minus a hyper-parameter of each run, (R, 1)."""


@dataclass(frozen=True)
class Buffer:
    """A tensor that a rule remembers from one iteration to the next; it starts at zero.

    Attributes:
        name: Its name.
        only_with: The hyper-parameter without which (zero or false) the buffer is not needed.
        per_run: Whether it is one number a run, (R, 1), instead of one a parameter, (R, P).
    """

    name: str
    only_with: str | None = None
    per_run: bool = False


@dataclass(frozen=True)
class OptimizerKind:
    """An update rule and what can be set about it.

    Attributes:
        meaning: One line for the help text.
        reference: Where the rule comes from.
        parameters: The hyper-parameters, by name; learning rate and weight decay are common to
            all kinds and not among them.
        buffers: What the rule remembers.
        update: The rule: (runs, gradients, lr) -> None. It must not change the gradients, (R, P);
            the learning rates are (R, 1).
        decoupled_decay: Whether weight decay shrinks the parameters themselves instead of being
            added to the gradient.
    """

    meaning: str
    reference: str
    parameters: Mapping[str, Parameter]
    buffers: tuple[Buffer, ...]
    update: Callable[[OptimizedRuns, Tensor, Tensor], None]
    decoupled_decay: bool = False


def _sgd(runs: OptimizedRuns, gradients: Tensor, lr: Tensor) -> None:
    import torch

    direction = gradients
    if runs.on("momentum"):
        velocity, momentum = runs.state["velocity"], runs.value("momentum")
        torch.addcmul(gradients, velocity, momentum, out=velocity)
        direction = velocity
        if runs.on("nesterov"):
            direction = torch.addcmul(gradients, velocity, momentum, out=runs.scratch[1])
    runs.parameters.addcmul_(direction, lr, value=-1)


def _adagrad(runs: OptimizedRuns, gradients: Tensor, lr: Tensor) -> None:
    import torch

    square_sum = runs.state["square_sum"].addcmul_(gradients, gradients)
    scale = torch.sqrt(square_sum, out=runs.scratch[1]).add_(runs.value("eps"))
    direction = torch.div(gradients, scale, out=scale)
    runs.parameters.addcmul_(direction, lr, value=-1)


def _rmsprop(runs: OptimizedRuns, gradients: Tensor, lr: Tensor) -> None:
    import torch

    square_mean = _average_squares(runs, gradients, "alpha")
    scale = runs.scratch[1]
    if runs.on("centered"):
        mean = runs.state["mean"].lerp_(gradients, runs.complement("alpha"))
        torch.addcmul(square_mean, mean, mean, value=-1, out=scale).sqrt_()
    else:
        torch.sqrt(square_mean, out=scale)
    direction = torch.div(gradients, scale.add_(runs.value("eps")), out=scale)
    if runs.on("momentum"):
        velocity = runs.state["velocity"]
        direction = torch.addcmul(direction, velocity, runs.value("momentum"), out=velocity)
    runs.parameters.addcmul_(direction, lr, value=-1)


def _adam(runs: OptimizedRuns, gradients: Tensor, lr: Tensor) -> None:
    import torch

    mean = runs.state["mean"].lerp_(gradients, runs.complement("beta1"))
    square_mean = _average_squares(runs, gradients, "beta2")
    # The bias corrections 1 - beta^t are the same averages taken of a constant 1: no step count,
    # no power, and nothing for the host to know.
    one = torch.ones_like(lr)
    mean_weight = runs.state["mean_weight"].lerp_(one, runs.complement("beta1"))
    square_weight = runs.state["square_mean_weight"].lerp_(one, runs.complement("beta2"))
    scale = torch.sqrt(square_mean, out=runs.scratch[1])
    scale.div_(square_weight.sqrt()).add_(runs.value("eps"))
    direction = torch.div(mean, scale, out=scale)
    runs.parameters.addcmul_(direction, lr / mean_weight, value=-1)


def _average_squares(runs: OptimizedRuns, gradients: Tensor, decay: str) -> Tensor:
    """Update the running mean of squared gradients, (R, P), and return it."""
    import torch

    # Not lerp_: an overflown mean must stay infinite (the parameter freezes), not become NaN.
    square_mean = runs.state["square_mean"].mul_(runs.value(decay))
    weighted = torch.mul(gradients, runs.complement(decay), out=runs.scratch[1])
    return square_mean.addcmul_(weighted, gradients)


def _eps(default: float) -> Parameter:
    # Zero would turn a parameter that never had a gradient (a dead unit's) into 0 / 0.
    return Parameter(default, "added to the denominator", low=1e-30)


def _fraction(default: float, meaning: str) -> Parameter:
    return Parameter(default, meaning, low=0, high=1, high_open=True)


WEIGHT_DECAY = Parameter(0.0, "pull of the weights towards 0; spares PReLU slopes", low=0)

_ADAM_PARAMETERS = {
    "beta1": _fraction(0.9, "decay of the mean gradient"),
    "beta2": _fraction(0.999, "decay of the mean squared gradient"),
    "eps": _eps(1e-8),
}
_ADAM_BUFFERS = (
    Buffer("mean"),
    Buffer("square_mean"),
    Buffer("mean_weight", per_run=True),
    Buffer("square_mean_weight", per_run=True),
)

OPTIMIZERS: Mapping[str, OptimizerKind] = {
    "sgd": OptimizerKind(
        meaning="stochastic gradient descent with momentum",
        reference="Sutskever et al. 2013, On the importance of initialization and momentum",
        parameters={
            "momentum": _fraction(0.9, "fraction of the last step kept; 0 is plain descent"),
            "nesterov": Parameter(
                False, "look ahead along the momentum; has no effect if momentum is 0"
            ),
        },
        buffers=(Buffer("velocity", only_with="momentum"),),
        update=_sgd,
    ),
    "adagrad": OptimizerKind(
        meaning="gradients divided by the root of the sum of their squares so far",
        reference="Duchi, Hazan and Singer 2011, Adaptive subgradient methods",
        parameters={"eps": _eps(1e-10)},
        buffers=(Buffer("square_sum"),),
        update=_adagrad,
    ),
    "rmsprop": OptimizerKind(
        meaning="gradients divided by the root of their running mean square",
        reference="Tieleman and Hinton 2012, Lecture 6.5; centered: Graves 2013, arXiv:1308.0850",
        parameters={
            "alpha": _fraction(0.99, "decay of the mean squared gradient"),
            "eps": _eps(1e-8),
            "momentum": _fraction(0.0, "fraction of the last step kept"),
            "centered": Parameter(
                False, "divide by the standard deviation instead of the mean square"
            ),
        },
        buffers=(
            Buffer("square_mean"),
            Buffer("mean", only_with="centered"),
            Buffer("velocity", only_with="momentum"),
        ),
        update=_rmsprop,
    ),
    "adam": OptimizerKind(
        meaning="mean gradient divided by the root of the mean square, both bias-corrected",
        reference="Kingma and Ba 2015, arXiv:1412.6980",
        parameters=_ADAM_PARAMETERS,
        buffers=_ADAM_BUFFERS,
        update=_adam,
    ),
    "adamw": OptimizerKind(
        meaning="Adam with weight decay apart from the gradient",
        reference="Loshchilov and Hutter 2019, arXiv:1711.05101",
        parameters=_ADAM_PARAMETERS,
        buffers=_ADAM_BUFFERS,
        update=_adam,
        decoupled_decay=True,
    ),
}
