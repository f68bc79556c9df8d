"""LeNet as plain PyTorch: easy to read, the network of exported weights, the oracle for the stack.

In: standardised images (B, C, H, W). Out: logits (B, classes), and on request what every hidden
layer computed on the way.

LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition,
doi:10.1109/5.726791, with a choice of activation, pooling and batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.layers import LOGITS, hidden_layer_names
from lenet_bench.model.autograd import elementwise

KERNEL = 5
SMALLEST_IMAGE = 16  # 16 -> 12 -> 6 -> 2 -> 1; 15 leaves nothing after the second pooling

Pool = Literal["max", "avg"]
BatchNorm = Literal["none", "before", "after"]


class Intermediate(NamedTuple):
    """What a hidden layer computed: (B, C, H, W) for a convolution, (B, units) otherwise."""

    preactivation: Tensor  # what the activation function received
    activation: Tensor  # what it returned


def pooled_size(image_size: int) -> int:
    """Return the height of the second pooling's output, for square images of a height."""
    after_first = (image_size - KERNEL + 1) // 2
    return (after_first - KERNEL + 1) // 2


class LeNet(nn.Module):
    """Two convolutions, each activated and pooled, then fully connected layers.

    Every hidden layer is: weights -> [batch norm before] -> activation -> [batch norm after] ->
    2x2 pooling (convolutions only). Weighted layers are the attributes `conv1`, `conv2`, `fc1`,
    ..., `logits`; `activations` and `norms` hold the other modules by the same names.

    Args:
        in_channels: Channels of the images.
        image_size: Their height and width, at least 16.
        classes: Number of logits.
        channels: Feature maps of the two convolutions.
        hidden: Units of the fully connected hidden layers.
        activation: Builds the activation of a layer from its number of units.
        pool: The kind of pooling.
        batch_norm: Where batch normalisation stands relative to the activation, if at all.

    Raises:
        ValueError: The images are too small for two rounds of convolution and pooling.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        image_size: int,
        classes: int,
        channels: tuple[int, int] = (6, 16),
        hidden: tuple[int, ...] = (120, 84),
        activation: Callable[[int], nn.Module],
        pool: Pool = "max",
        batch_norm: BatchNorm = "none",
    ) -> None:
        super().__init__()
        if image_size < SMALLEST_IMAGE:
            raise ValueError(f"image_size must be at least {SMALLEST_IMAGE}, got {image_size}")
        self.hidden_layers = hidden_layer_names(len(hidden))
        self.weighted_layers = (*self.hidden_layers, LOGITS)
        self.units = dict(zip(self.hidden_layers, (*channels, *hidden), strict=True))
        self.batch_norm = batch_norm

        self.conv1 = nn.Conv2d(in_channels, channels[0], KERNEL)
        self.conv2 = nn.Conv2d(channels[0], channels[1], KERNEL)
        width = channels[1] * pooled_size(image_size) ** 2
        for name, units in zip(self.hidden_layers[2:], hidden, strict=True):
            self.add_module(name, nn.Linear(width, units))
            width = units
        self.logits = nn.Linear(width, classes)

        self.pool = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
        self.activations = nn.ModuleDict({n: activation(u) for n, u in self.units.items()})
        self.norms = nn.ModuleDict()
        if batch_norm != "none":
            for name, units in self.units.items():
                convolution = name.startswith("conv")
                self.norms[name] = nn.BatchNorm2d(units) if convolution else nn.BatchNorm1d(units)

    def layer(self, name: str) -> nn.Conv2d | nn.Linear:
        """Return a weighted layer by its name."""
        module = self.get_submodule(name)
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        return module

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, classes)."""
        return self.forward_with_intermediates(images)[0]

    def forward_with_intermediates(self, images: Tensor) -> tuple[Tensor, dict[str, Intermediate]]:
        """Map images (B, C, H, W) to logits (B, classes) and each hidden layer's values."""
        x = images
        seen = {}
        for name in self.hidden_layers:
            x, seen[name] = self.apply_hidden_layer(name, x)
        logits: Tensor = self.logits(x)
        return logits, seen

    def apply_hidden_layer(self, name: str, x: Tensor) -> tuple[Tensor, Intermediate]:
        """Pass a batch through one hidden layer.

        Args:
            name: The layer.
            x: What the previous layer put out, or the images.

        Returns:
            What the next layer receives, with the feature maps of `conv2` flattened to
            (B, features), and the layer's intermediate values.
        """
        z = self.layer(name)(x)  # (B, units, H, W) or (B, units)
        if self.batch_norm == "before":
            z = self.norms[name](z)
        h = self.activations[name](z)
        seen = Intermediate(z, h)
        if self.batch_norm == "after":
            h = self.norms[name](h)
        if name.startswith("conv"):
            h = self.pool(h)  # (B, units, H // 2, W // 2)
        if name == "conv2":
            h = h.flatten(1)  # (B, units * H * W)
        return h, seen


class ZooActivation(nn.Module):
    """An activation of the list, computed by its formulas.

    Learned arguments are its parameters, by their names.

    Args:
        name: Its name in the list of activations.
        units: Units of the layer, (B, units, ...) being the shape of its inputs.
        parameters: Those that differ from their defaults, by their names in the configuration.
    """

    def __init__(self, name: str, units: int, parameters: Mapping[str, float]) -> None:
        super().__init__()
        self.entry = ACTIVATIONS[name]
        self.settings = self.entry.complete(parameters)
        self.arguments = self.entry.arguments(parameters)
        for argument in self.entry.argument_derivatives:
            values = self.entry.learned_values(units, **self.settings)
            initial = torch.full((values,), self.arguments[argument])
            self.register_parameter(argument, nn.Parameter(initial))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to each element."""
        arguments: dict[str, float | Tensor] = dict(self.arguments)
        for argument, learned in self.named_parameters():
            arguments[argument] = learned.view(-1, *[1] * (x.dim() - 2))
        if self.training:
            for argument, bounds in self.entry.noise.items():
                arguments[argument] = torch.empty_like(x).uniform_(*bounds(**self.settings))
        return elementwise(x, self.entry, arguments)

    def extra_repr(self) -> str:
        """Return the name and arguments, for the printed model."""
        return ", ".join([self.entry.name, *(f"{k}={v:g}" for k, v in self.arguments.items())])


def activation_module(name: str, units: int, parameters: Mapping[str, float]) -> nn.Module:
    """Build the module of a listed activation for one layer.

    Args:
        name: Its name in the list of activations.
        units: Units of the layer, the number of slopes that a PReLU per unit learns.
        parameters: Those that differ from their defaults, by their names in the configuration.

    Returns:
        torch.nn's module where torch has one, a `ZooActivation` otherwise. Its parameters are the
        arguments that the entry learns, in the entry's order.
    """
    entry = ACTIVATIONS[name]
    if entry.torch_module is None:
        return ZooActivation(name, units, parameters)
    arguments = entry.torch_arguments(units, **entry.complete(parameters))
    module: nn.Module = getattr(nn, entry.torch_module)(**arguments)
    return module
