"""Probes against networks whose dead, dormant and saturated units are known."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Configure, train
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_bench import build
from lenet_bench.activations import ACTIVATIONS
from lenet_bench.config import RunConfig
from lenet_bench.model import LeNet
from lenet_bench.probes import Probe
from lenet_bench.records import COLUMNS
from lenet_bench.stack import Stack

CPU = torch.device("cpu")
SHAPE = build.ImageShape(channels=1, size=20, classes=4)
SMALL = ("precision=float64", "model.channels=[4,8]", "model.hidden=[12,8]")
IMAGES, CHUNK = 22, 8  # chunks of 8, 7 and 7 images
TAU, SATURATION = 0.1, 0.05
EXTREME = 1e3  # a bias that no weighted sum of this data outweighs


class Folded(nn.Module):
    """A user's own activation, flat between -1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """|x| - 1 where that is positive."""
        return (x.abs() - 1).clamp(min=0)


# Where f' is 0 on an interval, by the definition of each function.
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


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(IMAGES, 1, 20, 20, generator=generator, dtype=torch.float64)
    labels = torch.randint(SHAPE.classes, (IMAGES,), generator=generator)
    return images.to(memory_format=torch.channels_last), labels


def config_of(configure: Configure, name: str, *overrides: str) -> RunConfig:
    path = ("activation.path=test_probes:Folded",) if name == "custom" else ()
    activation = configure(f"activation={name}", *path).activation
    return configure(*SMALL, *overrides, activation=activation)


def initial(config: RunConfig) -> LeNet:
    return build.initial_model(config, SHAPE, data()[0])


def bias(model: LeNet, layer: str) -> Tensor:
    return dict(model.named_parameters())[f"{layer}.bias"]


def probe_of(models: Sequence[LeNet], configs: Sequence[RunConfig]) -> tuple[Stack, Probe]:
    activations = [build.run_activation(config, CPU) for config in configs]
    stack = Stack(models, activations, device=CPU, compute=torch.float64)
    images, labels = data()
    probe = Probe(stack, images, labels, batch_size=CHUNK, tau=TAU, saturation=SATURATION)
    return stack, probe


def measured(probe: Probe, iteration: int = 0) -> list[pd.DataFrame]:
    """A table a run, layers as its index."""
    return [
        pd.DataFrame(rows, columns=list(COLUMNS["layers"])).set_index("layer")
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
    """The largest |f'|, searched on a grid; infinite for the square, unknown for one's own."""
    if name in ("square", "custom"):
        return math.nan
    grid = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    if name == "prelu":
        return float(slope(module, grid[::10_000, None].expand(-1, units)).abs().max())
    return float(slope(module, grid).abs().max())


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
    rows = []
    for layer in model.weighted_layers:
        weight = model.layer(layer).weight
        norms = (float(weight.detach().norm()), float(weight.grad.norm()))  # type: ignore[union-attr]
        if layer == "logits":
            rows.append([0, layer, 0, *[None] * 10, *norms])
            continue
        z, h = torch.cat(z_parts[layer], 1), torch.cat(h_parts[layer], 1)  # (units, inputs)
        module = model.activations[layer]
        derivative = slope(module, z.T).T
        dead = FLAT[name](z).all(1) if name in FLAT else torch.zeros(len(z), dtype=torch.bool)
        silent = bool((h == 0).all())
        score = h.abs().mean(1) / (1 if silent else h.abs().mean())
        low = SATURATION * steepest(name, module, len(z))
        saturated = ((derivative.abs() < low) | (derivative == 0)).double().mean()
        moments = [h.mean(), h.std(correction=0), z.mean(), z.std(correction=0)]
        rows.append(
            [
                0,
                layer,
                len(z),
                float(dead.double().mean()),
                float((score <= TAU).double().mean()),
                None if math.isnan(low) else float(saturated),
                float((h == 0).double().mean()),
                0,
                0,
                *map(float, moments),
                *norms,
            ]
        )
    return pd.DataFrame(rows, columns=list(COLUMNS["layers"])).set_index("layer")


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found.astype(float), wanted.astype(float), rtol=1e-9, atol=1e-12, check_dtype=False
    )


# --- known networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(
    "model",
    [(), ("model.batch_norm=before",), ("model.batch_norm=after",), ("model.pool=avg",)],
    ids=["plain", "before", "after", "avg"],
)
def test_every_column_for_every_activation(
    configure: Configure, model: tuple[str, ...], extreme: bool
) -> None:
    # Squares of squares of a thousand leave nothing to compare.
    names = [*(name for name in ACTIVATIONS if not (extreme and name == "square")), "custom"]
    configs = [config_of(configure, name, *model) for name in names]
    models = [initial(config) for config in configs]
    if extreme:
        for one in models:
            push_to_extremes(one)
    _, probe = probe_of(models, configs)
    for config, one, found in zip(configs, models, measured(probe), strict=True):
        assert_same(found, expected(config, one))


@pytest.mark.parametrize(
    ("name", "dead"),
    [
        *((name, 0.0) for name in ACTIVATIONS if name not in FLAT and name != "square"),
        ("relu", 0.25),
        ("relu6", 0.5),
        ("leaky_relu6", 0.25),
        ("hard_sigmoid", 0.5),
        ("hard_tanh", 0.5),
        ("hard_swish", 0.25),
        ("binary_step", 1.0),
        ("custom", 0.0),
    ],
)
def test_who_is_dead_at_the_extremes(configure: Configure, name: str, dead: float) -> None:
    config = config_of(configure, name)
    model = initial(config)
    push_to_extremes(model)
    _, probe = probe_of([model], [config])
    # The biases of conv1 decide alone; behind it, units that pass thousands on do too.
    assert measured(probe)[0]["dead_fraction"]["conv1"] == dead


@pytest.mark.parametrize(
    ("overrides", "dead"),
    [
        (("activation=leaky_relu", "activation.negative_slope=0"), 0.25),
        (("activation=leaky_relu", "activation.negative_slope=1e-8"), 0.0),
        (("activation=prelu", "activation.init=0"), 0.25),
        (("activation=rrelu", "activation.lower=0", "activation.upper=0"), 0.25),
        (("activation=rrelu", "activation.lower=0", "activation.upper=0.1"), 0.0),
        (("activation=leaky_relu6", "activation.negative_slope=0"), 0.5),
    ],
)
def test_a_slope_of_zero_lets_units_die(
    configure: Configure, overrides: tuple[str, ...], dead: float
) -> None:
    config = configure(*overrides, *SMALL)
    model = initial(config)
    push_to_extremes(model)
    _, probe = probe_of([model], [config])
    assert measured(probe)[0]["dead_fraction"]["conv1"] == dead


def test_one_living_input_keeps_a_unit_alive(configure: Configure) -> None:
    config = config_of(configure, "relu")
    model = initial(config)
    z = model.conv1(data()[0]).detach()  # (B, 4, 16, 16)
    with torch.no_grad():
        bias(model, "conv1")[0] -= z[:, 0].max() - 1e-6  # alive at one position of one image
        bias(model, "conv1")[1] -= z[:, 1].max() + 1e-6  # dead by as little
    _, probe = probe_of([model], [config])
    assert measured(probe)[0]["dead_fraction"]["conv1"] == 0.25


def test_dormant_by_a_known_score(configure: Configure) -> None:
    config = config_of(configure, "identity")
    model = initial(config)
    with torch.no_grad():
        for name in ("fc1", "fc2"):
            model.layer(name).weight.zero_()
            bias(model, name).fill_(1.0)
        # Of 12 units, one puts out b: its score is 12 b / (11 + b), and 0.1 at b = 1.1 / 11.9.
        bias(model, "fc1")[3] = -1.1 / 11.9 + 1e-9
        bias(model, "fc2")[5] = 0.7 / 7.9 + 1e-9  # likewise of 8 units
    _, probe = probe_of([model], [config])
    (found,) = measured(probe)
    assert found["dormant_fraction"]["fc1"] == 1 / 12
    assert found["dormant_fraction"]["fc2"] == 0
    assert found["dead_fraction"]["fc1"] == 0


def test_a_silent_layer_is_all_dormant(configure: Configure) -> None:
    config = config_of(configure, "relu")
    model = initial(config)
    with torch.no_grad():
        bias(model, "fc1").fill_(-EXTREME)
    _, probe = probe_of([model], [config])
    (found,) = measured(probe)
    row = found.loc["fc1"]
    assert row["dead_fraction"] == row["dormant_fraction"] == row["zero_fraction"] == 1
    assert row["saturated_fraction"] == 1
    assert row["activation_std"] == row["gradient_norm"] == 0


def test_deaths_and_revivals_are_counted_from_probe_to_probe(configure: Configure) -> None:
    configs = [config_of(configure, name) for name in ("relu", "tanh", "relu")]
    models = [initial(config) for config in configs]
    with torch.no_grad():
        bias(models[0], "conv1")[2] = -EXTREME  # born dead: neither died nor revived
    stack, probe = probe_of(models, configs)
    offset = stack.columns("conv1").stop  # the bias lies behind the weight

    def probed(dead: dict[int, list[int]]) -> list[tuple[Any, ...]]:
        for run in range(3):
            stack.parameters[run, offset : offset + 4] = 0
            for unit in dead.get(run, []):
                stack.parameters[run, offset + unit] = -EXTREME
        rows = [table.loc["conv1"] for table in measured(probe)]
        return [(row["dead_fraction"], row["died"], row["revived"]) for row in rows]

    assert torch.equal(stack.parameters[0, offset : offset + 4], bias(models[0], "conv1"))
    assert probed({0: [2]}) == [(0.25, 0, 0), (0, 0, 0), (0, 0, 0)]
    assert probed({0: [0, 1, 2], 1: [0]}) == [(0.75, 2, 0), (0, 0, 0), (0, 0, 0)]
    assert probed({0: [1, 3], 2: [0]}) == [(0.5, 1, 2), (0, 0, 0), (0.25, 1, 0)]
    assert probed({0: [1, 3]}) == [(0.5, 0, 0), (0, 0, 0), (0, 0, 1)]


def test_learned_slopes_count_as_they_are_now(configure: Configure) -> None:
    config = config_of(configure, "prelu")
    model = initial(config)
    push_to_extremes(model)
    with torch.no_grad():
        slopes = dict(model.named_parameters())["activations.conv1.weight"]
        slopes.copy_(torch.tensor([0.0, 40.0, -3.0, 1.0]))
    _, probe = probe_of([model], [config])
    (found,) = measured(probe)
    assert found["dead_fraction"]["conv1"] == 0.25
    assert_same(
        found.drop(columns="dead_fraction"),
        expected(config, model).drop(columns="dead_fraction"),
    )


@pytest.mark.parametrize("name", ["square", "custom"])
def test_saturation_is_blank_where_it_means_nothing(configure: Configure, name: str) -> None:
    config = config_of(configure, name)
    _, probe = probe_of([initial(config)], [config])
    assert measured(probe)[0]["saturated_fraction"].isna().all()


# --- in training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_probing_changes_training_by_not_one_bit(
    configure: Configure, tmp_path: Path, batch_norm: str
) -> None:
    common = (
        "dataset.train_size=40", "dataset.validation_size=20", "batch_size=8", "iterations=8",
        "evaluate.every=4", "probe.images=20", f"model.batch_norm={batch_norm}",
    )  # fmt: skip
    runs = {}
    for every in (0, 1):
        base = configure(*common, f"probe.every={every}")
        names = ("rrelu", "rrelu", "relu", "prelu", "custom")
        configs = [
            base.model_copy(
                update={"activation": config_of(configure, name).activation, "seed": n // 2}
            )
            for n, name in enumerate(names)
        ]
        runs[every] = train(configs, tmp_path / str(every))
    for without, probed in zip(runs[0], runs[1], strict=True):
        assert list(probed.layers["iteration"].unique()) == list(range(9))
        for name in ("train.csv", "evaluation.csv"):
            assert (without.directory / name).read_bytes() == (probed.directory / name).read_bytes()
        for name, value in without.weights.items():
            assert torch.equal(value, probed.weights[name])


def test_what_is_written_is_what_was_measured(configure: Configure, tmp_path: Path) -> None:
    config = configure(
        "dataset.train_size=40", "dataset.validation_size=20", "batch_size=16", "iterations=5",
        "probe.every=2", "probe.images=40", "precision=float64",
    )  # fmt: skip
    (run,) = train([config], tmp_path)
    assert list(run.layers.columns) == list(COLUMNS["layers"])
    # At both ends too, whatever the interval.
    layers = ["conv1", "conv2", "fc1", "fc2", "logits"]
    assert list(run.layers["iteration"]) == [i for i in (0, 2, 4, 5) for _ in layers]
    assert list(run.layers["layer"]) == layers * 4
    assert list(run.layers["units"][:5]) == [6, 16, 120, 84, 0]
    last = run.layers.set_index(["iteration", "layer"]).loc[5]
    for layer in layers:
        norm = float(run.weights[f"{layer}.weight"].norm())
        assert last["weight_norm"][layer] == pytest.approx(norm, rel=1e-12)
    blank = ["dead_fraction", "died", "activation_mean", "saturated_fraction"]
    assert last.loc["logits", blank].isna().all()
