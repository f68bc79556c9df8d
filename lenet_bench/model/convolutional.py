"""The two convolutional layers of N LeNets, with max pooling in the same pass and without.

In: batches of images, each for some of the runs; kernels of all runs. Out: feature maps of all
runs side by side as channels, or for each group of activations by itself.

Letters in shapes: N runs in the stack, n runs of a group, B images in a batch, C channels of a
layer in one run, H and W height and width. All feature maps are in channels_last memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_bench.model.activate import StackedActivations
from lenet_bench.model.convolution import convolve_and_pool


class Batch(NamedTuple):
    """The images that one or several runs receive."""

    images: Tensor  # (B, C, H, W), standardised, channels_last
    runs: Sequence[int]  # the runs of the stack that share them, ascending


class Kernels(NamedTuple):
    """The weights and biases of one convolutional layer of all runs."""

    weight: Tensor  # (N*C, C_in, 5, 5), channels_last
    bias: Tensor  # (N*C,)


def first_convolution(batches: Sequence[Batch], kernels: Kernels, runs: int) -> Tensor:
    """Convolve each batch for the runs that it serves.

    Runs that share a batch are one dense convolution with the channels of all of them.

    Args:
        batches: The images; together they serve each run once.
        kernels: Of the first layer.
        runs: N.

    Returns:
        (B, N*C, H, W).
    """
    units = len(kernels.weight) // runs
    maps: dict[int, Tensor] = {}
    for batch, some in _kernels_of_each_batch(batches, kernels, units):
        z = F.conv2d(batch.images, some.weight, some.bias)
        if len(batches) == 1:
            return z
        maps |= _by_run(z, batch.runs, units)
    return _side_by_side(maps, range(runs))


def first_convolution_pooled(
    batches: Sequence[Batch], kernels: Kernels, activations: StackedActivations
) -> list[Tensor]:
    """Convolve each batch for the runs that it serves, and max-pool before the activation.

    Returns:
        For each group (B, n*C, H, W).
    """
    groups = activations.groups
    units = len(kernels.weight) // groups[-1].stop
    maps: dict[int, Tensor] = {}
    for batch, some in _kernels_of_each_batch(batches, kernels, units):
        parts = activations.parts("conv1", batch.runs)
        pooled = convolve_and_pool([batch.images], some.weight, some.bias, 1, parts)
        if len(batches) == 1:
            return list(pooled)
        for group, part in zip(groups, pooled, strict=True):
            maps |= _by_run(part, [run for run in batch.runs if run in group.runs], units)
    return [_side_by_side(maps, group.runs) for group in groups]


def second_convolution_pooled(
    maps: Sequence[Tensor],
    kernels: Kernels,
    activations: StackedActivations,
    together: Sequence[slice],
) -> list[Tensor]:
    """Convolve the maps of each run by its own kernels, and max-pool before the activation.

    Args:
        maps: For each group (B, n*C, H, W), what the first layer put out.
        kernels: Of the second layer.
        activations: Of all runs.
        together: The indices of the groups that are convolved together.

    Returns:
        For each group (B, n*C, H, W).
    """
    groups = activations.groups
    units = len(kernels.weight) // groups[-1].stop
    parts = activations.parts("conv2", range(groups[-1].stop))
    pooled: list[Tensor] = []
    for members in together:
        start, stop = groups[members.start].start, groups[members.stop - 1].stop
        rows = slice(start * units, stop * units)
        pooled += convolve_and_pool(
            maps[members], kernels.weight[rows], kernels.bias[rows], stop - start, parts[members]
        )
    return pooled


def _kernels_of_each_batch(
    batches: Sequence[Batch], kernels: Kernels, units: int
) -> Iterator[tuple[Batch, Kernels]]:
    """Each batch with the kernels of the runs that it serves."""
    if len(batches) == 1:
        yield batches[0], kernels
        return
    weights, biases = kernels.weight.split(units), kernels.bias.split(units)
    for batch in batches:
        weight = torch.cat([weights[run] for run in batch.runs])
        yield batch, Kernels(weight, torch.cat([biases[run] for run in batch.runs]))


def _by_run(maps: Tensor, runs: Sequence[int], units: int) -> dict[int, Tensor]:
    return dict(zip(runs, maps.split(units, dim=1), strict=True)) if runs else {}


def _side_by_side(maps: Mapping[int, Tensor], runs: range) -> Tensor:
    return torch.cat([maps[run] for run in runs], dim=1)
