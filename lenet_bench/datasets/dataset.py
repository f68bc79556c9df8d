"""The one form in which the program knows a data set: three splits of uint8 images.

In: the images and labels of the splits, from any source. Out: a frozen `Dataset` with the mean and
deviation for standardising and a fingerprint of the data.

Letters in shapes: n images, C channels, H and W pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from lenet_bench.common.errors import DatasetError

SIDE = 32  # pixels of LeNet-5's input (LeCun et al. 1998)


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 (n, C, H, W); in a `Dataset`, in channels_last memory.
        labels: int64 (n,), indices into the class names.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """Copy the images at `indices`, int64 (k,), in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as its files give it, before validation images are held out of `train`.

    Attributes:
        classes: The names of the classes.
        train: The images for training, and for validation if there are no others for that.
        test: The test images; None if there are none.
        validation: The validation images of a data set that comes with its own.
    """

    classes: tuple[str, ...]
    train: Split
    test: Split | None
    validation: Split | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready for training.

    Attributes:
        name: The choice in the configuration.
        classes: The names of the classes.
        train: The training split, in random order: its first k images are a fair sample.
        validation: The validation split, in random order.
        test: The test split; None for an image folder without test images.
        mean: float64 (C,), the mean of each channel of the training split, scaled to [0, 1].
        std: float64 (C,), the deviation likewise. It is 1 for a constant channel, so that
            standardising turns the channel into zeros.
        fingerprint: 16 hexadecimal digits that change when an image, a label or a class name of any
            split changes.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split | None
    mean: Tensor
    std: Tensor
    fingerprint: str

    def share_memory(self) -> Dataset:
        """Move the images and labels to shared memory, where workers read them without a copy.

        The tensors are moved in place.

        Returns:
            The same data set.

        Raises:
            DatasetError: The machine's shared memory is too small.
        """
        splits = [split for split in (self.train, self.validation, self.test) if split is not None]
        tensors = [tensor for split in splits for tensor in (split.images, split.labels)]
        try:
            for tensor in tensors:
                tensor.share_memory_()
        except (RuntimeError, OSError) as error:
            megabytes = sum(tensor.nbytes for tensor in tensors) / 1e6
            raise DatasetError(
                f"dataset {self.name}: its {megabytes:,.0f} MB do not fit into shared memory "
                f"({error}); enlarge /dev/shm (docker: --shm-size), use fewer images "
                "(dataset.train_size) or a single worker"
            ) from error
        return self


def assemble(
    name: str, classes: tuple[str, ...], train: Split, validation: Split, test: Split | None
) -> Dataset:
    """Complete a data set with its mean, deviation and fingerprint."""
    train, validation = _channels_last(train), _channels_last(validation)
    test = _channels_last(test) if test is not None else None
    mean, std = channel_statistics(train.images)
    splits = {"train": train, "validation": validation, "test": test}
    return Dataset(name, classes, train, validation, test, mean, std, _fingerprint(classes, splits))


def _channels_last(split: Split) -> Split:
    # A mini-batch taken from this memory is channels_last too, which makes convolutions fast.
    return Split(split.images.contiguous(memory_format=torch.channels_last), split.labels)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and population deviation of each channel of images scaled to [0, 1].

    The 256 possible values are counted first. So both results are exact to rounding for any number
    of images, and no floating-point copy of the images is made.

    Args:
        images: uint8 (n, C, H, W).

    Returns:
        Mean and deviation, float64 (C,).
    """
    counts = torch.stack(
        [torch.bincount(channel.reshape(-1), minlength=256) for channel in images.unbind(1)]
    ).double()  # (C, 256)
    values = torch.arange(256, dtype=torch.float64)
    pixels = counts.sum(1)
    mean = (counts @ values) / pixels
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / pixels
    std = variance.sqrt() / 255
    return mean / 255, torch.where(std > 0, std, 1.0)


def _fingerprint(classes: tuple[str, ...], splits: dict[str, Split | None]) -> str:
    digest = hashlib.sha256(repr(classes).encode())
    for name, split in splits.items():
        if split is None:
            continue
        digest.update(f"{name} {tuple(split.images.shape)}".encode())
        digest.update(split.images.contiguous().numpy().data)
        digest.update(split.labels.contiguous().numpy().astype("<i8").data)
    return digest.hexdigest()[:16]
