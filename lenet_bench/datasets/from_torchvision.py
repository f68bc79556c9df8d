"""The data sets that torchvision knows: CIFAR, MNIST, Fashion-MNIST and fake images.

In: a download folder and sizes. Out: a `Source` of uint8 images. Torchvision's classes say where
the archives are, what their MD5 sums are, and how they are parsed.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FakeData, FashionMNIST
from torchvision.transforms.v2.functional import resize

from lenet_bench.common.errors import DatasetError
from lenet_bench.datasets.dataset import SIDE, Source, Split
from lenet_bench.datasets.download import Archive, obtain

_log = logging.getLogger(__name__)

# What torchvision's classes raise for files that are missing, truncated or damaged.
_UNREADABLE = (RuntimeError, ValueError, TypeError, AssertionError, OSError)


def read_cifar(name: str, root: Path, size: int | None) -> Source:
    """Read `cifar10` or `cifar100` from `root`, downloading it if it is not there.

    Raises:
        DatasetError: it is not there and cannot be fetched.
    """
    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    archive = Archive(kind.filename, (kind.url,), kind.tgz_md5)
    train, test = _present_or_obtained(name, kind, root, [archive], root, root / kind.base_folder)
    splits = [
        Split(
            _sized(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), size),
            torch.tensor(part.targets),
        )
        for part in (train, test)
    ]
    return Source(tuple(train.classes), *splits)


def read_mnist(name: str, root: Path, size: int | None) -> Source:
    """Read `mnist` or `fashion_mnist` from `root`, downloading it if it is not there.

    The 28x28 images get a border of two zeros on every side, as in LeCun et al. 1998.

    Raises:
        DatasetError: it is not there and cannot be fetched, or images and labels differ in number.
    """
    kind = {"mnist": MNIST, "fashion_mnist": FashionMNIST}[name]
    archives = [
        Archive(filename, tuple(mirror + filename for mirror in kind.mirrors), md5)
        for filename, md5 in kind.resources
    ]
    folder = root / kind.__name__ / "raw"
    first = folder / Path(archives[0].filename).stem
    train, test = _present_or_obtained(name, kind, root, archives, folder, first)
    for part in (train, test):
        if len(part.data) != len(part.targets):
            raise DatasetError(
                f"dataset {name}: {folder} holds {len(part.data):,} images with "
                f"{len(part.targets):,} labels: delete this folder to have it fetched again"
            )
    splits = [
        Split(_sized(functional.pad(part.data[:, None], (2, 2, 2, 2)), size), part.targets.long())
        for part in (train, test)
    ]
    return Source(tuple(kind.classes), *splits)


def read_fake(size: int | None, images: int, classes: int, channels: int) -> Source:
    """Make noise images, torchvision's `FakeData`, and a fifth as many more for testing.

    The labels take turns, where torchvision draws them: so no class is ever left out.
    """
    side = size or SIDE

    def make(count: int, offset: int) -> Split:
        noise = FakeData(count, (channels, side, side), classes, random_offset=offset)
        pixels = np.stack([np.asarray(noise[index][0]) for index in range(count)])
        stacked = torch.from_numpy(pixels.reshape(count, side, side, channels))
        return Split(stacked.permute(0, 3, 1, 2).contiguous(), torch.arange(count) % classes)

    names = tuple(f"class {index}" for index in range(classes))
    return Source(names, make(images, 0), make(max(images // 5, classes), images))


def _present_or_obtained(
    name: str, kind: Any, root: Path, archives: list[Archive], folder: Path, content: Path
) -> tuple[Any, Any]:
    try:
        return kind(root, train=True), kind(root, train=False)
    except _UNREADABLE:
        if content.exists():
            _log.warning("%s is incomplete or damaged: restoring it from its archive", content)
    obtain(name, archives, folder)
    try:
        return kind(root, train=True), kind(root, train=False)
    except _UNREADABLE as error:
        raise DatasetError(
            f"dataset {name}: what was unpacked in {folder} cannot be read ({error}): delete it "
            "and try again, or name another folder with dataset.root"
        ) from error


def _sized(images: Tensor, size: int | None) -> Tensor:
    if size is None or images.shape[-2:] == (size, size):
        return images
    resized: Tensor = resize(images, [size, size], antialias=True)
    return resized
