"""What a network has to know about a data set.

In: a `Dataset`. Out: its `ImageShape`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lenet_bench.datasets.dataset import Dataset


@dataclass(frozen=True)
class ImageShape:
    """The shape of the images and the number of classes.

    Attributes:
        channels: 1 for grey images, 3 for colour.
        size: Height and width.
        classes: Number of classes.
    """

    channels: int
    size: int
    classes: int


def image_shape(dataset: Dataset) -> ImageShape:
    """Return the shape of a data set's images and its number of classes."""
    _, channels, size, _ = dataset.train.images.shape
    return ImageShape(channels, size, len(dataset.classes))
