"""Probes of small networks, and an oracle that says what a probe must find in one plain LeNet."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets.shape import ImageShape
from lenet_bench.model.lenet import LeNet
from lenet_bench.model.stack import Stack
from lenet_bench.records.schema import LayerRow
from lenet_bench.training import build
from lenet_bench.training.probes import Probe
from tests.conftest import Configure

CPU = torch.device("cpu")
SHAPE = ImageShape(channels=1, size=20, classes=4)
SMALL = ("precision=float64", "model.channels=[4,8]", "model.hidden=[12,8]")
IMAGES, CHUNK = 22, 8  # chunks of 8, 7 and 7 images
TAU, SATURATION = 0.1, 0.05
EXTREME = 1e3  # a bias that no weighted sum of this data outweighs


class Folded(nn.Module):
    """A user's own activation, flat between -1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """|x| - 1 where that is positive."""
        return (x.abs() - 1).clamp(min=0)


# Where f' is 0 on an interval, by the definition of each function. An activation that can die and
# is not here counts as flat where its derivative by autograd is 0.
FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "binary_step": lambda z: torch.ones_like(z, dtype=torch.bool),
    "relu": lambda z: z <= 0,
    "relu6": lambda z: (z <= 0) | (z >= 6),
    "leaky_relu6": lambda z: z >= 6,
    "hard_sigmoid": lambda z: z.abs() >= 3,
    "hard_tanh": lambda z: z.abs() >= 1,
    "hard_swish": lambda z: z <= -3,
    "custom": lambda z: z.abs() <= 1,
}
NEVER_DEAD = [name for name, entry in ACTIVATIONS.items() if not entry.can_die(**entry.arguments())]


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(IMAGES, 1, 20, 20, generator=generator, dtype=torch.float64)
    labels = torch.randint(SHAPE.classes, (IMAGES,), generator=generator)
    return images.to(memory_format=torch.channels_last), labels


def config_of(configure: Configure, name: str, *overrides: str) -> RunConfig:
    path = ("activation.path=tests.training.probing:Folded",) if name == "custom" else ()
    activation = configure(f"activation={name}", *path).activation
    return configure(*SMALL, *overrides, activation=activation)


def initial(config: RunConfig) -> LeNet:
    return build.initial_model(config, SHAPE, data()[0])


def bias(model: LeNet, layer: str) -> Tensor:
    return dict(model.named_parameters())[f"{layer}.bias"]


def probe_of(
    models: Sequence[LeNet], configs: Sequence[RunConfig], images: Tensor | None = None
) -> tuple[Stack, Probe]:
    activations = [build.run_activation(config, CPU) for config in configs]
    dtype = models[0].conv1.weight.dtype
    stack = Stack(models, activations, device=CPU, compute=dtype)
    standard, labels = data()
    images = (standard if images is None else images).to(dtype)
    probe = Probe(stack, images, labels, batch_size=CHUNK, tau=TAU, saturation=SATURATION)
    return stack, probe


def measured(probe: Probe, iteration: int = 0) -> list[pd.DataFrame]:
    """A table a run, layers as its index."""
    return [
        pd.DataFrame(rows, columns=list(LayerRow._fields)).set_index("layer")
        for rows in probe.measure(iteration)
    ]


def push_to_extremes(model: LeNet) -> None:
    """In each hidden layer a quarter of the units far below 0 and a quarter far above."""
    with torch.no_grad():
        for name in model.hidden_layers:
            shifted = model.norms[name] if model.batch_norm == "before" else model.layer(name)
            assert isinstance(shifted.bias, Tensor)
            quarter = len(shifted.bias) // 4
            shifted.bias[:quarter] = -EXTREME
            shifted.bias[quarter : 2 * quarter] = EXTREME


# --- the oracle -----------------------------------------------------------------------------------


def slope(module: nn.Module, z: Tensor) -> Tensor:
    """f'(z) by autograd."""
    with torch.enable_grad():
        x = z.detach().requires_grad_()
        return torch.autograd.grad(module(x).sum(), x)[0]


def steepest(name: str, module: nn.Module, units: int) -> float:
    """The largest |f'|, searched on a grid; NaN where it is infinite or f is the user's own."""
    entry = ACTIVATIONS.get(name)
    if entry is None or math.isinf(entry.max_slope(**entry.arguments())):
        return math.nan
    grid = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    if entry.learns:
        return float(slope(module, grid[::10, None].expand(-1, units)).abs().max())
    return float(slope(module, grid).abs().max())


def flat(name: str, z: Tensor, derivative: Tensor) -> Tensor:
    """Where f' is 0 and no rounding made it so."""
    if name in FLAT:
        return FLAT[name](z)
    return torch.zeros_like(z, dtype=torch.bool) if name in NEVER_DEAD else derivative == 0


def expected(config: RunConfig, model: LeNet) -> pd.DataFrame:
    """What a probe has to say about one plain LeNet."""
    model = copy.deepcopy(model).train()
    model.activations.eval()  # RReLU at its mean slope
    name = config.activation.name
    images, labels = data()
    z_parts: dict[str, list[Tensor]] = {}
    h_parts: dict[str, list[Tensor]] = {}
    chunks = zip(images.split([8, 7, 7]), labels.split([8, 7, 7]), strict=True)
    for number, (x, y) in enumerate(chunks):
        logits, seen = model.forward_with_intermediates(x)
        for layer, (z, h) in seen.items():
            by_unit = [value.detach().transpose(0, 1).flatten(1) for value in (z, h)]
            z_parts.setdefault(layer, []).append(by_unit[0])
            h_parts.setdefault(layer, []).append(by_unit[1])
        if number == 0:
            F.cross_entropy(logits, y).backward()
    rows: list[LayerRow] = []
    blank: dict[str, Any] = dict.fromkeys(LayerRow._fields)
    for layer in model.weighted_layers:
        weight = model.layer(layer).weight
        assert weight.grad is not None
        norms = {
            "weight_norm": float(weight.detach().norm()),
            "gradient_norm": float(weight.grad.norm()),
        }
        if layer == "logits":
            rows.append(LayerRow(**{**blank, "iteration": 0, "layer": layer, "units": 0, **norms}))
            continue
        z, h = torch.cat(z_parts[layer], 1), torch.cat(h_parts[layer], 1)  # (units, inputs)
        module = model.activations[layer]
        derivative = slope(module, z.T).T
        dead = flat(name, z, derivative).all(1)
        silent = bool((h == 0).all())
        score = h.abs().mean(1) / (1 if silent else h.abs().mean())
        low = SATURATION * steepest(name, module, len(z))
        saturated = ((derivative.abs() < low) | (derivative == 0)).double().mean()
        rows.append(
            LayerRow(
                iteration=0,
                layer=layer,
                units=len(z),
                dead_fraction=float(dead.double().mean()),
                dormant_fraction=float((score <= TAU).double().mean()),
                saturated_fraction=None if math.isnan(low) else float(saturated),
                zero_fraction=float((h == 0).double().mean()),
                died=0,
                revived=0,
                activation_mean=float(h.mean()),
                activation_std=float(h.std(correction=0)),
                preactivation_mean=float(z.mean()),
                preactivation_std=float(z.std(correction=0)),
                **norms,
            )
        )
    return pd.DataFrame(rows, columns=list(LayerRow._fields)).set_index("layer")


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        actual.astype(float), expected.astype(float), rtol=1e-9, atol=1e-12, check_dtype=False
    )
