"""Batches of a split on a device, standardised as the network receives them.

In: a split of uint8 images, and the data set whose mean and deviation standardise it. Out: batches
of floating-point images and their labels. The images stay uint8 on the device until then.

Letters in shapes: n images in the split, B in a batch, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lenet_bench.datasets.dataset import Dataset, Split


class DeviceSplit:
    """A split on a device.

    Args:
        split: Its images and labels.
        dataset: Whose mean and deviation standardise them.
        device: Where they are copied to.
        dtype: Of the standardised images.

    Attributes:
        labels: (n,), on the device.
        dtype: As given.
    """

    def __init__(
        self, split: Split, dataset: Dataset, device: torch.device, dtype: torch.dtype
    ) -> None:
        # (n, H, W, C): a gathered batch, seen as (B, C, H, W), is channels_last without a copy,
        # grey images included, whose layout torch would otherwise take for channels first.
        self._pixels = split.images.permute(0, 2, 3, 1).to(device)
        self.labels = split.labels.to(device)
        self.dtype = dtype
        self._scale = (1 / (255 * dataset.std)).to(device, dtype)
        self._shift = (-dataset.mean / dataset.std).to(device, dtype)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Return standardised images (B, C, H, W)."""
        chosen = (
            self._pixels[indices]
            if isinstance(indices, slice)
            else self._pixels.index_select(0, indices)
        )
        pixels = chosen.to(self.dtype)
        return (pixels * self._scale + self._shift).permute(0, 3, 1, 2)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all images (B, C, H, W) and labels (B,) in order, about `size` at a time."""
        for start in range(0, len(self), size):
            chunk = slice(start, start + size)
            yield self.batch(chunk), self.labels[chunk]


def first_images(split: Split, count: int | None) -> Split:
    """Return the first images of a split, None for all.

    The splits of a data set are shuffled, so these are a random sample.
    """
    return split if count is None else Split(split.images[:count], split.labels[:count])
