"""The data sets that torchvision provides: CIFAR, MNIST, Fashion-MNIST and fake images.

In: a download folder and sizes. Out: a `Source` of uint8 images. Torchvision's classes know where
the archives are, which MD5 sums they have and how to parse them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.transforms.v2.functional import resize, to_pil_image

from lenet_bench.common.errors import DatasetError
from lenet_bench.common.text import printable
from lenet_bench.datasets.dataset import SIDE, Source, Split
from lenet_bench.datasets.download import Archive, download_and_unpack

_MNIST_SIDE = 28  # pixels

_log = logging.getLogger(__name__)

# What torchvision's classes raise if files are missing, truncated or damaged.
_UNREADABLE = (RuntimeError, ValueError, TypeError, AssertionError, OSError)


class _Idx(NamedTuple):
    """Images and labels of a split of MNIST, as its files hold them.

    Torchvision's own classes would take `processed/*.pt` instead, which no hash belongs to.
    """

    data: Tensor
    targets: Tensor


def read_cifar(name: str, root: Path, size: int | None) -> Source:
    """Read `cifar10` or `cifar100` from `root`; download it if it is not there.

    Raises:
        DatasetError: It is not there and cannot be downloaded.
    """
    dataset_class = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    archive = Archive(dataset_class.filename, (dataset_class.url,), dataset_class.tgz_md5)
    train, test = _load_or_download(
        name,
        lambda train: dataset_class(root, train=train),
        [archive],
        root,
        root / dataset_class.base_folder,
    )
    splits = [
        Split(
            _resize(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), size),
            torch.tensor(part.targets),
        )
        for part in (train, test)
    ]
    return Source(tuple(train.classes), *splits)


def read_mnist(name: str, root: Path, size: int | None) -> Source:
    """Read `mnist` or `fashion_mnist` from `root`; download it if it is not there.

    The 28x28 images get a border of two zeros on every side, as in LeCun et al. 1998.

    Raises:
        DatasetError: It is not there and cannot be downloaded, or the numbers of images and labels
            differ.
    """
    dataset_class = {"mnist": MNIST, "fashion_mnist": FashionMNIST}[name]
    archives = [
        Archive(filename, tuple(mirror + filename for mirror in dataset_class.mirrors), md5)
        for filename, md5 in dataset_class.resources
    ]
    folder = root / dataset_class.__name__ / "raw"
    first = folder / Path(archives[0].filename).stem

    def read(train: bool) -> _Idx:
        kind = "train" if train else "t10k"
        return _Idx(
            read_image_file(folder / f"{kind}-images-idx3-ubyte"),
            read_label_file(folder / f"{kind}-labels-idx1-ubyte"),
        )

    train, test = _load_or_download(name, read, archives, folder, first)
    for part in (train, test):
        if part.data.shape[1:] != (_MNIST_SIDE, _MNIST_SIDE) or part.targets.max() > 9:
            raise DatasetError(
                f"dataset {name}: {folder} holds other images or labels than those of {name}: "
                "delete this folder to have it fetched again"
            )
        if len(part.data) != len(part.targets):
            raise DatasetError(
                f"dataset {name}: {folder} holds {len(part.data):,} images with "
                f"{len(part.targets):,} labels: delete this folder to have it fetched again"
            )
    splits = [
        Split(_resize(functional.pad(part.data[:, None], (2, 2, 2, 2)), size), part.targets.long())
        for part in (train, test)
    ]
    return Source(tuple(dataset_class.classes), *splits)


def read_fake(size: int | None, images: int, classes: int, channels: int) -> Source:
    """Make images of noise, those of torchvision's `FakeData`, and a fifth as many for testing.

    They are drawn here: `FakeData` sets the seed of every device for every image, which takes most
    of its time. The labels run through the classes in turn. Torchvision draws them at random, which
    can leave a class out.
    """
    side = size or SIDE
    generator = torch.Generator()

    def noise(seed: int) -> Tensor:
        return torch.randn(channels, side, side, generator=generator.manual_seed(seed))

    def make(count: int, offset: int) -> Split:
        seeds = range(offset, offset + count)
        pixels = np.stack([np.asarray(to_pil_image(noise(seed))) for seed in seeds])
        stacked = torch.from_numpy(pixels.reshape(count, side, side, channels))
        return Split(stacked.permute(0, 3, 1, 2).contiguous(), torch.arange(count) % classes)

    names = tuple(f"class {index}" for index in range(classes))
    return Source(names, make(images, 0), make(max(images // 5, classes), images))


def _load_or_download(
    name: str,
    read: Callable[[bool], Any],
    archives: list[Archive],
    folder: Path,
    content: Path,
) -> tuple[Any, Any]:
    try:
        return read(True), read(False)
    except _UNREADABLE:
        if content.exists():
            _log.warning(
                "%s is incomplete or damaged: restoring it from its archive", printable(content)
            )
    download_and_unpack(name, archives, folder)
    try:
        return read(True), read(False)
    except _UNREADABLE as error:
        raise DatasetError(
            f"dataset {name}: what was unpacked in {folder} cannot be read ({error}): delete it "
            "and try again, or name another folder with dataset.root"
        ) from error


def _resize(images: Tensor, size: int | None) -> Tensor:
    if size is None or images.shape[-2:] == (size, size):
        return images
    resized: Tensor = resize(images, [size, size], antialias=True)
    return resized
