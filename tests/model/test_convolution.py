"""Convolution, pooling and their gradients in one pass, against torch's, one after another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_bench.model import convolution
from lenet_bench.model.convolution import Part, convolve_and_pool


def drawn(*shape: int) -> Tensor:
    """Normal values, channels_last, that learn."""
    generator = torch.Generator().manual_seed(len(shape) + shape[0])
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("size", [12, 13])  # rows in pairs, and one that is left over
@pytest.mark.parametrize("channels", [1, 3, convolution.NARROW])  # of a group: narrow and wide
@pytest.mark.parametrize("most", [1 << 9, 1 << 20])  # a few images at a time, and all at once
def test_values_and_gradients_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, size: int, channels: int, most: int
) -> None:
    monkeypatch.setattr(convolution, "CACHED_ELEMENTS", most)
    groups, images, out = 3, 5, 4
    inputs = [drawn(images, count * channels, size, size) for count in (1, 2)]
    weight = drawn(groups * out, channels, 5, 5)
    bias = torch.linspace(-1, 1, groups * out, dtype=torch.float64, requires_grad=True)
    parts = [Part(2 * out), Part(out, F.silu)]
    pooled = convolve_and_pool(inputs, weight, bias, groups, parts)
    found = torch.cat([F.relu(pooled[0]), F.silu(pooled[1])], 1)

    z = F.conv2d(torch.cat(inputs, 1), weight, bias, groups=groups)
    activated = torch.cat([F.relu(z[:, : 2 * out]), F.silu(z[:, 2 * out :])], 1)
    wanted = F.max_pool2d(activated, 2)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)

    weighing = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).double()
    leaves = [*inputs, weight, bias]
    for by_found, by_wanted in zip(
        torch.autograd.grad((found * weighing).sum(), leaves),
        torch.autograd.grad((wanted * weighing).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(by_found, by_wanted, rtol=1e-11, atol=1e-11)
