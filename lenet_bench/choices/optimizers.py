"""The optimizers: N runs of a stack stepped together, each by its own rule and hyper-parameters.

In: the stack's parameters (N, P) once, then per iteration its gradients (N, P) and learning rates
(N, 1). Out: the parameters, updated in place. The table `OPTIMIZERS` says what each kind is and
what can be set; reading it does not import torch, hence the imports inside the functions.

Letters: N runs in the stack, P parameters of a run, R runs of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from lenet_bench.choices.parameters import Parameter
from lenet_bench.common.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Buffer:
    """A tensor that a rule remembers from one iteration to the next; it starts at zero.

    Attributes:
        name: Its name, also in checkpoints.
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
        update: The rule: takes a block, gradients (R, P) it must not change, and lr (R, 1).
        decoupled_decay: Whether weight decay shrinks the parameters themselves instead of being
            added to the gradient.
    """

    meaning: str
    reference: str
    parameters: Mapping[str, Parameter]
    buffers: tuple[Buffer, ...]
    update: Callable[[Block, Tensor, Tensor], None]
    decoupled_decay: bool = False


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer of one run.

    Attributes:
        name: A key of `OPTIMIZERS`.
        weight_decay: Coefficient of the L2 penalty (of the decay itself for adamw), >= 0.
        hyperparameters: What differs from the kind's defaults.

    Raises:
        UserError: An unknown kind or hyper-parameter, or a value out of range.
    """

    name: str
    weight_decay: float = 0.0
    hyperparameters: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise UserError(f"optimizer={self.name} is unknown; choose {', '.join(OPTIMIZERS)}")
        parameters = {"weight_decay": WEIGHT_DECAY} | {
            f"optimizer.{key}": value for key, value in OPTIMIZERS[self.name].parameters.items()
        }
        values = {"weight_decay": self.weight_decay} | {
            f"optimizer.{key}": value for key, value in self.hyperparameters.items()
        }
        for key, value in values.items():
            if key not in parameters:
                known = ", ".join(OPTIMIZERS[self.name].parameters)
                raise UserError(f"{key}={value} is unknown; optimizer={self.name} has {known}")
            if problem := parameters[key].problem(value):
                raise UserError(f"{key}={value} {problem}")

    def value(self, name: str) -> float | bool:
        """The value of a hyper-parameter: the run's own, or the default of its kind."""
        default = OPTIMIZERS[self.name].parameters[name].default
        return self.hyperparameters.get(name, default)


BlockKey = tuple[str, bool, tuple[bool, ...]]


def block_key(settings: OptimizerSettings) -> BlockKey:
    """What neighbouring runs must share to be updated by the same operations.

    That is the kind, and which of its terms are off (zero or false): a run without momentum has
    no momentum buffer, and its arithmetic is that of a run trained alone, to the bit. Runs sorted
    by this key make the fewest blocks; any order is correct.
    """
    terms = tuple(bool(settings.value(name)) for name in OPTIMIZERS[settings.name].parameters)
    return settings.name, settings.weight_decay != 0, terms


class Block:
    """Consecutive runs of a stack that share a `block_key`: their hyper-parameters and state.

    Attributes:
        rows: Where the runs stand in the stack.
        kind: Their update rule.
        parameters: (R, P), a view of the stack's.
        decay: Weight decay, (R, 1) or, where some columns are spared, (R, P); None if off.
        state: The rule's buffers, by name.
        scratch: Two tensors (R, P) whose content means nothing between calls.
    """

    def __init__(
        self,
        rows: slice,
        settings: Sequence[OptimizerSettings],
        parameters: Tensor,
        decay_mask: Tensor,
        scratch: tuple[Tensor, Tensor],
    ) -> None:
        self.rows = rows
        self.kind = OPTIMIZERS[settings[0].name]
        self.parameters = parameters
        self.scratch = scratch
        self._on = {name for name in self.kind.parameters if settings[0].value(name)}
        columns = {
            name: [float(run.value(name)) for run in settings] for name in self.kind.parameters
        }
        self._values = {name: self._column(values) for name, values in columns.items()}
        # Subtracted in double precision: 1 - 0.999 in float32 is off by 1e-5 of itself.
        self._complements = {
            name: self._column([1 - value for value in values]) for name, values in columns.items()
        }
        self.decay: Tensor | None = None
        if settings[0].weight_decay:
            self.decay = self._column([run.weight_decay for run in settings])
            if not bool((decay_mask == 1).all()):
                self.decay = self.decay * decay_mask
        shapes = {True: (len(settings), 1), False: tuple(parameters.shape)}
        self.state = {
            buffer.name: parameters.new_zeros(shapes[buffer.per_run])
            for buffer in self.kind.buffers
            if buffer.only_with is None or self.on(buffer.only_with)
        }

    def on(self, name: str) -> bool:
        """Whether a hyper-parameter is true or not zero, which all runs of a block share."""
        return name in self._on

    def value(self, name: str) -> Tensor:
        """A hyper-parameter of the runs, (R, 1)."""
        return self._values[name]

    def complement(self, name: str) -> Tensor:
        """One minus a hyper-parameter of the runs, (R, 1)."""
        return self._complements[name]

    def step(self, gradients: Tensor, lr: Tensor) -> None:
        """Decay and update the runs' parameters; gradients (R, P), lr (R, 1)."""
        import torch

        if self.decay is not None and self.kind.decoupled_decay:
            product = self.scratch[0][:, : self.decay.shape[1]]
            torch.mul(self.decay, lr, out=product)
            self.parameters.mul_(product.neg_().add_(1))
        elif self.decay is not None:
            gradients = torch.addcmul(gradients, self.parameters, self.decay, out=self.scratch[0])
        self.kind.update(self, gradients, lr)

    def _column(self, values: list[float]) -> Tensor:
        return self.parameters.new_tensor(values).unsqueeze(1)  # (R, 1)


# A rule may overwrite scratch[1] at any time; scratch[0] may hold its gradients, and is free to
# be overwritten once they are no longer needed.


def _sgd(block: Block, gradients: Tensor, lr: Tensor) -> None:
    import torch

    direction = gradients
    if block.on("momentum"):
        velocity, momentum = block.state["velocity"], block.value("momentum")
        torch.addcmul(gradients, velocity, momentum, out=velocity)
        direction = velocity
        if block.on("nesterov"):
            direction = torch.addcmul(gradients, velocity, momentum, out=block.scratch[1])
    block.parameters.addcmul_(direction, lr, value=-1)


def _adagrad(block: Block, gradients: Tensor, lr: Tensor) -> None:
    import torch

    square_sum = block.state["square_sum"].addcmul_(gradients, gradients)
    scale = torch.sqrt(square_sum, out=block.scratch[1]).add_(block.value("eps"))
    direction = torch.div(gradients, scale, out=scale)
    block.parameters.addcmul_(direction, lr, value=-1)


def _rmsprop(block: Block, gradients: Tensor, lr: Tensor) -> None:
    import torch

    square_mean = _average_squares(block, gradients, "alpha")
    scale = block.scratch[1]
    if block.on("centered"):
        mean = block.state["mean"].lerp_(gradients, block.complement("alpha"))
        torch.addcmul(square_mean, mean, mean, value=-1, out=scale).sqrt_()
    else:
        torch.sqrt(square_mean, out=scale)
    direction = torch.div(gradients, scale.add_(block.value("eps")), out=scale)
    if block.on("momentum"):
        velocity = block.state["velocity"]
        direction = torch.addcmul(direction, velocity, block.value("momentum"), out=velocity)
    block.parameters.addcmul_(direction, lr, value=-1)


def _adam(block: Block, gradients: Tensor, lr: Tensor) -> None:
    import torch

    mean = block.state["mean"].lerp_(gradients, block.complement("beta1"))
    square_mean = _average_squares(block, gradients, "beta2")
    # The bias corrections 1 - beta^t are the same averages taken of a constant 1: no step count,
    # no power, and nothing for the host to know.
    one = torch.ones_like(lr)
    mean_weight = block.state["mean_weight"].lerp_(one, block.complement("beta1"))
    square_weight = block.state["square_mean_weight"].lerp_(one, block.complement("beta2"))
    scale = torch.sqrt(square_mean, out=block.scratch[1])
    scale.div_(square_weight.sqrt()).add_(block.value("eps"))
    direction = torch.div(mean, scale, out=scale)
    block.parameters.addcmul_(direction, lr / mean_weight, value=-1)


def _average_squares(block: Block, gradients: Tensor, decay: str) -> Tensor:
    """Update the running mean of squared gradients, (R, P), and return it."""
    import torch

    # Not lerp_: an overflown mean must stay infinite (the parameter freezes), not become NaN.
    square_mean = block.state["square_mean"].mul_(block.value(decay))
    weighted = torch.mul(gradients, block.complement(decay), out=block.scratch[1])
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
            "momentum": _fraction(0.9, "share of the last step kept; 0 is plain descent"),
            "nesterov": Parameter(False, "look ahead along the momentum; nothing changes without"),
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
            "momentum": _fraction(0.0, "share of the last step kept"),
            "centered": Parameter(False, "divide by the deviation instead of the mean square"),
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


class StackedOptimizer:
    """The optimizers of a stack's runs.

    A step is elementwise along the runs: a run's NaN or infinity never reaches another, and its
    numbers are those it gets in a stack of its own. Nothing waits for the device, and all state
    keeps its place in memory, so that a step can be captured in a CUDA graph.

    Args:
        parameters: (N, P), updated in place by every step; never replaced.
        settings: One per run, N of them, in the order of the rows.
        decay_mask: (P,) or (N, P): 1 where weight decay applies, 0 where it does not.
    """

    def __init__(
        self, parameters: Tensor, settings: Sequence[OptimizerSettings], decay_mask: Tensor
    ) -> None:
        parameters = parameters.detach()
        runs, columns = parameters.shape
        if len(settings) != runs:
            raise ValueError(f"{len(settings)} optimizer settings for {runs} runs")
        decay_mask = decay_mask.to(parameters).expand(runs, columns)
        sizes = [len(list(group)) for _, group in groupby(settings, key=block_key)]
        scratch = parameters.new_empty(2, max(sizes), columns)
        self._blocks: list[Block] = []
        start = 0
        for size in sizes:
            rows = slice(start, start + size)
            self._blocks.append(
                Block(
                    rows,
                    settings[rows],
                    parameters[rows],
                    decay_mask[rows],
                    (scratch[0, :size], scratch[1, :size]),
                )
            )
            start += size

    def step(self, gradients: Tensor, lr: Tensor) -> None:
        """Update the parameters by one iteration.

        Args:
            gradients: (N, P), of the parameters' type; left as they are.
            lr: (N, 1), of the parameters' type.
        """
        for block in self._blocks:
            block.step(gradients[block.rows], lr[block.rows])

    def state_dict(self) -> list[dict[str, Tensor]]:
        """A copy of what the optimizers remember: per run, its buffers, (P,) or (1,), by name.

        A run's entry does not depend on the stack around it and may be loaded into another.
        """
        return [
            {name: buffer.clone() for name, buffer in run.items()} for run in self._states_by_run()
        ]

    def load_state_dict(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over a copy of what `state_dict` returned, for the same settings run by run.

        Raises:
            UserError: The state is that of other optimizers or another model; nothing is changed.
        """
        mine = self._states_by_run()
        if len(state) != len(mine):
            raise UserError(
                f"the optimizer state is that of {len(state)} runs, expected {len(mine)}; "
                "the checkpoint is of another stack, delete it to start anew"
            )
        for run, (given, expected) in enumerate(zip(state, mine, strict=True)):
            if _shapes(given) != _shapes(expected):
                raise UserError(
                    f"the optimizer state of run {run} has {_shapes(given)}, expected "
                    f"{_shapes(expected)}; the checkpoint is of another configuration, delete it "
                    "to start anew"
                )
        for given, expected in zip(state, mine, strict=True):
            for name, buffer in expected.items():
                buffer.copy_(given[name])

    def _states_by_run(self) -> list[dict[str, Tensor]]:
        return [
            {name: buffer[run] for name, buffer in block.state.items()}
            for block in self._blocks
            for run in range(block.parameters.shape[0])
        ]


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(buffer.shape) for name, buffer in state.items()}
