"""Which runs of a stack are computed by one call.

In: the activation of each run. Out: neighbouring runs of the same function as groups, and which
neighbouring groups a grouped convolution takes together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.entry import Activation
from lenet_bench.model.autograd import by_output
from lenet_bench.model.lenet import LeNet, activation_module

# A convolution of fewer runs than this takes longer than laying its group beside another.
MIN_RUNS_CONVOLVED = 4


@dataclass(frozen=True)
class RunActivation:
    """The activation of one run: an entry of the list by name, or `custom`, the user's module.

    Attributes:
        name: Of the entry.
        parameters: As in the configuration.
        generator: Where the noise of a noisy activation comes from.
    """

    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    generator: torch.Generator | None = None

    @property
    def entry(self) -> Activation | None:
        """The entry in the list of activations; None for the user's own module."""
        return ACTIVATIONS.get(self.name)

    @property
    def fixed(self) -> Callable[[Tensor], Tensor] | None:
        """The fastest way to compute the function, where nothing in it is learned or random.

        That is mostly torch's own module, whose kernels do forward and backward in one pass each.
        None where the formulas of the entry are as fast, or needed.
        """
        entry = self.entry
        if entry is None or entry.learns or entry.noisy:
            return None
        if entry.output_formula is not None:
            return partial(by_output, formula=entry.output_formula)
        if entry.torch_module is None or entry.slow_in_torch:
            return None
        return activation_module(self.name, 1, self.parameters)

    @property
    def may_pool_first(self) -> bool:
        """Whether a window's largest and smallest values are enough to max-pool f of them."""
        return self.entry is not None and not self.entry.noisy  # noise differs within a window

    @property
    def non_decreasing(self) -> bool:
        """Whether a window's largest value alone is enough."""
        return self.entry is not None and self.entry.non_decreasing


class Group(NamedTuple):
    """Neighbouring runs of a stack whose activation is computed by one call."""

    start: int
    stop: int
    activation: RunActivation  # of its first run; those of the others differ in noise at most

    @property
    def runs(self) -> range:
        """The numbers of its runs in the stack."""
        return range(self.start, self.stop)

    @property
    def never_negative(self) -> bool:
        """Whether f(z) >= 0 for every z."""
        entry = self.activation.entry
        if entry is None or entry.learns:
            return False  # unknown
        return entry.output_range(**entry.arguments(self.activation.parameters))[0] >= 0


def group_runs(activations: Sequence[RunActivation], models: Sequence[LeNet]) -> list[Group]:
    """Group neighbours with the same function; a user's own module stands alone."""

    def kind(run: int) -> object:
        activation = activations[run]
        entry = activation.entry
        if entry is None:
            return run
        if not entry.learns:
            return activation.name, activation.parameters
        # Initial values do not matter once they are parameters, but their number does.
        given = {
            name: value
            for name, value in entry.arguments(activation.parameters).items()
            if name not in entry.argument_derivatives
        }
        shapes = [tuple(each.shape) for each in models[run].activations.parameters()]
        return activation.name, given, shapes

    groups = []
    for _, members in groupby(range(len(activations)), key=kind):
        runs = list(members)
        groups.append(Group(runs[0], runs[-1] + 1, activations[runs[0]]))
    return groups


def join_small_groups(groups: Sequence[Group]) -> list[slice]:
    """Join neighbouring groups that are too small for a convolution of their own.

    Returns:
        The indices of the groups that are convolved together, for each convolution.
    """
    firsts = [0]
    for index, group in enumerate(groups):
        before = group.start - groups[firsts[-1]].start
        behind = groups[-1].stop - group.start
        if min(before, behind) >= MIN_RUNS_CONVOLVED:
            firsts.append(index)
    return [slice(*ends) for ends in pairwise([*firsts, len(groups)])]
