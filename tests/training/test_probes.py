"""Probes against networks whose dead, dormant and saturated units are known."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
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
from tests.conftest import Configure, train

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
    path = ("activation.path=tests.training.test_probes:Folded",) if name == "custom" else ()
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
    return pd.DataFrame(rows, columns=list(LayerRow._fields)).set_index("layer")


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


# --- networks without arithmetic ------------------------------------------------------------------

# Pre-activations z and what a probe has to say of a unit that has z at every input: d dead,
# s saturated (|f'| below 0.05 of its maximum, or 0), z an activation of exactly 0.
# The thresholds are solved by hand: sigmoid p (1 - p) = 0.0125 at |z| = 4.3567, tanh at
# artanh(sqrt(0.95)) = 2.1783, softsign at sqrt(20) - 1 = 3.4721, softplus at ln(0.05 / 0.95) =
# -2.9444, the exponential linear ones at ln 0.05 = -2.9957. GELU, Swish and Mish are flat at their
# minima and in the lower tail.
KNOWN: dict[str, dict[float, str]] = {
    "identity": {-200: "", 0: "z", 1: "", 200: ""},
    "binary_step": {-200: "dsz", -1e-9: "dsz", 0: "ds", 7: "ds"},
    "square": {-200: "", 0: "dz", 1e-9: "", 0.5: ""},
    "sigmoid": {-200: "s", -4.36: "s", 4.35: "", 0: ""},
    "tanh": {-200: "s", 2.179: "s", -2.177: "", 0: "z"},
    "relu": {-200: "dsz", 0: "dsz", 1e-9: "", 200: ""},
    "leaky_relu": {-200: "s", -1e-9: "s", 0: "sz", 1e-9: ""},
    "prelu": {-200: "", -1e-9: "", 0: "z", 200: ""},
    "rrelu": {-200: "", -1e-9: "", 0: "z", 200: ""},
    "relu6": {-1: "dsz", 5.999: "", 6: "ds", 200: "ds"},
    "leaky_relu6": {-200: "s", 5.999: "", 6: "ds", 200: "ds"},
    "softplus": {-200: "s", -2.95: "s", -2.94: "", 200: ""},
    "softsign": {-200: "s", 3.48: "s", -3.46: "", 0: "z"},
    "elu": {-200: "s", -3.0: "s", -2.99: "", 0: "z"},
    "selu": {-200: "s", -3.0: "s", -2.99: "", 0: "z"},
    "celu": {-200: "s", -3.0: "s", -2.99: "", 0: "z"},
    "gelu": {-5: "s", -0.7517916: "s", -0.2: "", 5: ""},
    "swish": {-200: "s", -1.2784645: "s", -0.2: "", 5: ""},
    "hard_swish": {-3.001: "dsz", -1.49: "s", 0: "z", 200: ""},
    "hard_sigmoid": {-3: "dsz", -2.999: "", 3: "ds", 200: "ds"},
    "hard_tanh": {-1: "ds", -0.999: "", 0: "z", 200: "ds"},
    "mish": {-200: "s", -1.1924312: "s", -0.2: "", 5: ""},
    "custom": {0: "dz", -0.999: "dz", 1.001: "", 200: ""},
}
LETTERS = {"dead_fraction": "d", "saturated_fraction": "s", "zero_fraction": "z"}


def without_weights(model: LeNet, values: Sequence[float]) -> None:
    """Every pre-activation of a hidden unit is the unit's bias: one of some values, in turn."""
    with torch.no_grad():
        for name in model.hidden_layers:
            layer = model.layer(name)
            layer.weight.zero_()
            bias(model, name).zero_()
            shifted = model.norms[name] if model.batch_norm == "before" else layer
            assert isinstance(shifted.bias, Tensor)
            each = torch.tensor(values, dtype=torch.float64)
            shifted.bias.copy_(each.repeat(len(shifted.bias) // len(values)))


def test_every_activation_is_known() -> None:
    assert set(KNOWN) == {*ACTIVATIONS, "custom"}


@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
@pytest.mark.parametrize("name", KNOWN)
def test_fractions_of_a_network_without_weights(
    configure: Configure, name: str, batch_norm: str
) -> None:
    values, letters = list(KNOWN[name]), list(KNOWN[name].values())
    config = config_of(configure, name, f"model.batch_norm={batch_norm}")
    model = initial(config).double()
    without_weights(model, values)
    _, probe = probe_of([model], [config])
    found = measured(probe)[0].drop("logits")
    for column, letter in LETTERS.items():
        share = sum(letter in of_unit for of_unit in letters) / len(letters)
        if column == "saturated_fraction" and name in ("square", "custom"):
            assert found[column].isna().all()
        else:
            assert list(found[column]) == [share] * 4, column
    mean = sum(values) / 4
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 4)
    assert list(found["preactivation_mean"]) == pytest.approx([mean] * 4, rel=1e-12, abs=1e-12)
    assert list(found["preactivation_std"]) == pytest.approx([deviation] * 4, rel=1e-9)
    assert list(found["weight_norm"]) == [0] * 4


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in FLAT])
def test_underflow_is_not_death(configure: Configure, name: str) -> None:
    config = config_of(configure, name, "precision=float32")
    model = initial(config)
    # In float32 exp(-200) is 0: so are the derivatives of most of the smooth ones.
    without_weights(model, [-1e4, -200, 200, 1e4])
    _, probe = probe_of([model], [config])
    assert list(measured(probe)[0]["dead_fraction"][:4]) == [0] * 4


def test_a_unit_at_the_threshold_of_dormancy_is_dormant(configure: Configure) -> None:
    config = config_of(configure, "identity")
    model = initial(config)
    without_weights(model, [-0.25, 3.75, 3, -3])  # a mean of 2.5; 0.25 is tau times that
    _, probe = probe_of([model], [config])
    assert list(measured(probe)[0]["dormant_fraction"][:4]) == [0.25] * 4
    without_weights(model, [-0.25 - 1e-9, 3.75, 3, -3])
    _, probe = probe_of([model], [config])
    assert list(measured(probe)[0]["dormant_fraction"][:4]) == [0] * 4


def test_norms_of_a_network_without_weights(configure: Configure) -> None:
    config = config_of(configure, "relu")
    model = initial(config)
    without_weights(model, [-1, 1, 2, 0])
    with torch.no_grad():
        model.conv1.weight[1, 0, 2, 2] = 3.0
        model.conv1.weight[2, 0, 0, 4] = -4.0
        model.logits.weight.zero_()
        bias(model, "logits").copy_(torch.tensor([0, 0, 0, math.log(3)], dtype=torch.float64))
    _, probe = probe_of([model], [config])
    (found,) = measured(probe)
    assert found["weight_norm"]["conv1"] == 5
    # Probabilities 1/6, 1/6, 1/6, 1/2; the gradient is (them - share of the labels) h', and |h|
    # of the last hidden layer's eight units, twice 0, 1, 2 and 0, is the root of 10.
    _, labels = data()
    shares = [float((labels[:CHUNK] == k).double().mean()) for k in range(4)]
    errors = [p - share for p, share in zip((1 / 6, 1 / 6, 1 / 6, 1 / 2), shares, strict=True)]
    wanted = math.sqrt(10 * sum(error**2 for error in errors))
    assert found["gradient_norm"]["logits"] == pytest.approx(wanted, rel=1e-12)
    assert list(found["gradient_norm"][:4]) == [0] * 4  # nothing passes logits without weights


@pytest.mark.parametrize("name", [name for name in FLAT if name not in ("binary_step", "custom")])
@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc1", "fc2"])
def test_no_gradient_passes_a_dead_layer(configure: Configure, name: str, layer: str) -> None:
    config = config_of(configure, name)
    model = initial(config)
    with torch.no_grad():
        bias(model, layer).fill_(EXTREME if name == "leaky_relu6" else -EXTREME)
    _, probe = probe_of([model], [config])
    (found,) = measured(probe)
    assert found["dead_fraction"][layer] == 1
    below = list(found.index).index(layer)
    assert list(found["gradient_norm"][: below + 1]) == [0] * (below + 1)


def test_deaths_are_counted_in_every_layer_on_both_sides(configure: Configure) -> None:
    config = config_of(configure, "relu6")
    model = initial(config)
    without_weights(model, [1])
    stack, probe = probe_of([model], [config])

    def probed(values: Sequence[float]) -> list[tuple[float, int, int]]:
        for layer, units in stack.units.items():
            first = stack.columns(layer).stop  # the bias lies behind the weight
            stack.parameters[0, first : first + units] = torch.tensor(
                values, dtype=torch.float64
            ).repeat(units // 4)
        found = measured(probe)[0].drop("logits")
        quarters = found["units"] // 4
        return [
            (row["dead_fraction"], row["died"] / quarter, row["revived"] / quarter)
            for (_, row), quarter in zip(found.iterrows(), quarters, strict=True)
        ]

    assert probed([-1, 1, 1, 1]) == [(0.25, 0, 0)] * 4  # born dead
    assert probed([-1, 7, 6, 5]) == [(0.75, 2, 0)] * 4
    assert probed([7, -1, 5, 5]) == [(0.5, 0, 1)] * 4  # from one side to the other is still dead
    assert probed([1, 1, 0, -2]) == [(0.5, 2, 2)] * 4


# --- images as pre-activations --------------------------------------------------------------------


def shown(model: LeNet, pixels: Tensor) -> Tensor:
    """Images (22, 1, 20, 20) of which each unit of conv1 has 16x16 pixels as its pre-activations.

    Args:
        model: Its first convolution is changed so.
        pixels: (22, 1, 16, 16).
    """
    with torch.no_grad():
        model.conv1.weight.zero_()
        model.conv1.weight[:, :, 2, 2] = 1
        bias(model, "conv1").zero_()
    return F.pad(pixels, (2, 2, 2, 2), value=math.pi).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "dead"),
    [("relu6", 1), ("relu", 0), ("leaky_relu6", 0), ("hard_tanh", 1), ("hard_swish", 0)],
)
def test_one_side_at_some_inputs_and_the_other_at_others(
    configure: Configure, name: str, dead: int
) -> None:
    config = config_of(configure, name)
    model = initial(config)
    pixels = torch.full((IMAGES, 1, 16, 16), -1.0, dtype=torch.float64)
    pixels[:, :, ::4] = 7  # a quarter of the rows
    _, probe = probe_of([model], [config], shown(model, pixels))
    row = measured(probe)[0].loc["conv1"]
    assert row["dead_fraction"] == dead
    assert row["preactivation_mean"] == 1
    assert row["preactivation_std"] == pytest.approx(math.sqrt(12), rel=1e-12)
    if name == "relu6":
        assert (row["zero_fraction"], row["saturated_fraction"]) == (0.75, 1)
        assert row["activation_mean"] == 1.5
        assert row["activation_std"] == pytest.approx(math.sqrt(6.75), rel=1e-12)
    # One position of the last image lies between the sides: no unit is dead.
    pixels[-1, 0, 5, 9] = 0.5
    _, probe = probe_of([model], [config], shown(model, pixels))
    row = measured(probe)[0].loc["conv1"]
    assert row["dead_fraction"] == 0
    if name == "relu6":
        inputs = IMAGES * 256
        assert row["saturated_fraction"] == pytest.approx(1 - 1 / inputs, rel=1e-12)
        assert row["zero_fraction"] == pytest.approx(0.75 - 1 / inputs, rel=1e-12)


# Mean and mean square of f(U), U uniform in (-1, 1).
UNIFORM = {
    "identity": (0, 1 / 3),
    "square": (1 / 3, 1 / 5),
    "relu": (1 / 4, 1 / 6),
    "leaky_relu": (0.99 / 4, 1.0001 / 6),
    "prelu": (0.75 / 4, 1.0625 / 6),
    "binary_step": (1 / 2, 1 / 2),
    "hard_tanh": (0, 1 / 3),
    "hard_sigmoid": (1 / 2, 1 / 4 + 1 / 108),
    "elu": (1 / 4 - math.exp(-1) / 2, 1 / 6 + (2 * math.exp(-1) - math.exp(-2) / 2 - 1 / 2) / 2),
    "tanh": (0, 1 - math.tanh(1)),
    "softsign": (0, 3 / 2 - 2 * math.log(2)),
}


@pytest.mark.parametrize("name", UNIFORM)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_moments_of_a_known_distribution(configure: Configure, name: str, precision: str) -> None:
    config = config_of(configure, name, f"precision={precision}")
    model = initial(config)
    count = IMAGES * 256
    uniform = (2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1  # midpoints
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3))
    pixels = uniform[order].view(IMAGES, 1, 16, 16)
    _, probe = probe_of([model], [config], shown(model, pixels))
    row = measured(probe)[0].loc["conv1"]
    mean, square = UNIFORM[name]
    assert row["preactivation_mean"] == pytest.approx(0, abs=1e-6)
    assert row["preactivation_std"] == pytest.approx(math.sqrt(1 / 3), rel=1e-6)
    assert row["activation_mean"] == pytest.approx(mean, abs=1e-6)
    assert row["activation_std"] == pytest.approx(math.sqrt(square - mean**2), rel=1e-5)
    if name in ("relu", "binary_step"):
        assert row["zero_fraction"] == 0.5


@pytest.mark.parametrize("name", ["relu", "relu6", "hard_tanh"])
def test_a_unit_that_has_exploded_is_not_dead(configure: Configure, name: str) -> None:
    config = config_of(configure, name)
    model = initial(config)
    with torch.no_grad():
        model.conv1.weight.fill_(math.nan)
    _, probe = probe_of([model], [config])
    assert (measured(probe)[0]["dead_fraction"].dropna() == 0).all()


def test_a_deviation_far_below_the_mean_keeps_its_digits(configure: Configure) -> None:
    config = config_of(configure, "identity", "precision=float32")
    model = initial(config)
    pixels = torch.full((IMAGES, 1, 16, 16), 100.0)
    pixels[::2] += 0.0078125  # 2^-7, which float32 has beside 100
    _, probe = probe_of([model], [config], shown(model, pixels))
    row = measured(probe)[0].loc["conv1"]
    for kind in ("activation", "preactivation"):
        assert row[f"{kind}_std"] == pytest.approx(0.00390625, rel=1e-3)


def test_a_diverged_neighbour_is_not_noticed(configure: Configure) -> None:
    configs = [config_of(configure, name) for name in ("relu", "relu", "tanh")]
    models = [initial(config) for config in configs]
    with torch.no_grad():
        models[1].conv1.weight.fill_(math.nan)
    _, probe = probe_of(models, configs)
    tables = measured(probe)
    for run in (0, 2):
        assert_same(tables[run], expected(configs[run], models[run]))


# --- in training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_probing_changes_training_by_not_one_bit(
    configure: Configure, tmp_path: Path, batch_norm: str
) -> None:
    common = (
        "dataset.train_size=40", "dataset.validation_size=20", "batch_size=8", "iterations=8",
        "evaluate.every=4", "probe.images=20", f"model.batch_norm={batch_norm}",
    )  # fmt: skip
    # In one stack every kind of optimizer, each with another activation for another batch norm.
    optimizers = deque(
        configure(f"optimizer={name}", *more).optimizer
        for name, *more in (
            ("sgd", "optimizer.nesterov=true"),
            ("adagrad",),
            ("rmsprop", "optimizer.centered=true", "optimizer.momentum=0.5"),
            ("adam",),
            ("adamw",),
        )
    )
    optimizers.rotate(("none", "before", "after").index(batch_norm))
    runs = {}
    for every in (0, 1):
        base = configure(*common, f"probe.every={every}")
        names = ("rrelu", "rrelu", "relu", "prelu", "custom")
        configs = [
            base.model_copy(
                update={
                    "activation": config_of(configure, name).activation,
                    "optimizer": optimizer,
                    "weight_decay": 1e-3,
                    "seed": n // 2,
                }
            )
            for n, (name, optimizer) in enumerate(zip(names, optimizers, strict=True))
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
    assert list(run.layers.columns) == list(LayerRow._fields)
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
