"""Holds validation images out of the training images, and takes a part of the images left.

In: a `Split` and sizes from the configuration. Out: smaller splits. They are stratified (each class
keeps its share) and depend only on the split seed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils import resample

from lenet_bench.choices.split_sizes import check_train_size, validation_images
from lenet_bench.common.errors import DatasetError
from lenet_bench.datasets.dataset import Split


def hold_out(
    split: Split, classes: tuple[str, ...], validation_size: float, seed: int
) -> tuple[Split, Split]:
    """Divide the training images into training and validation, each in random order.

    Args:
        split: The images to divide.
        classes: The names of the classes.
        validation_size: How many images to hold out; a float is a fraction of all.
        seed: Decides which images are held out.

    Returns:
        The training split and the validation split.

    Raises:
        DatasetError: Too few or too many validation images, or a class too small to divide.
    """
    available = len(split)
    count = validation_images(validation_size, available, len(classes))
    _require_images(split, classes, 2, "to divide between training and validation")
    train, validation = train_test_split(
        np.arange(available), test_size=count, stratify=split.labels.numpy(), random_state=seed
    )
    rest = _take(split, train)
    _require_images(
        rest, classes, 1, f"left for training by dataset.validation_size={validation_size}"
    )
    return rest, _take(split, validation)


def shuffle(split: Split, seed: int) -> Split:
    """Put the images of a split that is given as a whole in random order."""
    return _take(split, np.random.default_rng(seed).permutation(len(split)))


def subset(train: Split, classes: tuple[str, ...], train_size: int, seed: int) -> Split:
    """Keep `train_size` of the training images, in random order.

    Raises:
        DatasetError: More images than there are, or fewer than one for each class.
    """
    check_train_size(train_size, len(train), len(classes))
    kept = resample(
        np.arange(len(train)),
        replace=False,
        n_samples=train_size,
        random_state=seed,
        stratify=train.labels.numpy(),
    )
    part = _take(train, kept)
    _require_images(part, classes, 1, f"among the {train_size:,} of dataset.train_size")
    return part


def _take(split: Split, indices: NDArray[np.int64]) -> Split:
    return split.take(torch.from_numpy(indices))


def _require_images(split: Split, classes: tuple[str, ...], minimum: int, purpose: str) -> None:
    counts = torch.bincount(split.labels, minlength=len(classes)).tolist()
    for name, count in zip(classes, counts, strict=True):
        if count < minimum:
            raise DatasetError(
                f"class {name!r} has {count} image{'s' * (count != 1)} {purpose}, at least "
                f"{minimum} needed: add images of this class, or change the sizes"
            )
