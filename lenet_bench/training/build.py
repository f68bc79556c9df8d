"""From the configurations of runs to the plain objects that train them.

In: `RunConfig`s, and the shape of the data. Out: an initialised `LeNet`, activation, optimizer and
learning rates of a run; the stack of several runs and its optimizer. Configuration objects end
here: models, stack and optimizers receive plain arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.custom import load_custom
from lenet_bench.choices.initialization import SCHEMES, gain_factor
from lenet_bench.choices.schedules import learning_rates
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets.shape import ImageShape
from lenet_bench.model.groups import RunActivation
from lenet_bench.model.initialize import initialize
from lenet_bench.model.lenet import LeNet, activation_module
from lenet_bench.model.stack import Stack
from lenet_bench.training.devices import COMPUTE_TYPES, PARAMETER_TYPES, find_device
from lenet_bench.training.randomness import Use, stream
from lenet_bench.training.stacked_optimizer import OptimizerSettings, StackedOptimizer


def plain_model(config: RunConfig, shape: ImageShape) -> LeNet:
    """Build the plain LeNet of a configuration, not yet initialised, in its parameters' type.

    Raises:
        UserError: `activation.path` names no usable module.
    """
    name, parameters = config.activation.name, config.activation.parameters
    custom = load_custom(parameters["path"]) if name == "custom" else None

    def activation(units: int) -> nn.Module:
        return custom() if custom is not None else activation_module(name, units, parameters)

    return _lenet(config, shape, activation).to(PARAMETER_TYPES[config.precision])


def parameter_shapes(config: RunConfig, shape: ImageShape) -> dict[str, torch.Size]:
    """The shapes in the state dict of a plain LeNet, those of its activations left out.

    Nothing is allocated, so that numbers of another's making may be vast.
    """
    with torch.device("meta"):
        model = _lenet(config, shape, lambda units: nn.Identity())
    return {name: value.shape for name, value in model.state_dict().items()}


def _lenet(config: RunConfig, shape: ImageShape, activation: Callable[[int], nn.Module]) -> LeNet:
    scaled = config.model.scaled
    first, second = config.model.channels
    return LeNet(
        in_channels=shape.channels,
        image_size=shape.size,
        classes=shape.classes,
        channels=(scaled(first), scaled(second)),
        hidden=tuple(scaled(units) for units in config.model.hidden),
        activation=activation,
        pool=config.model.pool,
        batch_norm=config.model.batch_norm,
    )


def initial_model(config: RunConfig, shape: ImageShape, images: Tensor) -> LeNet:
    """Build the plain LeNet of a run with the initial weights of its seed.

    Args:
        config: The run.
        shape: The shape of the data.
        images: Standardised training images (B, C, H, W) on the CPU, for lsuv.
    """
    # A user's own module may draw its initial parameters from torch's global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        # Drawn in float32 whatever the precision, so that precisions start alike.
        model = plain_model(config, shape).float()
    scheme = dict(config.init.parameters)
    gain, logits_gain, bias = (scheme.pop(key) for key in ("gain", "logits_gain", "bias"))
    initialize(
        model,
        scheme=config.init.name,
        generator=stream(config.seed, Use.INITIAL_WEIGHTS),
        gain=gain_factor(config.init.name, gain, _recommended_gain(config)),
        bias=bias,
        logits_gain=logits_gain,
        parameters=scheme,
        images=images.float() if SCHEMES[config.init.name].needs_images else None,
    )
    return model.to(PARAMETER_TYPES[config.precision])


def _recommended_gain(config: RunConfig) -> float:
    entry = ACTIVATIONS.get(config.activation.name)
    if entry is None:
        return 1.0  # nothing is known about the user's own
    return entry.gain(**entry.arguments(config.activation.parameters))


def run_activation(config: RunConfig, device: torch.device) -> RunActivation:
    """Return the activation of a run, as a stack takes it."""
    name: str = config.activation.name
    if name == "custom":
        return RunActivation(name)
    generator = stream(config.seed, Use.NOISE, device) if ACTIVATIONS[name].noisy else None
    return RunActivation(name, config.activation.parameters, generator)


def optimizer_settings(config: RunConfig) -> OptimizerSettings:
    """Return the optimizer of a run, as a stack takes it."""
    parameters: dict[str, Any] = config.optimizer.parameters
    return OptimizerSettings(config.optimizer.name, config.weight_decay, parameters)


def learning_rate_of_each_iteration(config: RunConfig, iterations: int) -> list[float]:
    """Return the learning rate of every update, that of iteration 1 first."""
    return learning_rates(
        name=config.schedule.name,
        lr=config.lr,
        iterations=iterations,
        **config.schedule.parameters,
    )


def build_stack(
    configs: Sequence[RunConfig], shape: ImageShape, images: Tensor, device: torch.device
) -> Stack:
    """Build the stack of some runs with their initial weights.

    Args:
        configs: The runs, of one architecture and precision.
        shape: The shape of the data.
        images: Standardised training images (B, C, H, W) on the CPU, for lsuv.
        device: Where the stack lives.
    """
    return Stack(
        [initial_model(config, shape, images) for config in configs],
        [run_activation(config, device) for config in configs],
        device=device,
        compute=COMPUTE_TYPES[configs[0].precision],
    )


def build_optimizer(configs: Sequence[RunConfig], stack: Stack) -> StackedOptimizer:
    """Build the optimizer of a stack."""
    settings = [optimizer_settings(config) for config in configs]
    return StackedOptimizer(stack.parameters, settings, stack.decay_mask)


def check_on_this_machine(configs: Iterable[RunConfig]) -> None:
    """Find, before any data are loaded, what the configuration alone cannot tell.

    Raises:
        UserError: A device is not there, or `activation.path` names no usable module.
    """
    for config in configs:
        find_device(config)
        if config.activation.name == "custom":
            load_custom(config.activation.parameters["path"])
