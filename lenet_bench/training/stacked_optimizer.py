"""The optimizers of a stack: N runs stepped together, each by its own rule and hyper-parameters.

In: the stack's parameters (N, P) once, then per iteration its gradients (N, P) and learning rates
(N, 1). Out: the parameters, updated in place. The rules themselves stand in
`lenet_bench.choices.optimizers`.

Letters in shapes: N runs in the stack, P parameters of a run, R runs of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from lenet_bench.choices.optimizers import OPTIMIZERS, WEIGHT_DECAY
from lenet_bench.common.errors import UserError


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
        """Return a hyper-parameter: the run's own value, or the default of its kind."""
        default = OPTIMIZERS[self.name].parameters[name].default
        return self.hyperparameters.get(name, default)


UpdateKey = tuple[str, bool, tuple[bool, ...]]


def update_key(settings: OptimizerSettings) -> UpdateKey:
    """Return what neighbouring runs must share to be updated by the same operations.

    That is the kind of optimizer, and which of its terms are off (zero or false): a run without
    momentum has no momentum buffer, and its arithmetic is that of a run trained alone, to the bit.
    Any order of runs is correct; sorted by this key they make the fewest groups.
    """
    terms = tuple(bool(settings.value(name)) for name in OPTIMIZERS[settings.name].parameters)
    return settings.name, settings.weight_decay != 0, terms


class UpdateGroup:
    """Consecutive runs of a stack that share a `update_key`: their hyper-parameters and state.

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
        """Whether a hyper-parameter is true or not zero; all runs of the group agree in this."""
        return name in self._on

    def value(self, name: str) -> Tensor:
        """A hyper-parameter of the runs, (R, 1)."""
        return self._values[name]

    def complement(self, name: str) -> Tensor:
        """One minus a hyper-parameter of the runs, (R, 1)."""
        return self._complements[name]

    def step(self, gradients: Tensor, lr: Tensor) -> None:
        """Decay and update the runs' parameters; gradients (R, P), lr (R, 1)."""
        if self.decay is not None and self.kind.decoupled_decay:
            product = self.scratch[0][:, : self.decay.shape[1]]
            torch.mul(self.decay, lr, out=product)
            self.parameters.mul_(product.neg_().add_(1))
        elif self.decay is not None:
            gradients = torch.addcmul(gradients, self.parameters, self.decay, out=self.scratch[0])
        self.kind.update(self, gradients, lr)

    def _column(self, values: list[float]) -> Tensor:
        return self.parameters.new_tensor(values).unsqueeze(1)  # (R, 1)


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
        sizes = [len(list(group)) for _, group in groupby(settings, key=update_key)]
        scratch = parameters.new_empty(2, max(sizes), columns)
        self._groups: list[UpdateGroup] = []
        start = 0
        for size in sizes:
            rows = slice(start, start + size)
            self._groups.append(
                UpdateGroup(
                    rows,
                    settings[rows],
                    parameters[rows],
                    decay_mask[rows],
                    (scratch[0, :size], scratch[1, :size]),
                )
            )
            start += size

    @property
    def state(self) -> dict[str, Tensor]:
        """What it remembers between iterations, by the number of the group and a name."""
        return {
            f"{number}.{name}": buffer
            for number, group in enumerate(self._groups)
            for name, buffer in group.state.items()
        }

    def step(self, gradients: Tensor, lr: Tensor) -> None:
        """Update the parameters by one iteration.

        Args:
            gradients: (N, P), of the parameters' type; left as they are.
            lr: (N, 1), of the parameters' type.
        """
        for group in self._groups:
            group.step(gradients[group.rows], lr[group.rows])
