"""What an entry of the list of activations consists of.

In: the formulas and facts of one function, as `activations` states them. Out: `Activation`, from
which the configuration, the networks, the probes, the figures and the documentation derive all
they know about a function: none of them asks for a function by its name.

Importing this file does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

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
class OutputFormula:
    """A faster way to compute f, whose backward pass needs only the output y = f(x).

    Attributes:
        function: x -> f(x).
        gradient: (gradient by y, y) -> gradient by x.
    """

    function: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """One activation function f and what is known about it.

    Formulas and facts take the *arguments* of the function by keyword, as `arguments()` derives
    them from the *parameters* in the configuration. Facts take numbers. Formulas take numbers or
    tensors of x's dtype that broadcast against x, such as learned slopes or noise.

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
        max_slope: Supremum of |f'|. If an argument is learned, the largest value over an interval
            of that argument must lie at one of the interval's ends.
        reference: The paper to cite.
        non_decreasing: Whether f never decreases for any allowed parameters, during training too:
            max pooling then commutes with it. Every other entry falls and then rises, so that its
            maximum over a set lies at the set's largest or smallest member.
        can_die: Whether f' is exactly 0 somewhere a unit can stay, so that it can be dead. False
            for a tail that only underflows. If an argument is learned, at the value it has.
        parameters: What the user may set.
        to_arguments: Parameters -> arguments, where they differ.
        conflict: Says what is wrong between parameters that are fine by themselves.
        argument_derivatives: (x, **arguments) -> df/d(argument), for each argument that is learned
            in training.
        learned_values: (units, **parameters) -> how many values of each learned argument a layer
            of that many units has: one per unit, or 1.
        noise: (**parameters) -> lower and upper bound, for each argument that training draws anew
            for every input, uniformly between them.
        torch_module: f's class in torch.nn, if it has one.
        torch_arguments: (units, **parameters) -> what the class in torch.nn is built with.
        slow_in_torch: Whether the formulas are faster than the class in torch.nn.
        output_formula: What is faster still, where there is something.
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
    to_arguments: Callable[..., dict[str, float]] = lambda **parameters: parameters
    conflict: Callable[..., str | None] = lambda **_: None
    argument_derivatives: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)
    learned_values: Callable[..., int] = lambda units, **_: units
    noise: Mapping[str, Callable[..., tuple[float, float]]] = field(default_factory=dict)
    torch_module: str | None = None
    torch_arguments: Callable[..., dict[str, float]] = lambda units, **parameters: parameters
    slow_in_torch: bool = False
    output_formula: OutputFormula | None = None

    @property
    def learns(self) -> bool:
        """Whether training learns an argument of f."""
        return bool(self.argument_derivatives)

    @property
    def noisy(self) -> bool:
        """Whether training draws an argument of f at random for every input."""
        return bool(self.noise)

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
        """Return the arguments of formulas and facts, from the parameters of the configuration.

        A learned argument has its initial value; one that training draws at random has the value
        that evaluation uses.
        """
        return self.to_arguments(**self.complete(parameters))
