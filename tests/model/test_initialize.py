"""Each scheme on its defining property, with big layers where the property is statistical."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES, gain_factor
from lenet_bench.model.initialize import initialize
from lenet_bench.model.lenet import BatchNorm, LeNet, activation_module

GIVEN_GAIN = 1.7
NO_NORM_OR_NORM: tuple[BatchNorm, ...] = ("none", "before")


def lenet(
    activation: str = "tanh",
    *,
    batch_norm: BatchNorm = "none",
    channels: tuple[int, int] = (6, 16),
    hidden: tuple[int, ...] = (120, 84),
    in_channels: int = 3,
) -> LeNet:
    return LeNet(
        in_channels=in_channels,
        image_size=32,
        classes=10,
        channels=channels,
        hidden=hidden,
        activation=lambda units: activation_module(activation, units, {}),
        batch_norm=batch_norm,
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(batch: int = 256) -> Tensor:
    """Smooth, correlated images, as photographs are."""
    coarse = torch.randn(batch, 3, 8, 8, generator=seeded(1))
    smooth = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return (smooth - smooth.mean()) / smooth.std()


def fans(weight: Tensor) -> tuple[int, int]:
    field = weight[0, 0].numel() if weight.ndim == 4 else 1
    return weight.shape[1] * field, weight.shape[0] * field


# Layers of 20,000 to 300,000 weights, whose fan-in and fan-out differ.
BIG = {"channels": (60, 100), "hidden": (120, 400), "in_channels": 16}

# At gain 1: the variance by fan-in and fan-out, and whether the draw is uniform.
VARIANCES: dict[str, tuple[Callable[[int, int], float], bool]] = {
    "torch_default": (lambda fan_in, fan_out: 1 / (3 * fan_in), True),
    "xavier_uniform": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), True),
    "xavier_normal": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), False),
    "kaiming_uniform": (lambda fan_in, fan_out: 2 / fan_in, True),
    "kaiming_normal": (lambda fan_in, fan_out: 2 / fan_in, False),
    "lecun_normal": (lambda fan_in, fan_out: 1 / fan_in, False),
    "normal": (lambda fan_in, fan_out: 0.05**2, False),
    "uniform": (lambda fan_in, fan_out: 0.05**2 / 3, True),
}


def test_the_schemes_are_the_designs_and_need_no_torch() -> None:
    code = (
        "import sys; from lenet_bench.choices.initialization import SCHEMES, gain_factor;"
        "gain_factor('kaiming_normal', 'auto', 1.0); print(*SCHEMES, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *("torch_default", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
        *("lecun_normal", "orthogonal", "normal", "uniform", "zeros", "lsuv", "False"),
    ]


@pytest.mark.parametrize("gain", [1.0, GIVEN_GAIN])
@pytest.mark.parametrize("scheme", VARIANCES)
def test_distribution(scheme: str, gain: float) -> None:
    model = lenet(**BIG)  # type: ignore[arg-type]
    initialize(model, scheme=scheme, generator=seeded(), gain=gain)
    variance_of, uniform = VARIANCES[scheme]
    for name in model.weighted_layers:
        weight = model.layer(name).weight.detach().double()
        deviation = gain * math.sqrt(variance_of(*fans(weight)))
        sample = (weight / deviation).flatten().numpy()
        edge = math.sqrt(3)
        expected = ("uniform", (-edge, 2 * edge)) if uniform else ("norm", ())
        # The seed is fixed, so this is no lottery: wrong variances by 3 % would fail.
        assert stats.kstest(sample, *expected).pvalue > 1e-3
        if sample.size > 10_000:
            assert sample.var() == pytest.approx(1, abs=0.03)
        if uniform:
            assert abs(sample).max() <= edge * (1 + 1e-6)


def test_torch_default_is_what_torchs_layers_draw_by_themselves() -> None:
    ours, theirs = lenet(**BIG), lenet(**BIG)  # type: ignore[arg-type]
    torch.manual_seed(3)
    for name in theirs.weighted_layers:
        theirs.layer(name).reset_parameters()
    initialize(ours, scheme="torch_default", generator=seeded(3))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("gain", [1.0, GIVEN_GAIN])
def test_orthogonal(gain: float) -> None:
    model = lenet()
    initialize(model, scheme="orthogonal", generator=seeded(), gain=gain)
    for name in model.weighted_layers:
        rows = model.layer(name).weight.detach().flatten(1).double()
        if rows.shape[0] > rows.shape[1]:
            rows = rows.T
        identity = torch.eye(len(rows), dtype=torch.float64)
        torch.testing.assert_close(rows @ rows.T, gain**2 * identity, rtol=0, atol=1e-5)


def test_zeros() -> None:
    model = lenet()
    initialize(model, scheme="zeros", generator=seeded(), gain=2.0)
    assert not any(parameter.any() for parameter in model.parameters())


def test_parameters_of_a_scheme() -> None:
    model = lenet(**BIG)  # type: ignore[arg-type]
    initialize(model, scheme="normal", generator=seeded(), parameters={"std": 0.2})
    assert model.conv2.weight.std().item() == pytest.approx(0.2, rel=0.02)
    initialize(model, scheme="uniform", generator=seeded(), parameters={"bound": 0.2})
    assert model.conv2.weight.abs().max().item() == pytest.approx(0.2, rel=0.001)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_biases(scheme: str) -> None:
    model = lenet()
    for bias, expected in ((None, 0.0), (0.0, 0.0), (-0.3, -0.3)):
        initialize(model, scheme=scheme, generator=seeded(), bias=bias, images=images(16))
        for name in model.weighted_layers:
            values = model.layer(name).bias
            assert values is not None
            if scheme == "torch_default" and bias is None:
                bound = 1 / math.sqrt(fans(model.layer(name).weight)[0])
                assert 0 < values.abs().max() <= bound
                assert len(set(values.tolist())) == values.numel()
            else:
                assert torch.equal(values, torch.full_like(values, expected))


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "lsuv"])
def test_one_draw_serves_all_activations(scheme: str) -> None:
    def draw(model: LeNet, seed: int) -> list[Tensor]:
        initialize(model, scheme=scheme, generator=seeded(seed))
        return [
            p.detach().clone() for n in model.weighted_layers for p in model.layer(n).parameters()
        ]

    reference = draw(lenet("tanh"), 7)
    for name in ACTIVATIONS:
        for batch_norm in NO_NORM_OR_NORM:
            other = draw(lenet(name, batch_norm=batch_norm), 7)
            assert all(map(torch.equal, reference, other))
    if scheme != "zeros":
        assert not torch.equal(reference[0], draw(lenet("tanh"), 8)[0])


def test_learned_slopes_and_norms_are_left_alone() -> None:
    model = lenet("prelu", batch_norm="after")
    initialize(model, scheme="lsuv", generator=seeded(), bias=0.5, images=images())
    untouched = lenet("prelu", batch_norm="after")
    for part in ("activations", "norms"):
        ours, theirs = getattr(model, part).state_dict(), getattr(untouched, part).state_dict()
        assert len(ours) >= len(model.hidden_layers)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_automatic_gain() -> None:
    relu, tanh = ACTIVATIONS["relu"].gain(), ACTIVATIONS["tanh"].gain()
    assert gain_factor("kaiming_normal", "auto", relu) == 1  # He's own case
    assert gain_factor("kaiming_uniform", "auto", tanh) == pytest.approx(5 / 3 / math.sqrt(2))
    assert gain_factor("xavier_uniform", "auto", tanh) == 5 / 3
    assert gain_factor("kaiming_normal", 0.5, relu) == 0.5
    assert gain_factor("orthogonal", 1, tanh) == 1


def test_automatic_gain_is_torchs() -> None:
    model = lenet()
    factor = gain_factor("kaiming_normal", "auto", ACTIVATIONS["tanh"].gain())
    initialize(model, scheme="kaiming_normal", generator=seeded(), gain=factor)
    expected = torch.empty_like(model.conv1.weight)
    nn.init.kaiming_normal_(expected, nonlinearity="tanh", generator=seeded())
    torch.testing.assert_close(model.conv1.weight.detach(), expected)


# --- LSUV ---------------------------------------------------------------------------------------


def output_variances(model: LeNet, x: Tensor) -> list[float]:
    """What every weighted layer puts out, by hooks."""
    seen: list[float] = []
    handles = [
        model.layer(name).register_forward_hook(lambda *call: seen.append(call[2].var().item()))
        for name in model.weighted_layers
    ]
    with torch.no_grad():
        model.eval()(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_lsuv_gives_every_layer_unit_variance(name: str, batch_norm: BatchNorm) -> None:
    model = lenet(name, batch_norm=batch_norm)
    initialize(model, scheme="lsuv", generator=seeded(), images=images(64))
    assert model.training
    assert output_variances(model, images(64)) == pytest.approx([1] * 5, abs=0.011)


def test_lsuv_keeps_the_directions_of_an_orthogonal_draw() -> None:
    orthogonal, lsuv = lenet(), lenet()
    initialize(orthogonal, scheme="orthogonal", generator=seeded())
    initialize(lsuv, scheme="lsuv", generator=seeded(), images=images())
    for name in lsuv.weighted_layers:
        ratio = lsuv.layer(name).weight / orthogonal.layer(name).weight
        torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-4, atol=0)


def test_lsuv_with_gain_and_bias() -> None:
    model = lenet("relu")
    initialize(model, scheme="lsuv", generator=seeded(), gain=1.5, bias=0.2, images=images())
    assert output_variances(model, images()) == pytest.approx([1.5**2] * 5, rel=0.011)


@pytest.mark.parametrize("bias", [0.0, -100.0])
def test_lsuv_leaves_what_has_no_variance(bias: float, caplog: pytest.LogCaptureFixture) -> None:
    model = lenet("relu")
    blank = torch.zeros(8, 3, 32, 32) if bias == 0 else images(8)
    with caplog.at_level(logging.WARNING):
        initialize(model, scheme="lsuv", generator=seeded(), bias=bias, images=blank)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert "fc1 has no output variance to scale" in caplog.text
    rows = model.layer("fc1").weight.detach()
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-5)


def test_lsuv_needs_images() -> None:
    with pytest.raises(ValueError, match="lsuv adapts the weights to images and got none"):
        initialize(lenet(), scheme="lsuv", generator=seeded())
