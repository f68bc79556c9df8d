"""How many images each split will have, before any is read.

In: sizes as the configuration gives them. Out: numbers of images, or what is wrong with the sizes.
Nothing here needs torch, so that a mistake is answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from lenet_bench.errors import DatasetError

# Images that training and validation share, and classes, of data sets that are always the same.
KNOWN: Mapping[str, tuple[int, int]] = {
    "digits": (1497, 10),
    "cifar10": (50_000, 10),
    "cifar100": (50_000, 100),
    "mnist": (60_000, 10),
    "fashion_mnist": (60_000, 10),
}


def validation_images(validation_size: float, available: int, classes: int) -> int:
    """The number of images to hold out; a float is a fraction of those available.

    Raises:
        DatasetError: Validation, or what is left for training, has not one image a class.
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
