"""Data sets that need no network: digits and fake images; splits, statistics, shared memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import FakeData
from torchvision.datasets.folder import IMG_EXTENSIONS as TORCHVISIONS

from lenet_bench.choices.image_files import IMG_EXTENSIONS
from lenet_bench.choices.split_sizes import KNOWN
from lenet_bench.common.errors import UserError
from lenet_bench.datasets import Dataset, DatasetError, Split, load
from lenet_bench.datasets.dataset import assemble, channel_statistics
from tests.datasets.conftest import counts, digits, fake, from_folder, rows

# --- digits -------------------------------------------------------------------------------------


def test_what_is_known_beforehand_of_digits_is_so() -> None:
    """The configuration is checked against it before anything is read."""
    data = load(name="digits", validation_size=200, split_seed=0)
    assert data.test is not None
    assert KNOWN["digits"] == (
        len(data.train) + len(data.validation),
        len(data.test),
        len(data.classes),
        data.train.images.shape[1],
    )


def test_an_image_ends_as_torchvision_says() -> None:
    """Its list, kept where torchvision is not loaded."""
    assert IMG_EXTENSIONS == TORCHVISIONS


def test_digits_have_the_documented_shape() -> None:
    data = digits()
    assert [len(split) for split in (data.train, data.validation, data.test) if split] == [
        1297,
        200,
        300,
    ]
    assert data.train.images.shape == (1297, 1, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert data.classes == tuple("0123456789")


def test_digits_are_scikit_learns_resized_bilinearly() -> None:
    data = digits()
    assert data.test
    splits = (data.train, data.validation, data.test)
    ours = torch.cat([split.images.flatten(1) for split in splits]).float()
    labels = torch.cat([split.labels for split in splits])
    bunch = load_digits()
    bilinear = Image.Resampling.BILINEAR
    oracle = torch.tensor(
        np.stack(
            [
                np.asarray(Image.fromarray(np.float32(image)).resize((32, 32), bilinear)).ravel()
                for image in bunch.images * 255 / 16
            ]
        )
    )
    match = torch.cdist(ours, oracle).argmin(1)
    assert sorted(match.tolist()) == list(range(1797))
    assert (ours - oracle[match]).abs().max() <= 0.51  # rounding
    assert labels.tolist() == bunch.target[match].tolist()


def test_digits_reach_white() -> None:
    assert digits().train.images.max() == 255


def test_digits_test_split_is_the_same_for_every_split_seed() -> None:
    first, second = digits(split_seed=0), digits(split_seed=1)
    assert first.test
    assert second.test
    assert torch.equal(first.test.images, second.test.images)
    assert rows(first.validation) != rows(second.validation)


# --- splits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation_size", [20, 0.2])
def test_validation_is_held_out_of_training(validation_size: float) -> None:
    data = fake(validation_size=validation_size)
    everything = [np.asarray(FakeData(100, (3, 16, 16), 10)[i][0]) for i in range(100)]
    expected = sorted(image.transpose(2, 0, 1).tobytes() for image in everything)
    assert sorted(rows(data.train) + rows(data.validation)) == expected
    assert counts(data.validation, 10) == [2] * 10
    assert counts(data.train, 10) == [8] * 10


def test_unequal_classes_keep_their_shares() -> None:
    data = digits()
    assert data.test
    totals = np.bincount(load_digits().target)
    for split in (data.train, data.validation, data.test):
        shares = totals * len(split) / 1797
        assert np.abs(np.array(counts(split, 10)) - shares).max() < 2


def test_splits_are_shuffled_and_fixed() -> None:
    data = digits()
    assert len(set(data.train.labels[:50].tolist())) == 10
    assert data.fingerprint == digits().fingerprint
    assert data.fingerprint != digits(split_seed=1).fingerprint


def test_train_size_takes_a_part_of_training_only() -> None:
    whole, part = digits(), digits(train_size=100)
    assert whole.test
    assert part.test
    assert set(rows(part.train)) < set(rows(whole.train))
    assert len(set(rows(part.train))) == 100
    assert np.abs(np.array(counts(part.train, 10)) - 10).max() <= 1
    assert torch.equal(part.validation.images, whole.validation.images)
    assert torch.equal(part.test.images, whole.test.images)
    assert rows(part.train) == rows(digits(train_size=100).train)
    assert set(rows(part.train)) != set(rows(digits(train_size=100, split_seed=1).train))


@pytest.mark.parametrize("train_size", [1290, 1297])
def test_train_size_may_leave_out_few_or_none(train_size: int) -> None:
    assert len(digits(train_size=train_size).train) == train_size


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation_size": 0}, ["dataset.validation_size=0", "10 to 90"]),
        ({"validation_size": 9}, ["dataset.validation_size=9", "10 to 90"]),
        ({"validation_size": 91}, ["dataset.validation_size=91", "10 to 90"]),
        ({"validation_size": 5000}, ["dataset.validation_size=5000", "100 training images"]),
        ({"validation_size": 0.99}, ["dataset.validation_size=0.99", "99 images"]),
        ({"validation_size": 0.01}, ["dataset.validation_size=0.01", "1 images"]),
        ({"train_size": 9}, ["dataset.train_size=9", "10 to 80"]),
        ({"train_size": 81}, ["dataset.train_size=81", "10 to 80"]),
        ({"images": 12}, ["dataset.validation_size=20", "12 training images"]),
        ({"images": 15, "validation_size": 10}, ["no size is possible"]),
        ({"name": "cifar"}, ["dataset=cifar", "cifar10", "image_folder"]),
    ],
)
def test_sizes_that_do_not_fit(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DatasetError) as caught:
        fake(**changes)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_an_error_of_the_data_is_an_error_of_the_user() -> None:
    assert issubclass(DatasetError, UserError)


# --- statistics, fingerprint, sharing -----------------------------------------------------------


def test_statistics_are_those_of_the_training_split() -> None:
    data = fake(train_size=30)
    scaled = data.train.images.double() / 255
    torch.testing.assert_close(data.mean, scaled.mean((0, 2, 3)), rtol=1e-13, atol=0)
    torch.testing.assert_close(data.std, scaled.std((0, 2, 3), correction=0), rtol=1e-13, atol=0)
    assert data.mean.dtype == data.std.dtype == torch.float64


def test_a_constant_channel_is_standardised_to_zeros() -> None:
    images = torch.full((5, 2, 3, 3), 77, dtype=torch.uint8)
    images[0, 0, 0, 0] = 78
    mean, std = channel_statistics(images)
    assert std[1] == 1
    assert 0 < std[0] < 1
    standardised = (images.double() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.equal(standardised[:, 1], torch.zeros(5, 3, 3, dtype=torch.float64))


def test_the_fingerprint_sees_every_pixel_label_and_name() -> None:
    def build(change: Callable[[dict[str, Any]], None]) -> str:
        parts = {
            name: Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4) % 2)
            for name in ("train", "validation", "test")
        }
        everything: dict[str, Any] = {"classes": ("a", "b"), **parts}
        change(everything)
        return assemble("x", **everything).fingerprint

    def pixel(split: str) -> Callable[[dict[str, Any]], None]:
        return lambda parts: parts[split].images[3, 0, 1, 1].fill_(1)

    def label(split: str) -> Callable[[dict[str, Any]], None]:
        return lambda parts: parts[split].labels[3].fill_(0)

    changes: list[Callable[[dict[str, Any]], None]] = [lambda parts: None]
    changes += [pixel(split) for split in ("train", "validation", "test")]
    changes += [label(split) for split in ("train", "validation", "test")]
    changes += [
        lambda parts: parts.update(classes=("a", "c")),
        lambda parts: parts.update(test=None),
    ]
    prints = [build(change) for change in changes]
    assert len(set(prints)) == len(prints)
    assert build(changes[0]) == prints[0]
    assert re.fullmatch("[0-9a-f]{16}", prints[0])


def test_a_split_holds_its_own_memory_only(folder: Path) -> None:
    for data in (digits(), fake(), from_folder(folder)):
        assert data.test
        for split in (data.train, data.validation, data.test):
            for tensor in (split.images, split.labels):
                assert tensor.untyped_storage().nbytes() == tensor.nbytes


def _brighten(data: Dataset) -> None:
    data.train.images[0] = 255
    data.validation.labels[0] = 7


@pytest.mark.integration
def test_a_spawned_process_works_on_the_same_memory() -> None:
    data = fake().share_memory()
    data.train.images[0] = 0
    child = torch.multiprocessing.get_context("spawn").Process(target=_brighten, args=(data,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert (data.train.images[0] == 255).all()
    assert data.validation.labels[0] == 7


def test_too_little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory: No space left on device")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(DatasetError, match=r"No space left.*shm-size.*dataset\.train_size"):
        fake().share_memory()


# --- fake ---------------------------------------------------------------------------------------


def test_fake_images_are_plain_and_repeatable() -> None:
    data = fake(classes=3, channels=1, images=50, validation_size=0.1)
    assert data.train.images.shape == (45, 1, 16, 16)
    assert data.test
    assert data.test.images.shape == (10, 1, 16, 16)
    assert data.fingerprint == fake(classes=3, channels=1, images=50, validation_size=5).fingerprint
    assert not set(rows(data.test)) & set(rows(data.train) + rows(data.validation))
