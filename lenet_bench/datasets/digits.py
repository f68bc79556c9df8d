"""Scikit-learn's 1,797 scanned digits, a data set that needs no download.

In: the size to resize to. Out: a `Source` of grey images.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional

from lenet_bench.datasets.dataset import SIDE, Source, Split

TEST_IMAGES = 300
_TEST_SEED = 0  # the test images are the same whatever dataset.split_seed is


def read_digits(size: int | None) -> Source:
    """Read the 1,797 scanned digits that come with scikit-learn, 300 of them for testing.

    Their 8x8 pixels of 0..16 become `size` x `size` (32 unless given) of 0..255, bilinearly.
    """
    bunch = load_digits()
    side = size or SIDE
    small = torch.from_numpy(bunch.images)[:, None] * (255 / 16)  # (n, 1, 8, 8)
    large = functional.interpolate(small, (side, side), mode="bilinear", antialias=True)
    images = large.round().clamp(0, 255).to(torch.uint8)
    all_images = Split(images, torch.from_numpy(bunch.target).long())
    train, test = train_test_split(
        np.arange(len(all_images)),
        test_size=TEST_IMAGES,
        stratify=bunch.target,
        random_state=_TEST_SEED,
    )
    return Source(
        classes=tuple(str(name) for name in bunch.target_names),
        train=all_images.take(torch.from_numpy(train)),
        test=all_images.take(torch.from_numpy(test)),
    )
