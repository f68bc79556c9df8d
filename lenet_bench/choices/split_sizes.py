"""How many images each split will have, before any is read.

In: sizes as the configuration gives them. Out: numbers of images, or what is wrong with the sizes.
Nothing here needs torch, so that a mistake is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lenet_bench.common.errors import DatasetError


class Facts(NamedTuple):
    """The sizes of a data set that never change.

    Attributes:
        train: Images that training and validation share.
        test: Images of the test split.
        classes: Their number.
        channels: Of an image.
    """

    train: int
    test: int
    classes: int
    channels: int


KNOWN: Mapping[str, Facts] = {
    "digits": Facts(1497, 300, 10, 1),
    "cifar10": Facts(50_000, 10_000, 10, 3),
    "cifar100": Facts(50_000, 10_000, 100, 3),
    "mnist": Facts(60_000, 10_000, 10, 1),
    "fashion_mnist": Facts(60_000, 10_000, 10, 1),
}


def validation_images(validation_size: float, available: int, classes: int) -> int:
    """Return the number of images to hold out; a float is a fraction of those available.

    Raises:
        DatasetError: Fewer than one image a class for validation, or left for training.
    """
    fraction = isinstance(validation_size, float)
    count = round(validation_size * available) if fraction else int(validation_size)
    if not classes <= count <= available - classes:
        as_images = f" ({count:,} images)" if fraction else ""
        raise DatasetError(
            f"dataset.validation_size={validation_size}{as_images}: does not fit the "
            f"{available:,} training images: with {classes} classes, "
            f"{_allowed(classes, available - classes)}, so that validation and what is left for "
            "training have an image of each class"
        )
    return count


def check_train_size(train_size: int, available: int, classes: int) -> None:
    """Check how many training images to keep.

    Raises:
        DatasetError: More are asked for than there are, or fewer than one a class.
    """
    if not classes <= train_size <= available:
        raise DatasetError(
            f"dataset.train_size={train_size}: does not fit the {available:,} training images left "
            f"by dataset.validation_size: with {classes} classes, {_allowed(classes, available)}, "
            "or null for all"
        )


def _allowed(least: int, most: int) -> str:
    return f"{least:,} to {most:,} are allowed" if least <= most else "no size is possible"
