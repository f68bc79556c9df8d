"""Every data set of the program, from its name to splits of uint8 images.

In: plain values of the configuration's `dataset` keys. Out: a `Dataset`.
May import: `choices`, `common`.

Read in this order: `dataset` (what comes out); `digits`, `from_torchvision`, `image_folder` and
`decoding` (where images come from); `download`, `unpacking`, `cache` and `turns` (why they are
downloaded and decoded only once); `regular_files` (what is opened); `splits` (training and
validation).

Modules that read images are imported only when they are needed. Worker processes receive a finished
`Dataset` and start without scikit-learn and torchvision.
"""

from __future__ import annotations

from pathlib import Path

from lenet_bench.choices.image_files import expand_home
from lenet_bench.common.errors import DatasetError
from lenet_bench.datasets.dataset import Dataset, Source, Split, assemble

__all__ = ["NAMES", "Dataset", "DatasetError", "Split", "load"]

NAMES = ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "image_folder", "fake")


def load(
    *,
    name: str,
    validation_size: float,
    split_seed: int,
    root: str | Path = "data",
    size: int | None = None,
    train_size: int | None = None,
    images: int = 1000,
    classes: int = 10,
    channels: int = 3,
) -> Dataset:
    """Load a data set and hold its validation images out of its training images.

    Args:
        name: One of `NAMES`.
        validation_size: How many images to hold out for validation; a float is a fraction of the
            training images. An image folder with a validation folder of its own takes the default,
            0.1, only.
        split_seed: Decides which images are held out and which are kept.
        root: The download folder, made if missing. For `image_folder`, the folder of images.
            `digits` and `fake` do not use it.
        size: Height and width to resize to, in pixels. None keeps the size of the data set, which
            is 32 for all but `image_folder`.
        train_size: How many training images to keep, None for all. Validation and test images stay.
        images: For `fake`, how many training and validation images; a fifth more are for testing.
        classes: For `fake`, how many classes.
        channels: For `fake`, 1 or 3.

    Raises:
        DatasetError: The data are missing, damaged or too few, or cannot be downloaded.
    """
    from lenet_bench.datasets.splits import hold_out, shuffle, subset

    source = _read(name, expand_home(root), size, validation_size, images, classes, channels)
    if source.validation is None:
        train, validation = hold_out(source.train, source.classes, validation_size, split_seed)
    else:
        train, validation = (
            shuffle(part, split_seed) for part in (source.train, source.validation)
        )
    if train_size is not None:
        train = subset(train, source.classes, train_size, split_seed)
    return assemble(name, source.classes, train, validation, source.test)


def _read(
    name: str,
    root: Path,
    size: int | None,
    validation_size: float,
    images: int,
    classes: int,
    channels: int,
) -> Source:
    if name not in NAMES:
        raise DatasetError(f"dataset={name}: no such data set; allowed are {', '.join(NAMES)}")
    if name == "digits":
        from lenet_bench.datasets.digits import read_digits

        return read_digits(size)
    if name == "image_folder":
        from lenet_bench.datasets.image_folder import read_image_folder

        return read_image_folder(root, size, validation_size)

    from lenet_bench.datasets.from_torchvision import read_cifar, read_fake, read_mnist

    if name == "fake":
        return read_fake(size, images, classes, channels)
    return (read_cifar if name.startswith("cifar") else read_mnist)(name, root, size)
