"""Probes against an oracle, and against networks whose dead and dormant units are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lenet_bench.choices.activations import ACTIVATIONS
from tests.conftest import Configure
from tests.training.probing import (
    EXTREME,
    NEVER_DEAD,
    SMALL,
    assert_same,
    bias,
    config_of,
    data,
    expected,
    initial,
    measured,
    probe_of,
    push_to_extremes,
)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(
    "model",
    [(), ("model.batch_norm=before",), ("model.batch_norm=after",), ("model.pool=avg",)],
    ids=["plain", "before", "after", "avg"],
)
def test_every_column_for_every_activation(
    configure: Configure, model: tuple[str, ...], extreme: bool
) -> None:
    # Powers of powers of a thousand leave nothing to compare.
    names = [
        *(n for n, each in ACTIVATIONS.items() if not (extreme and each.family == "polynomial")),
        "custom",
    ]
    configs = [config_of(configure, name, *model) for name in names]
    models = [initial(config) for config in configs]
    if extreme:
        for one in models:
            push_to_extremes(one)
    _, probe = probe_of(models, configs)
    for config, one, actual in zip(configs, models, measured(probe), strict=True):
        assert_same(actual, expected(config, one))


@pytest.mark.parametrize(
    ("name", "dead"),
    [
        *((name, 0.0) for name in NEVER_DEAD),
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
    (actual,) = measured(probe)
    assert actual["dormant_fraction"]["fc1"] == 1 / 12
    assert actual["dormant_fraction"]["fc2"] == 0
    assert actual["dead_fraction"]["fc1"] == 0


def test_a_silent_layer_is_all_dormant(configure: Configure) -> None:
    config = config_of(configure, "relu")
    model = initial(config)
    with torch.no_grad():
        bias(model, "fc1").fill_(-EXTREME)
    _, probe = probe_of([model], [config])
    (actual,) = measured(probe)
    row = actual.loc["fc1"]
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
    (actual,) = measured(probe)
    assert actual["dead_fraction"]["conv1"] == 0.25
    assert_same(
        actual.drop(columns="dead_fraction"),
        expected(config, model).drop(columns="dead_fraction"),
    )


@pytest.mark.parametrize("name", ["square", "custom"])
def test_saturation_is_blank_where_it_means_nothing(configure: Configure, name: str) -> None:
    config = config_of(configure, name)
    _, probe = probe_of([initial(config)], [config])
    assert measured(probe)[0]["saturated_fraction"].isna().all()
