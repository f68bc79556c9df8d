"""The activation functions of N LeNets: f, its learned and random arguments, its slope.

In: the activation of each run, and the pre-activations of groups. Out: what the functions make of
them, and what probes need to know about each function.

Letters in shapes: N runs in the stack, n neighbouring runs of a group, B images in a batch, C
channels or units of a layer in one run, H and W height and width. Values of a group are
(B, n*C, H, W) in convolutional layers and (n, B, C) in fully connected ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lenet_bench.model.autograd import elementwise
from lenet_bench.model.convolution import Part
from lenet_bench.model.groups import Group, RunActivation
from lenet_bench.model.layout import ACTIVATION_PREFIX
from lenet_bench.model.lenet import LeNet
from lenet_bench.model.parameters import StackedParameters

# A layer of a group: the first run of the group, and the name of the layer.
Place = tuple[int, str]


class StackedActivations:
    """The activations of all layers and runs of a stack.

    Args:
        models: The plain LeNets, whose modules are used where they are the user's own.
        activations: The activation of each run.
        groups: Neighbouring runs of the same function.
        parameters: Those of the models, stacked.

    Attributes:
        groups: As given.
    """

    def __init__(
        self,
        models: Sequence[LeNet],
        activations: Sequence[RunActivation],
        groups: Sequence[Group],
        parameters: StackedParameters,
    ) -> None:
        self.groups = groups
        self._activations = activations
        self._units = models[0].units
        self._fixed: dict[int, Callable[[Tensor], Tensor]] = {}  # by the first run of the group
        self._learned: dict[Place, dict[str, Tensor]] = {}  # (n, C) or (n, 1) each, by argument
        self._modules: dict[Place, tuple[nn.Module, dict[str, Tensor]]] = {}  # the user's own
        self._indices: dict[tuple[int, ...], Tensor] = {}
        for group in groups:
            entry, start = group.activation.entry, group.start
            if (fixed := group.activation.fixed) is not None:
                self._fixed[start] = fixed
            for layer, module in models[start].activations.items():
                names = [name for name, _ in module.named_parameters()]
                prefix = f"{ACTIVATION_PREFIX}{layer}."
                if entry is None:
                    own = {name: parameters.leaf(prefix + name, start) for name in names}
                    self._modules[start, layer] = module.to(parameters.values.device), own
                elif entry.learns:
                    self._learned[start, layer] = {
                        argument: parameters.leaf(prefix + name, slice(start, group.stop))
                        for argument, name in zip(entry.argument_derivatives, names, strict=True)
                    }

    @property
    def generators(self) -> list[torch.Generator]:
        """The sources of noise that a training step draws from."""
        return [each.generator for each in self._activations if each.generator is not None]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The user's own modules, by run and layer."""
        return {f"{run}.{layer}": module for (run, layer), (module, _) in self._modules.items()}

    @property
    def hold_foreign_code(self) -> bool:
        """Whether some activation is the user's own module."""
        return any(activation.entry is None for activation in self._activations)

    # --- f ----------------------------------------------------------------------------------------

    def apply(self, layer: str, parts: Sequence[Tensor], *, learning: bool) -> list[Tensor]:
        """Apply to the values of each group the group's own function.

        Args:
            layer: Where the values stand.
            parts: For each group (B, n*C, H, W) or (n, B, C).
            learning: Draw noise, as in training.
        """
        return [
            self._apply_to_group(layer, group, part, learning)
            for group, part in zip(self.groups, parts, strict=True)
        ]

    def _apply_to_group(self, layer: str, group: Group, z: Tensor, learning: bool) -> Tensor:
        if (group.start, layer) in self._modules:
            module, own = self._modules[group.start, layer]
            module.train(learning)
            plain = z if z.dim() == 4 else z[0]  # (B, C, H, W) or (B, C), as in the plain LeNet
            result: Tensor = functional_call(module, own, (plain,))
            # Its parameters may be of another type than a bfloat16 pass, and so its result.
            return result.view_as(z).to(z.dtype)
        if group.start in self._fixed:
            return self._fixed[group.start](z)
        entry = group.activation.entry
        assert entry is not None
        return elementwise(z, entry, self._arguments(layer, group, z, noise=learning))

    def _apply_to_some(self, layer: str, group: Group, runs: Sequence[int], z: Tensor) -> Tensor:
        """f(z) for some runs of a group, without a gradient: (B, n*C, H, W)."""
        entry = group.activation.entry
        if entry is None or not entry.learns:
            return self._apply_to_group(layer, group, z, learning=False)
        places = [run - group.start for run in runs]
        return entry.function(z, **self._arguments(layer, group, z, places))

    def parts(self, layer: str, runs: Sequence[int]) -> list[Part]:
        """Divide the channels of some runs by group; a part is empty where a group has none."""
        chosen = set(runs)
        parts = []
        for group in self.groups:
            members = [run for run in group.runs if run in chosen]
            f = partial(self._apply_to_some, layer, group, members)
            falls = not group.activation.non_decreasing
            parts.append(Part(len(members) * self._units[layer], f if falls else None))
        return parts

    def split(self, layer: str, z: Tensor) -> Sequence[Tensor]:
        """Split (B, N*C, H, W) or (N, B, C) by group, each part on memory without gaps."""
        if len(self.groups) == 1:
            return [z]
        dim, width = (1, self._units[layer]) if z.dim() == 4 else (0, 1)
        parts: tuple[Tensor, ...] = z.split([len(g.runs) * width for g in self.groups], dim)
        if dim == 0:
            return parts
        return [part.contiguous(memory_format=torch.channels_last) for part in parts]

    # --- arguments --------------------------------------------------------------------------------

    def _arguments(
        self,
        layer: str,
        group: Group,
        z: Tensor,
        places: Sequence[int] | None = None,
        noise: bool = False,
    ) -> dict[str, float | Tensor]:
        """The arguments of a group's formulas: numbers, or tensors that broadcast against z.

        Args:
            layer: Where z stands.
            group: Whose formulas they are.
            z: Pre-activations.
            places: Which of the group's runs z belongs to; None for all.
            noise: Draw random arguments instead of those of evaluation.
        """
        entry = group.activation.entry
        assert entry is not None
        arguments: dict[str, float | Tensor] = dict(entry.arguments(group.activation.parameters))
        for name, learned in self._learned.get((group.start, layer), {}).items():
            values = learned  # (n, C) or (n, 1)
            if places is not None:
                values = learned[self._index(tuple(places), z.device)]
            if z.dim() == 4:
                values = values.expand(-1, self._units[layer]).reshape(-1, 1, 1)  # (n*C, 1, 1)
            else:
                values = values.unsqueeze(1)  # (n, 1, C)
            arguments[name] = values.to(z.dtype)
        if noise:
            for name in entry.noise:
                arguments[name] = self._draw(name, self._activations[group.start : group.stop], z)
        return arguments

    def _index(self, places: tuple[int, ...], device: torch.device) -> Tensor:
        """Numbers as an index, copied to the device once: a CUDA graph cannot capture a copy."""
        if places not in self._indices:
            self._indices[places] = torch.tensor(places, device=device)
        return self._indices[places]

    def _draw(self, name: str, runs: Sequence[RunActivation], z: Tensor) -> Tensor:
        """Draw an argument for every input, for each run from the run's own generator."""
        dim = 1 if z.dim() == 4 else 0
        shape = list(z.shape)
        shape[dim] //= len(runs)
        parts = []
        for run in runs:
            assert run.entry is not None
            lower, upper = run.entry.noise[name](**run.entry.complete(run.parameters))
            part = torch.empty(shape, dtype=z.dtype, device=z.device)
            parts.append(part.uniform_(lower, upper, generator=run.generator))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

    # --- slopes and state -------------------------------------------------------------------------

    def slope(self, layer: str, group: Group, z: Tensor) -> Tensor:
        """|f'(z)| of a group's activation, for pre-activations as an observer sees them."""
        entry = group.activation.entry
        if entry is None:
            return self._slope_of_module(layer, group, z)
        slope = entry.derivative(z, **self._arguments(layer, group, z))
        return slope if entry.non_decreasing else slope.abs()

    def _slope_of_module(self, layer: str, group: Group, z: Tensor) -> Tensor:
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            # Element by element, so the gradient of the sum is the derivative.
            total = self._apply_to_group(layer, group, x, learning=False).sum()
            return torch.autograd.grad(total, x)[0].abs()

    def max_slope(self, layer: str, run: int) -> float:
        """Supremum of |f'| in a layer of a run; that of the user's own module is unknown, NaN."""
        activation = self._activations[run]
        entry = activation.entry
        if entry is None:
            return math.nan
        ends = {name: [value] for name, value in entry.arguments(activation.parameters).items()}
        group = next(group for group in self.groups if run in group.runs)
        for name, learned in self._learned.get((group.start, layer), {}).items():
            ends[name] = torch.stack(learned[run - group.start].detach().aminmax()).tolist()
        combinations = product(*ends.values())
        return max(entry.max_slope(**dict(zip(ends, each, strict=True))) for each in combinations)

    def can_die(self, layer: str) -> Tensor:
        """Whether f' of each unit of a layer is exactly 0 on an interval, (N, C), on the CPU.

        What a unit has learned counts as it is now. Of a user's own module nothing is known, so
        its derivative has to decide: True.
        """
        units = self._units[layer]
        rows: list[list[bool]] = []
        for group in self.groups:
            learned = self._learned.get((group.start, layer), {})
            for run in group.runs:
                entry = self._activations[run].entry
                if entry is None:
                    rows.append([True] * units)
                    continue
                arguments = entry.arguments(self._activations[run].parameters)
                if not learned:
                    rows.append([entry.can_die(**arguments)] * units)
                    continue
                columns = [
                    values[run - group.start].detach().expand(units).tolist()
                    for values in learned.values()
                ]
                rows.append(
                    [
                        entry.can_die(**{**arguments, **dict(zip(learned, each, strict=True))})
                        for each in zip(*columns, strict=True)
                    ]
                )
        return torch.tensor(rows)

    def state_dict(self, run: int) -> dict[str, Tensor]:
        """Copy the buffers of a user's own modules to the CPU, under their plain names."""
        return {
            f"{ACTIVATION_PREFIX}{layer}.{name}": buffer.cpu().clone()
            for (start, layer), (module, _) in self._modules.items()
            if start == run
            for name, buffer in module.named_buffers()
        }
