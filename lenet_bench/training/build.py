"""From a run's configuration to the plain objects that train it.

In: a `RunConfig`, and the shape of the data. Out: an initialised `LeNet`, its activation, its
optimizer's settings and learning rates, its random streams. Configuration objects end here: models,
stack and optimizers receive plain arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.custom import load_custom
from lenet_bench.choices.initialization import SCHEMES, gain_factor
from lenet_bench.choices.schedules import learning_rates
from lenet_bench.common.errors import UserError
from lenet_bench.config.schema import RunConfig
from lenet_bench.model.groups import RunActivation
from lenet_bench.model.initialize import initialize
from lenet_bench.model.lenet import LeNet, activation_module
from lenet_bench.training.stacked_optimizer import OptimizerSettings

# One stream per use of randomness, so that none shifts another.
INITIAL_WEIGHTS, BATCH_ORDER, NOISE = range(3)

GPU_SHARE = 0.8  # of its memory; the rest is for the libraries, the data and fragments

# Parameters stay in float32 under bfloat16, as mixed precision keeps them.
PARAMETER_TYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.float32,
}
COMPUTE_TYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True)
class ImageShape:
    """What a network has to know about the images: channels, height and width, classes."""

    channels: int
    size: int
    classes: int


def stream(seed: int, use: int, device: torch.device | None = None) -> torch.Generator:
    """The generator of one use of randomness (`INITIAL_WEIGHTS`, ...) in runs of a seed."""
    state = np.random.SeedSequence((seed, use)).generate_state(1, np.uint64)
    generator = torch.Generator(device or torch.device("cpu"))
    return generator.manual_seed(int(state[0]) >> 1)


def device(name: str, precision: str) -> torch.device:
    """The device that `device=` means on this machine.

    Raises:
        UserError: The machine has no such device, or the device no such precision.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(name)
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            have = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
            raise UserError(f"device={name}: this machine has {have}; use device=auto or cpu")
    if found.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(f"device={name}: this machine has no MPS; use device=auto or cpu")
        if precision == "float64":
            raise UserError(f"device={name}: MPS has no float64; use device=cpu")
    return found


def gpu_memory(devices: Iterable[torch.device]) -> int:
    """Bytes that a stack may take on the smallest of some GPUs: most of what it has."""
    found = []
    for each in devices:
        if each.type == "cuda":
            found.append(torch.cuda.get_device_properties(each).total_memory)
        elif each.type == "mps":
            found.append(torch.mps.recommended_max_memory())
    return int(GPU_SHARE * min(found))


def plain_model(config: RunConfig, shape: ImageShape) -> LeNet:
    """The plain LeNet of a configuration, not yet initialised, in its parameters' type.

    Raises:
        UserError: `activation.path` names no usable module.
    """
    name, parameters = config.activation.name, config.activation.parameters
    custom = load_custom(parameters["path"]) if name == "custom" else None

    def activation(units: int) -> nn.Module:
        return custom() if custom is not None else activation_module(name, units, parameters)

    scaled = config.model.scaled
    first, second = config.model.channels
    model = LeNet(
        in_channels=shape.channels,
        image_size=shape.size,
        classes=shape.classes,
        channels=(scaled(first), scaled(second)),
        hidden=tuple(scaled(units) for units in config.model.hidden),
        activation=activation,
        pool=config.model.pool,
        batch_norm=config.model.batch_norm,
    )
    return model.to(PARAMETER_TYPES[config.precision])


def initial_model(config: RunConfig, shape: ImageShape, images: Tensor) -> LeNet:
    """The plain LeNet with the initial weights of its seed.

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
        generator=stream(config.seed, INITIAL_WEIGHTS),
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


def run_activation(config: RunConfig, on: torch.device) -> RunActivation:
    """The activation of a run, as the stack takes it."""
    name: str = config.activation.name
    if name == "custom":
        return RunActivation(name)
    generator = stream(config.seed, NOISE, on) if ACTIVATIONS[name].noisy else None
    return RunActivation(name, config.activation.parameters, generator)


def optimizer_settings(config: RunConfig) -> OptimizerSettings:
    """The optimizer of a run."""
    parameters: dict[str, Any] = config.optimizer.parameters
    return OptimizerSettings(config.optimizer.name, config.weight_decay, parameters)


def learning_rate_of_each_iteration(config: RunConfig, iterations: int) -> list[float]:
    """The learning rate that each update 1..iterations uses."""
    return learning_rates(
        name=config.schedule.name,
        lr=config.lr,
        iterations=iterations,
        **config.schedule.parameters,
    )


def check_on_this_machine(configs: Iterable[RunConfig]) -> None:
    """Find, before any data are loaded, what the configuration alone cannot tell.

    Raises:
        UserError: A device is not there, or `activation.path` names no usable module.
    """
    for name, precision in {(config.device, config.precision) for config in configs}:
        device(name, precision)
    for config in configs:
        if config.activation.name == "custom":
            load_custom(config.activation.parameters["path"])
