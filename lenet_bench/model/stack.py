"""N LeNets trained as one program: the stack, layer for layer beside the plain `LeNet`.

In: N initialised plain LeNets of one architecture, each with its activation, and batches of
images. Out: the logits of all of them, gradients in one buffer, and plain state dicts again.

Shapes: N runs in the stack, B images in a batch, C channels or units of a layer in one run, H and
W height and width. Feature maps of all runs lie side by side as channels, (B, N*C, H, W) in
channels_last memory, so that the first convolution of runs that share a batch is one dense
convolution and the second a grouped one; fully connected layers are batched products (N, B, C).
Every operation keeps the runs apart: no run's NaN can reach another.

Max pooling comes before the activation, which then has a quarter of the values to work on. That
changes nothing: an activation that never decreases takes its maximum over a window at the window's
largest value, and one that falls and then rises at the largest or at the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise, product
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.entry import Activation
from lenet_bench.model.autograd import by_output, elementwise
from lenet_bench.model.convolution import Part, convolve_and_pool
from lenet_bench.model.lenet import LeNet, activation_module

BATCH_NORM_MOMENTUM = 0.1  # torch's default, as in the plain LeNet
BATCH_NORM_EPS = 1e-5
# Runs below which a convolution of their own takes longer than laying groups side by side.
FEWEST = 4


class Batch(NamedTuple):
    """The images that one or several runs receive."""

    images: Tensor  # (B, C, H, W), standardised, channels_last
    runs: Sequence[int]  # the runs of the stack that share them, ascending


class Observer(Protocol):
    """What a probe looks at: called for every hidden layer and group of a forward pass."""

    def __call__(self, layer: str, group: Group, preactivation: Tensor, activation: Tensor) -> None:
        """See the values of a group's n runs before pooling: (B, n*C, H, W) or (n, B, C)."""


class _Mode(NamedTuple):
    """What a forward pass is for."""

    training: bool  # batch norm by the batch's own statistics
    learning: bool  # running statistics are updated, RReLU draws noise
    observer: Observer | None


@dataclass(frozen=True)
class RunActivation:
    """The activation of one run: an entry of the zoo by name, or `custom`, the user's module."""

    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    generator: torch.Generator | None = None  # RReLU's noise

    @property
    def entry(self) -> Activation | None:
        """The zoo's entry; None for the user's own module."""
        return ACTIVATIONS.get(self.name)

    @property
    def fixed(self) -> Callable[[Tensor], Tensor] | None:
        """The fastest way to compute the function, where nothing in it is learned or drawn.

        That is mostly torch's own module, whose kernels do forward and backward in one pass each.
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
        """Whether the window's largest and smallest values are enough to max-pool f of them."""
        return self.entry is not None and not self.entry.noisy  # noise differs within a window

    @property
    def non_decreasing(self) -> bool:
        """Whether the window's largest value alone is enough."""
        return self.entry is not None and self.entry.non_decreasing


class Group(NamedTuple):
    """Neighbouring runs of a stack whose activation is computed by one call."""

    start: int
    stop: int
    activation: RunActivation  # of its first run; those of the others differ in noise at most

    def holds(self, run: int) -> bool:
        """Whether a run belongs to it."""
        return self.start <= run < self.stop

    @property
    def never_negative(self) -> bool:
        """Whether f(z) >= 0 for every z."""
        entry = self.activation.entry
        if entry is None or entry.learns:
            return False  # unknown
        return entry.output_range(**entry.arguments(self.activation.parameters))[0] >= 0


class _Slot(NamedTuple):
    """Where a parameter of the plain LeNet lies in a row of the stack's buffer."""

    offset: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.offset + torch.Size(self.shape).numel()


class Stack:
    """N LeNets of one architecture.

    Args:
        models: The plain LeNets, initialised; their parameters are copied.
        activations: The activation of each.
        device: Where the stack lives.
        compute: The type that forward and backward passes compute in; parameters keep the type
            of the models.

    Attributes:
        parameters: (N, P), a row per run: all of its parameters; a run without learned slopes
            has unused columns at the end.
        gradients: (N, P), filled by `backward`.
        decay_mask: (N, P), 0 where weight decay must not pull: the activations' own parameters.
    """

    def __init__(
        self,
        models: Sequence[LeNet],
        activations: Sequence[RunActivation],
        *,
        device: torch.device,
        compute: torch.dtype,
    ) -> None:
        first = models[0]
        self.runs = len(models)
        self.hidden_layers = first.hidden_layers
        self.weighted_layers = first.weighted_layers
        self.units = first.units
        self.batch_norm = first.batch_norm
        self.max_pool = isinstance(first.pool, nn.MaxPool2d)
        self.compute = compute
        self._activations = list(activations)
        self._groups = _groups(activations, models)
        # A GPU has the memory for the copies, and rather launches few kernels.
        one = [slice(0, len(self._groups))]
        self._blocks = _blocks(self._groups) if device.type == "cpu" else one
        self._pools_first = (
            self.max_pool
            and self.batch_norm == "none"
            and all(activation.may_pool_first for activation in activations)
        )
        self._slots = [_layout(model) for model in models]
        columns = max(slot.end for slots in self._slots for slot in slots.values())
        dtype = first.conv1.weight.dtype
        self.parameters = torch.zeros(self.runs, columns, dtype=dtype, device=device)
        self.gradients = torch.zeros_like(self.parameters)
        self.decay_mask = torch.ones_like(self.parameters)
        for row, (model, slots) in enumerate(zip(models, self._slots, strict=True)):
            for name, parameter in model.named_parameters():
                slot = slots[name]
                self.parameters[row, slot.offset : slot.end] = parameter.detach().flatten()
                if name.startswith("activations."):
                    self.decay_mask[row, slot.offset : slot.end] = 0

        self._leaves: list[Tensor] = []
        self._leaf_gradients: list[Tensor] = []
        self._shared = {
            name: self._leaf(slice(None), slot)
            for name, slot in self._slots[0].items()
            if not name.startswith("activations.")
        }
        self._fixed = {
            group.start: fixed
            for group in self._groups
            if (fixed := group.activation.fixed) is not None
        }
        # What the runs of a group learn, by its first run and the layer: (n, C) or (n, 1) each.
        self._learned: dict[tuple[int, str], dict[str, Tensor]] = {}
        self._modules: dict[tuple[int, str], tuple[nn.Module, dict[str, Tensor]]] = {}
        for group in self._groups:
            for layer in self.hidden_layers:
                module = models[group.start].activations[layer]
                entry, runs = group.activation.entry, slice(group.start, group.stop)
                if entry is not None and entry.learns:
                    names = [name for name, _ in module.named_parameters()]
                    self._learned[group.start, layer] = {
                        argument: self._leaf(
                            runs, self._slots[group.start][f"activations.{layer}.{name}"]
                        )
                        for argument, name in zip(entry.argument_derivatives, names, strict=True)
                    }
                elif entry is None:
                    self._modules[group.start, layer] = self._own_module(module, group.start, layer)

        self._statistics: dict[str, tuple[Tensor, Tensor]] = {}  # running mean, variance: (N*C,)
        for layer in first.norms:
            norms = [dict(model.norms[layer].named_buffers()) for model in models]
            self._statistics[layer] = (
                torch.cat([buffers["running_mean"] for buffers in norms]).to(device),
                torch.cat([buffers["running_var"] for buffers in norms]).to(device),
            )
        # What batch norm calls num_batches_tracked; a tensor, so that a captured step counts too.
        self._steps_seen = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def generators(self) -> list[torch.Generator]:
        """The sources of noise that a training step draws from."""
        return [one.generator for one in self._activations if one.generator is not None]

    @property
    def holds_foreign_code(self) -> bool:
        """Whether some activation is the user's own module."""
        return any(activation.entry is None for activation in self._activations)

    # --- parameters ---------------------------------------------------------------------------

    def _leaf(self, runs: slice | int, slot: _Slot) -> Tensor:
        """A leaf that views a parameter of some runs; `backward` finds where its gradient goes."""
        columns = slice(slot.offset, slot.end)
        values, gradients = self.parameters[runs, columns], self.gradients[runs, columns]
        lead = values.shape[:-1]
        leaf = values.view((*lead, *slot.shape)).detach().requires_grad_()
        self._leaves.append(leaf)
        self._leaf_gradients.append(gradients.view((*lead, *slot.shape)))
        return leaf

    def _own_module(
        self, module: nn.Module, run: int, layer: str
    ) -> tuple[nn.Module, dict[str, Tensor]]:
        module = module.to(self.parameters.device)
        leaves = {
            name: self._leaf(run, self._slots[run][f"activations.{layer}.{name}"])
            for name, _ in module.named_parameters()
        }
        return module, leaves

    def columns(self, layer: str) -> slice:
        """The columns of `parameters` and `gradients` that hold a layer's weight."""
        slot = self._slots[0][f"{layer}.weight"]
        return slice(slot.offset, slot.end)

    def state_dict(self, run: int) -> dict[str, Tensor]:
        """The state dict of one run's plain `LeNet`, on the CPU."""
        state = {
            name: self.parameters[run, slot.offset : slot.end].view(slot.shape).cpu().clone()
            for name, slot in self._slots[run].items()
        }
        for layer, (mean, variance) in self._statistics.items():
            channels = slice(run * self.units[layer], (run + 1) * self.units[layer])
            state[f"norms.{layer}.running_mean"] = mean[channels].cpu().clone()
            state[f"norms.{layer}.running_var"] = variance[channels].cpu().clone()
            state[f"norms.{layer}.num_batches_tracked"] = self._steps_seen.cpu().clone()
        for (start, layer), (module, _) in self._modules.items():
            if start == run:
                for name, buffer in module.named_buffers():
                    state[f"activations.{layer}.{name}"] = buffer.cpu().clone()
        return state

    # --- forward and backward -----------------------------------------------------------------

    def forward(
        self,
        batches: Sequence[Batch],
        *,
        training: bool,
        observing: bool = False,
    ) -> Tensor:
        """Compute the logits (N, B, classes) of all runs.

        Args:
            batches: The images; together they serve each of the N runs once.
            training: Batch norm by the batch's own statistics; its running statistics are updated
                and RReLU draws noise.
            observing: As in training, but no state changes and no noise is drawn.
        """
        mode = _Mode(training or observing, training and not observing, observer=None)
        return self._fully_connected(self._convolutional(batches, mode), mode)

    def observe(self, chunks: Iterable[Tensor], observer: Observer) -> None:
        """Show every hidden layer to an observer, without a gradient; no state changes.

        Args:
            chunks: Images (B, C, H, W) that all runs share. The convolutional layers see chunk
                after chunk, the fully connected ones all of them at once.
            observer: What looks on.
        """
        mode = _Mode(training=True, learning=False, observer=observer)
        with torch.no_grad():
            features = [
                self._convolutional([Batch(images, range(self.runs))], mode) for images in chunks
            ]
            if self.batch_norm == "none":
                features = [torch.cat(features, 1)]
            for chunk in features:
                self._fully_connected(chunk, mode)

    def _convolutional(self, batches: Sequence[Batch], mode: _Mode) -> Tensor:
        """From images to the features (N, B, C*H*W) that the fully connected layers receive."""
        if mode.learning:
            self._steps_seen.add_(1)
        if self._pools_first and mode.observer is None:
            maps = self._activate_each("conv1", self._first_pooled(batches), mode)
            maps = self._activate_each("conv2", self._second_pooled(maps), mode)
            return torch.cat([self._flattened(part) for part in maps])
        x = self._after_weights("conv1", self._first_convolution(batches), mode)
        z = F.conv2d(x, self._weight("conv2"), self._bias("conv2"), groups=self.runs)
        return self._flattened(self._after_weights("conv2", z, mode))

    def _fully_connected(self, x: Tensor, mode: _Mode) -> Tensor:
        for layer in self.hidden_layers[2:]:
            x = self._after_weights(layer, self._linear(layer, x), mode)  # (N, B, C)
        return self._linear("logits", x)

    def backward(self, losses: Tensor) -> None:
        """Fill `gradients` with those of each run's own loss, (N,)."""
        # Each loss depends on its run's parameters alone, so the sum keeps gradients apart.
        found = torch.autograd.grad(losses.sum(), self._leaves, allow_unused=True)
        for target, gradient in zip(self._leaf_gradients, found, strict=True):
            if gradient is None:  # a user's own module may not use all it has
                target.zero_()
            else:
                target.copy_(gradient)

    def _weight(self, layer: str) -> Tensor:
        weight = self._shared[f"{layer}.weight"]  # (N, C, C_in, 5, 5)
        return weight.flatten(0, 1).to(self.compute, memory_format=torch.channels_last)

    def _bias(self, layer: str) -> Tensor:
        return self._shared[f"{layer}.bias"].flatten().to(self.compute)

    def _flattened(self, maps: Tensor) -> Tensor:
        """(B, n*C, H, W) of n runs, after the second layer, as (n, B, C*H*W)."""
        b, _, h, w = maps.shape
        each = maps.reshape(b, -1, self.units["conv2"], h, w).transpose(0, 1)
        return each.reshape(len(each), b, -1)

    def _parts(self, layer: str, runs: Iterable[int]) -> list[Part]:
        """How the channels of some runs divide by group; a part is empty where a group has none."""
        chosen = set(runs)
        parts = []
        for group in self._groups:
            members = [run for run in range(group.start, group.stop) if run in chosen]
            f = partial(self._activate_some, layer, group, members)
            falls = not group.activation.non_decreasing
            parts.append(Part(len(members) * self.units[layer], f if falls else None))
        return parts

    def _activate_some(self, layer: str, group: Group, members: Sequence[int], z: Tensor) -> Tensor:
        """f(z) for some runs of a group, without a gradient: (B, n*C, H, W)."""
        entry = group.activation.entry
        if entry is not None and entry.learns:
            places = [run - group.start for run in members]
            return entry.function(z, **self._arguments(layer, group, z, places))
        return self._activate_group(layer, group, z, learning=False)

    def _first_pooled(self, batches: Sequence[Batch]) -> list[Tensor]:
        """The first convolution, pooled: for each group (B, n*C, H, W)."""
        weight, bias = self._weight("conv1"), self._bias("conv1")  # (N*C, C_in, 5, 5), (N*C,)
        maps: dict[int, Tensor] = {}
        for batch, some_weight, some_bias in self._of_each_batch(batches, weight, bias):
            parts = self._parts("conv1", batch.runs)
            pooled = convolve_and_pool([batch.images], some_weight, some_bias, 1, parts)
            if len(batches) == 1:
                return list(pooled)
            for group, part in zip(self._groups, pooled, strict=True):
                maps |= self._by_run(part, [run for run in batch.runs if group.holds(run)])
        return [self._in_order(maps, range(g.start, g.stop)) for g in self._groups]

    def _second_pooled(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The second convolution, pooled: for each group (B, n*C, H, W), from what it received."""
        weight, bias = self._weight("conv2"), self._bias("conv2")
        parts = self._parts("conv2", range(self.runs))
        pooled: list[Tensor] = []
        for some in self._blocks:
            runs = slice(self._groups[some.start].start, self._groups[some.stop - 1].stop)
            rows = slice(runs.start * self.units["conv2"], runs.stop * self.units["conv2"])
            pooled += convolve_and_pool(
                maps[some], weight[rows], bias[rows], runs.stop - runs.start, parts[some]
            )
        return pooled

    def _first_convolution(self, batches: Sequence[Batch]) -> Tensor:
        """The first convolution, each batch for the runs it serves."""
        weight, bias = self._weight("conv1"), self._bias("conv1")
        maps: dict[int, Tensor] = {}
        for batch, some_weight, some_bias in self._of_each_batch(batches, weight, bias):
            x = F.conv2d(batch.images, some_weight, some_bias)
            if len(batches) == 1:
                return x
            maps |= self._by_run(x, batch.runs)
        return self._in_order(maps, range(self.runs))

    def _of_each_batch(
        self, batches: Sequence[Batch], weight: Tensor, bias: Tensor
    ) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Each batch with the weights and biases of the first convolution of its runs."""
        if len(batches) == 1:
            yield batches[0], weight, bias
            return
        units = self.units["conv1"]
        each_weight, each_bias = weight.split(units), bias.split(units)
        for batch in batches:
            some_weight = torch.cat([each_weight[run] for run in batch.runs])
            yield batch, some_weight, torch.cat([each_bias[run] for run in batch.runs])

    def _by_run(self, maps: Tensor, runs: Sequence[int]) -> dict[int, Tensor]:
        return dict(zip(runs, maps.split(self.units["conv1"], dim=1), strict=True)) if runs else {}

    @staticmethod
    def _in_order(maps: Mapping[int, Tensor], runs: range) -> Tensor:
        return torch.cat([maps[run] for run in runs], dim=1)

    def _linear(self, layer: str, x: Tensor) -> Tensor:
        weight, bias = self._shared[f"{layer}.weight"], self._shared[f"{layer}.bias"]
        return torch.baddbmm(
            bias.unsqueeze(1).to(self.compute), x, weight.transpose(1, 2).to(self.compute)
        )

    def _after_weights(self, layer: str, z: Tensor, mode: _Mode) -> Tensor:
        """Norm, activation and pooling, in the order of the plain LeNet or an equivalent one."""
        if self.batch_norm == "before":
            z = self._norm(layer, z, mode)
        parts = self._by_group(layer, z)
        activated = self._activate_each(layer, parts, mode)
        if mode.observer is not None:
            for group, part, h in zip(self._groups, parts, activated, strict=True):
                mode.observer(layer, group, part, h)
        pools = layer.startswith("conv")
        if pools and self.batch_norm != "after":
            return self._side_by_side([self._pool(h) for h in activated])
        h = self._side_by_side(activated)
        if self.batch_norm == "after":
            h = self._norm(layer, h, mode)
        return self._pool(h) if pools else h

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.max_pool else F.avg_pool2d(x, 2)

    def _norm(self, layer: str, x: Tensor, mode: _Mode) -> Tensor:
        mean, variance = self._statistics[layer]
        flat = x if x.dim() == 4 else x.transpose(0, 1).flatten(1)  # (B, N*C, ...)
        result = F.batch_norm(
            flat.to(mean.dtype),
            mean if mode.learning or not mode.training else None,
            variance if mode.learning or not mode.training else None,
            self._shared[f"norms.{layer}.weight"].flatten(),
            self._shared[f"norms.{layer}.bias"].flatten(),
            training=mode.training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPS,
        ).to(self.compute)
        if x.dim() == 4:
            return result
        return result.view(len(result), self.runs, -1).transpose(0, 1)

    # --- activations --------------------------------------------------------------------------

    def _activate_each(self, layer: str, parts: Sequence[Tensor], mode: _Mode) -> list[Tensor]:
        """f(z) of each group's own tensor, (B, n*C, H, W)."""
        return [
            self._activate_group(layer, group, part, mode.learning)
            for group, part in zip(self._groups, parts, strict=True)
        ]

    def _by_group(self, layer: str, z: Tensor) -> Sequence[Tensor]:
        """(B, N*C, H, W) or (N, B, C) as a tensor for each group, on memory without gaps."""
        if len(self._groups) == 1:
            return [z]
        dim, width = (1, self.units[layer]) if z.dim() == 4 else (0, 1)
        sizes = [(group.stop - group.start) * width for group in self._groups]
        parts: tuple[Tensor, ...] = z.split(sizes, dim)
        if dim == 0:
            return parts
        return [part.contiguous(memory_format=torch.channels_last) for part in parts]

    @staticmethod
    def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
        """What `_by_group` parted."""
        return (
            parts[0] if len(parts) == 1 else torch.cat(list(parts), 1 if parts[0].dim() == 4 else 0)
        )

    def _activate_group(self, layer: str, group: Group, z: Tensor, learning: bool) -> Tensor:
        if (group.start, layer) in self._modules:
            module, leaves = self._modules[group.start, layer]
            module.train(learning)
            plain = z if z.dim() == 4 else z[0]  # (B, C, H, W) or (B, C), as in the plain LeNet
            result: Tensor = functional_call(module, leaves, (plain,))
            # Its parameters may be of another type than a bfloat16 pass, and so its result.
            return result.view_as(z).to(z.dtype)
        if group.start in self._fixed:
            return self._fixed[group.start](z)
        entry = group.activation.entry
        assert entry is not None
        return elementwise(z, entry, self._arguments(layer, group, z, noise=learning))

    def _arguments(
        self,
        layer: str,
        group: Group,
        z: Tensor,
        places: Sequence[int] | slice = slice(None),
        noise: bool = False,
    ) -> dict[str, float | Tensor]:
        """The arguments of a group's formula: numbers, or tensors that broadcast against z."""
        entry = group.activation.entry
        assert entry is not None
        arguments: dict[str, float | Tensor] = dict(entry.arguments(group.activation.parameters))
        for name, learned in self._learned.get((group.start, layer), {}).items():
            values = learned[places]  # (n, C), or (n, 1) for one per layer
            if z.dim() == 4:
                values = values.expand(-1, self.units[layer]).reshape(-1, 1, 1)
            else:
                values = values.unsqueeze(1)
            arguments[name] = values.to(z.dtype)
        if noise:
            for name in entry.noise:
                arguments[name] = self._noise(name, self._activations[group.start : group.stop], z)
        return arguments

    def _noise(self, name: str, runs: Sequence[RunActivation], z: Tensor) -> Tensor:
        """An argument drawn for each input, every run's from its own generator."""
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

    def slope(self, layer: str, group: Group, preactivation: Tensor) -> Tensor:
        """|f'(z)| of a group's activation, for pre-activations as an observer sees them."""
        entry = group.activation.entry
        if entry is None:
            return self._own_derivative(layer, group, preactivation).abs()
        slope = entry.derivative(preactivation, **self._arguments(layer, group, preactivation))
        return slope if entry.non_decreasing else slope.abs()

    def _own_derivative(self, layer: str, group: Group, z: Tensor) -> Tensor:
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            # Element by element, so the gradient of the sum is the derivative.
            total = self._activate_group(layer, group, x, learning=False).sum()
            return torch.autograd.grad(total, x)[0]

    def max_slope(self, run: int, layer: str) -> float:
        """Sup |f'| of a run's activation; that of the user's own is unknown, NaN."""
        activation = self._activations[run]
        if activation.entry is None:
            return math.nan
        ends = {
            name: [value]
            for name, value in activation.entry.arguments(activation.parameters).items()
        }
        group = next(group for group in self._groups if group.holds(run))
        for name, learned in self._learned.get((group.start, layer), {}).items():
            ends[name] = torch.stack(learned[run - group.start].detach().aminmax()).tolist()
        return max(
            activation.entry.max_slope(**dict(zip(ends, values, strict=True)))
            for values in product(*ends.values())
        )

    def can_die(self, run: int) -> bool:
        """Whether a run's activation has intervals of exactly zero derivative."""
        activation = self._activations[run]
        entry = activation.entry
        if entry is None or entry.learns:
            return True  # unknown, or a learned slope may reach 0: the derivative itself decides
        return entry.can_die(**entry.arguments(activation.parameters))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of each run, (N,), from logits (N, B, classes)."""
    # bfloat16 has too few digits for a logarithm of a sum; float64 must not lose its own.
    wide = logits.float() if logits.dtype == torch.bfloat16 else logits
    each = F.cross_entropy(wide.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(1)


def _layout(model: LeNet) -> dict[str, _Slot]:
    """Columns for every parameter: the activations' own last, since runs differ in them."""
    names = dict(model.named_parameters())
    slots: dict[str, _Slot] = {}
    offset = 0
    for name in sorted(names, key=lambda name: name.startswith("activations.")):
        slots[name] = _Slot(offset, tuple(names[name].shape))
        offset = slots[name].end
    return slots


def _groups(activations: Sequence[RunActivation], models: Sequence[LeNet]) -> list[Group]:
    """Neighbours with the same function; a run with a module of its own stands alone."""

    def kind(run: int) -> object:
        activation = activations[run]
        if activation.entry is None:
            return run
        if not activation.entry.learns:
            return activation.name, activation.parameters
        # Initial values do not matter once they are parameters.
        learned = activation.entry.argument_derivatives
        fixed = activation.entry.arguments(activation.parameters)
        shapes = [tuple(p.shape) for p in models[run].activations.parameters()]
        return activation.name, {k: v for k, v in fixed.items() if k not in learned}, shapes

    groups = []
    for _, members in groupby(range(len(activations)), key=kind):
        runs = list(members)
        groups.append(Group(runs[0], runs[-1] + 1, activations[runs[0]]))
    return groups


def _blocks(groups: Sequence[Group]) -> list[slice]:
    """Neighbouring groups, as indices, that a grouped convolution takes together."""
    firsts = [0]
    for index, group in enumerate(groups):
        start = groups[firsts[-1]].start
        if group.start - start >= FEWEST and groups[-1].stop - group.start >= FEWEST:
            firsts.append(index)
    return [slice(*ends) for ends in pairwise([*firsts, len(groups)])]
