"""The plain LeNet against shapes, parameter counts and a forward pass written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.layers import hidden_layer_names
from lenet_bench.model.lenet import (
    BatchNorm,
    LeNet,
    Pool,
    activation_module,
    pooled_size,
)


def zoo(name: str, **parameters: float) -> Callable[[int], nn.Module]:
    return lambda units: activation_module(name, units, parameters)


def lenet(
    *,
    activation: Callable[[int], nn.Module] | None = None,
    in_channels: int = 3,
    image_size: int = 32,
    channels: tuple[int, int] = (6, 16),
    hidden: tuple[int, ...] = (120, 84),
    pool: Pool = "max",
    batch_norm: BatchNorm = "none",
) -> LeNet:
    torch.manual_seed(0)
    return LeNet(
        in_channels=in_channels,
        image_size=image_size,
        classes=10,
        channels=channels,
        hidden=hidden,
        activation=activation or zoo("relu"),
        pool=pool,
        batch_norm=batch_norm,
    )


def images(batch: int = 4, channels: int = 3, size: int = 32) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_it_is_lenet_5() -> None:
    model = lenet()
    # 6*(75+1) + 16*(150+1) + 120*(400+1) + 84*(120+1) + 10*(84+1)
    assert count(model) == 456 + 2416 + 48120 + 10164 + 850 == 62006
    x = images()
    x = functional.max_pool2d(
        functional.relu(functional.conv2d(x, model.conv1.weight, model.conv1.bias)), 2
    )
    x = functional.max_pool2d(
        functional.relu(functional.conv2d(x, model.conv2.weight, model.conv2.bias)), 2
    )
    x = x.reshape(4, 400)
    for layer in (model.layer("fc1"), model.layer("fc2")):
        x = functional.relu(functional.linear(x, layer.weight, layer.bias))
    torch.testing.assert_close(model(images()), x @ model.logits.weight.T + model.logits.bias)


def test_the_caffe_variant_has_caffes_number_of_parameters() -> None:
    model = lenet(in_channels=1, image_size=28, channels=(20, 50), hidden=(500,))
    assert count(model) == 431080
    assert model(images(2, 1, 28)).shape == (2, 10)


def test_layers_are_named_in_the_order_of_the_data() -> None:
    model = lenet(hidden=(30, 20, 10))
    assert hidden_layer_names(3) == ("conv1", "conv2", "fc1", "fc2", "fc3")
    assert model.hidden_layers == hidden_layer_names(3)
    assert model.weighted_layers == (*hidden_layer_names(3), "logits")
    assert model.units == {"conv1": 6, "conv2": 16, "fc1": 30, "fc2": 20, "fc3": 10}
    assert [name.split(".")[0] for name in model.state_dict()][::2] == list(model.weighted_layers)
    assert model(images()).shape == (4, 10)


def test_no_hidden_fully_connected_layer_is_fine() -> None:
    model = lenet(hidden=())
    assert model.weighted_layers == ("conv1", "conv2", "logits")
    assert model(images()).shape == (4, 10)


@pytest.mark.parametrize("size", [16, 17, 28, 32, 33, 64])
def test_image_sizes(size: int) -> None:
    model = lenet(image_size=size)
    assert model(images(2, 3, size)).shape == (2, 10)
    assert model.layer("fc1").weight.shape[1] == 16 * pooled_size(size) ** 2


def test_images_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="image_size must be at least 16, got 15"):
        lenet(image_size=15)


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_order_of_norm_activation_and_pool(pool: Pool, batch_norm: BatchNorm) -> None:
    # Leaky, so that norm and activation do not commute.
    model = lenet(
        activation=zoo("leaky_relu", negative_slope=0.3), pool=pool, batch_norm=batch_norm
    )
    pooling = functional.max_pool2d if pool == "max" else functional.avg_pool2d

    def normed(h: Tensor) -> Tensor:
        axes = [axis for axis in range(h.ndim) if axis != 1]
        mean, variance = h.mean(axes, keepdim=True), h.var(axes, correction=0, keepdim=True)
        return (h - mean) / (variance + 1e-5).sqrt()

    def act(z: Tensor) -> Tensor:
        z = normed(z) if batch_norm == "before" else z
        expected[len(expected)] = (z, h := functional.leaky_relu(z, 0.3))
        return normed(h) if batch_norm == "after" else h

    expected: dict[int, tuple[Tensor, Tensor]] = {}
    x = images(32)
    h = pooling(act(model.conv1(x)), 2)
    h = pooling(act(model.conv2(h)), 2).flatten(1)
    h = act(model.layer("fc1")(h))
    h = act(model.layer("fc2")(h))
    logits, seen = model.forward_with_intermediates(x)
    torch.testing.assert_close(logits, model.logits(h))
    assert tuple(seen) == model.hidden_layers
    for ours, theirs in zip(seen.values(), expected.values(), strict=True):
        torch.testing.assert_close(ours.preactivation, theirs[0])
        torch.testing.assert_close(ours.activation, theirs[1])


def test_norms_stand_where_they_are_asked_for() -> None:
    assert len(lenet().norms) == 0
    norms = lenet(batch_norm="after").norms
    assert {name: type(norm) for name, norm in norms.items()} == {
        "conv1": nn.BatchNorm2d,
        "conv2": nn.BatchNorm2d,
        "fc1": nn.BatchNorm1d,
        "fc2": nn.BatchNorm1d,
    }


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_trains_and_survives_a_file(name: str, tmp_path: Path) -> None:
    entry = ACTIVATIONS[name]
    model = lenet(activation=zoo(name), batch_norm="before")
    model(images()).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    copy = lenet(activation=zoo(name), batch_norm="before")
    copy.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    model.eval()
    copy.eval()
    assert torch.equal(model(images()), copy(images()))
    # What the layers compute is the zoo's function, torch's module or not.
    for seen in copy.forward_with_intermediates(images())[1].values():
        expected = entry.function(seen.preactivation, **entry.arguments())
        torch.testing.assert_close(seen.activation, expected)


def test_activation_modules_take_parameters() -> None:
    x = torch.tensor([[-2.0, -1.0, 8.0]])
    assert activation_module("leaky_relu", 3, {"negative_slope": 0.5})(x).tolist() == [
        [-1, -0.5, 8]
    ]
    assert activation_module("leaky_relu6", 3, {"negative_slope": 0.5})(x).tolist() == [
        [-1, -0.5, 6]
    ]
    rrelu = activation_module("rrelu", 3, {"lower": 0.25, "upper": 0.75}).eval()
    assert rrelu(x).tolist() == [[-1, -0.5, 8]]
    with pytest.raises(KeyError, match="relu has no parameter slope"):
        activation_module("relu", 3, {"slope": 0.5})
    assert "leaky_relu6, negative_slope=0.5" in repr(
        activation_module("leaky_relu6", 3, {"negative_slope": 0.5})
    )


@pytest.mark.parametrize(("per_unit", "slopes"), [(True, 6 + 16 + 120 + 84), (False, 4)])
def test_prelu_learns_a_slope_per_unit_or_per_layer(per_unit: bool, slopes: int) -> None:
    model = lenet(activation=zoo("prelu", init=0.1, per_unit=per_unit))
    assert count(model) == 62006 + slopes
    for slopes_of_layer in model.activations.parameters():
        assert torch.equal(slopes_of_layer, torch.full_like(slopes_of_layer, 0.1))


def test_layers_share_no_activation_module() -> None:
    modules = list(lenet(activation=zoo("prelu", per_unit=False)).activations.values())
    assert len(set(map(id, modules))) == 4
