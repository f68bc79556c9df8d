"""The workload that every method trains: the same images, labels, batch size and optimizer.

In: a data set of lenet-bench. Out: arrays in a folder, from which each peer makes what its tool
needs, and the same data set as arguments of the `lenet-bench` command.

Shapes: n images, H and W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lenet_bench.datasets import Dataset

SIZE = 32  # pixels
FAKE_IMAGES = 10_000  # of which a tenth is held out
BATCH = 128
LEARNING_RATE = 0.01
MOMENTUM = 0.9


@dataclass(frozen=True)
class Workload:
    """The training images and the settings that all methods share.

    Attributes:
        folder: Holds `images.npy`, uint8 (n, H, W, C), and `labels.npy`, int64 (n,).
        arguments: The same data for the `lenet-bench` command.
        images: How many there are, n.
        channels: Of an image, C.
        size: Height and width in pixels.
        classes: How many there are.
        mean: The mean of each channel, of images scaled to [0, 1].
        std: The deviation likewise.
        batch: Images in a mini-batch.
        lr: The learning rate.
        momentum: The momentum of SGD.
    """

    folder: Path
    arguments: tuple[str, ...]
    images: int
    channels: int
    size: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch: int
    lr: float = LEARNING_RATE
    momentum: float = MOMENTUM

    @property
    def per_epoch(self) -> int:
        """Iterations in an epoch; the last, smaller batch is dropped by every method."""
        return self.images // self.batch

    def pixels(self) -> NDArray[np.uint8]:
        """Images, uint8 (n, H, W, C)."""
        images: NDArray[np.uint8] = np.load(self.folder / "images.npy")
        return images

    def labels(self) -> NDArray[np.int64]:
        """Labels, int64 (n,)."""
        labels: NDArray[np.int64] = np.load(self.folder / "labels.npy")
        return labels

    def standardised(self) -> NDArray[np.float32]:
        """Images as the network receives them, float32 (n, H, W, C)."""
        images = self.pixels().astype(np.float32)
        images /= 255
        images -= np.asarray(self.mean, np.float32)
        images /= np.asarray(self.std, np.float32)
        return images


def data_arguments(
    root: Path | None, size: int = SIZE, images: int = FAKE_IMAGES
) -> tuple[str, ...]:
    """Name the data set in arguments of `lenet-bench`: a folder of images, or noise if None."""
    if root is None:
        return ("dataset=fake", f"dataset.images={images}", f"dataset.size={size}")
    return ("dataset=image_folder", f"dataset.root={root.resolve()}", f"dataset.size={size}")


def load(root: Path | None, images: int = FAKE_IMAGES) -> Dataset:
    """Load the data set that `data_arguments` names, at the default size."""
    from lenet_bench import datasets

    if root is None:
        return datasets.load(
            name="fake", images=images, size=SIZE, validation_size=0.1, split_seed=0
        )
    return datasets.load(
        name="image_folder", root=root, size=SIZE, validation_size=0.1, split_seed=0
    )


def prepare(root: Path | None, folder: Path, *, images: int, batch: int) -> Workload:
    """Load the data and store the training images in a folder, for the peers to read.

    Args:
        root: A folder of images; None for noise.
        folder: Where to store them.
        images: How many images of noise, for training and validation together.
        batch: Images in a mini-batch.
    """
    dataset = load(root, images)
    pixels, labels = dataset.train.images, dataset.train.labels
    np.save(folder / "images.npy", np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy()))
    np.save(folder / "labels.npy", labels.numpy())
    return Workload(
        folder=folder,
        arguments=data_arguments(root, images=images),
        images=len(labels),
        channels=pixels.shape[1],
        size=pixels.shape[2],
        classes=len(dataset.classes),
        mean=tuple(dataset.mean.tolist()),
        std=tuple(dataset.std.tolist()),
        batch=batch,
    )
