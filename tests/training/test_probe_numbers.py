"""Probes of networks so simple that every number they must find is known by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_bench.model.lenet import LeNet
from tests.conftest import Configure
from tests.training.probing import (
    CHUNK,
    EXTREME,
    FLAT,
    IMAGES,
    NEVER_DEAD,
    assert_same,
    bias,
    config_of,
    data,
    expected,
    initial,
    measured,
    probe_of,
)

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
    actual = measured(probe)[0].drop("logits")
    for column, letter in LETTERS.items():
        share = sum(letter in of_unit for of_unit in letters) / len(letters)
        if column == "saturated_fraction" and name in ("square", "custom"):
            assert actual[column].isna().all()
        else:
            assert list(actual[column]) == [share] * 4, column
    mean = sum(values) / 4
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 4)
    assert list(actual["preactivation_mean"]) == pytest.approx([mean] * 4, rel=1e-12, abs=1e-12)
    assert list(actual["preactivation_std"]) == pytest.approx([deviation] * 4, rel=1e-9)
    assert list(actual["weight_norm"]) == [0] * 4


@pytest.mark.parametrize("name", [*NEVER_DEAD, "square"])
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
    (actual,) = measured(probe)
    assert actual["weight_norm"]["conv1"] == 5
    # Probabilities 1/6, 1/6, 1/6, 1/2; the gradient is (them - share of the labels) h', and |h|
    # of the last hidden layer's eight units, twice 0, 1, 2 and 0, is the root of 10.
    _, labels = data()
    shares = [float((labels[:CHUNK] == k).double().mean()) for k in range(4)]
    errors = [p - share for p, share in zip((1 / 6, 1 / 6, 1 / 6, 1 / 2), shares, strict=True)]
    expected_norm = math.sqrt(10 * sum(error**2 for error in errors))
    assert actual["gradient_norm"]["logits"] == pytest.approx(expected_norm, rel=1e-12)
    assert list(actual["gradient_norm"][:4]) == [0] * 4  # nothing passes logits without weights


@pytest.mark.parametrize("name", [name for name in FLAT if name not in ("binary_step", "custom")])
@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc1", "fc2"])
def test_no_gradient_passes_a_dead_layer(configure: Configure, name: str, layer: str) -> None:
    config = config_of(configure, name)
    model = initial(config)
    with torch.no_grad():
        bias(model, layer).fill_(EXTREME if name == "leaky_relu6" else -EXTREME)
    _, probe = probe_of([model], [config])
    (actual,) = measured(probe)
    assert actual["dead_fraction"][layer] == 1
    below = list(actual.index).index(layer)
    assert list(actual["gradient_norm"][: below + 1]) == [0] * (below + 1)


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
        actual = measured(probe)[0].drop("logits")
        quarters = actual["units"] // 4
        return [
            (row["dead_fraction"], row["died"] / quarter, row["revived"] / quarter)
            for (_, row), quarter in zip(actual.iterrows(), quarters, strict=True)
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
