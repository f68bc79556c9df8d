"""Data sets that need no network: digits, fake images and image folders; splits and statistics."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import FakeData
from torchvision.datasets.folder import IMG_EXTENSIONS as TORCHVISIONS

from lenet_bench.choices.image_files import IMG_EXTENSIONS
from lenet_bench.choices.split_sizes import KNOWN
from lenet_bench.common.errors import UserError
from lenet_bench.datasets import Dataset, DatasetError, Split, load
from lenet_bench.datasets import cache as image_cache
from lenet_bench.datasets.dataset import assemble, channel_statistics


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digits(**changes: Any) -> Dataset:
    arguments: dict[str, Any] = {"name": "digits", "validation_size": 200, "split_seed": 0}
    return load(**arguments | changes)


def fake(**changes: Any) -> Dataset:
    arguments: dict[str, Any] = {"name": "fake", "images": 100, "size": 16}
    return load(**arguments | {"validation_size": 20, "split_seed": 0} | changes)


def rows(split: Split) -> list[bytes]:
    return [bytes(image.numpy().tobytes()) for image in split.images]


def counts(split: Split, classes: int) -> list[int]:
    return torch.bincount(split.labels, minlength=classes).tolist()


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


# --- image folders ------------------------------------------------------------------------------


def picture(seed: int, height: int = 16, width: int = 16) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of ten 16x16 PNG images each for training, two each for testing."""
    root = tmp_path / "images"
    seed = 0
    for split, count in (("train", 10), ("test", 2)):
        for name in ("cat", "dog", "eel"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(picture(seed)).save(root / split / name / f"{index}.png")
                seed += 1
    return root


def from_folder(root: Path, **changes: Any) -> Dataset:
    arguments: dict[str, Any] = {"name": "image_folder", "root": root, "size": 16}
    return load(**arguments | {"validation_size": 6, "split_seed": 0} | changes)


def test_a_folder_of_images(folder: Path) -> None:
    data = from_folder(folder)
    assert data.classes == ("cat", "dog", "eel")
    assert len(data.train) == 24
    assert counts(data.validation, 3) == [2, 2, 2]
    assert data.test
    expected = np.stack([picture(seed) for seed in range(30, 36)]).transpose(0, 3, 1, 2)
    assert np.array_equal(data.test.images.numpy(), expected)
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    label_of = {picture(s).transpose(2, 0, 1).tobytes(): s // 10 for s in range(30)}
    for split in (data.train, data.validation):
        assert [label_of[row] for row in rows(split)] == split.labels.tolist()


def test_a_folder_without_test_images(folder: Path) -> None:
    for path in (folder / "test").rglob("*.png"):
        path.unlink()
    for path in (folder / "test").iterdir():
        path.rmdir()
    (folder / "test").rmdir()
    assert from_folder(folder).test is None


def test_what_is_no_image_is_passed_over(folder: Path) -> None:
    before = from_folder(folder).fingerprint
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    (folder / "train" / "cat" / ".0.png").write_text("not an image")
    (folder / "train" / ".hidden").mkdir()
    (folder / "train" / "readme.md").write_text("not a class")
    nested = folder / "train" / "dog" / "more"
    nested.mkdir()
    assert from_folder(folder).fingerprint == before
    Image.fromarray(picture(99)).save(nested / "a.png")
    assert len(from_folder(folder).train) == 25


def test_images_are_resized_with_antialiasing(folder: Path) -> None:
    checkered = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checkered).convert("RGB").save(folder / "test" / "cat" / "0.png")
    data = from_folder(folder)
    assert data.test
    inner = data.test.images[0, :, 1:-1, 1:-1].float()
    assert (inner - 127.5).abs().max() < 16  # without antialiasing: 0 or 255


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
def test_greyscale_stays_one_channel_only_if_all_are(folder: Path, mode: str) -> None:
    for path in folder.rglob("*.png"):
        grey = Image.open(path).convert("L")
        if mode == "I;16":
            Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(path)
        else:
            grey.convert(mode).save(path)
    data = from_folder(folder)
    assert data.train.images.shape == (24, 1, 16, 16)
    assert data.test
    if mode != "1":
        expected = np.asarray(Image.fromarray(picture(30)).convert("L"))
        assert np.array_equal(data.test.images[0, 0].numpy(), expected)

    Image.fromarray(picture(0)).save(folder / "train" / "cat" / "0.png")
    mixed = from_folder(folder)
    assert mixed.train.images.shape == (24, 3, 16, 16)
    assert mixed.test
    assert torch.equal(mixed.test.images, data.test.images.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "bmp", "ppm", "tiff", "webp"])
def test_every_format_of_torchvision(folder: Path, ending: str) -> None:
    path = folder / "test" / "cat" / f"a.{ending}"
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).save(path)
    data = from_folder(folder)
    assert data.test
    assert len(data.test) == 7
    colour = data.test.images[2].float().mean((1, 2))  # 0.png, 1.png, a.*
    assert (colour - torch.tensor([200.0, 100.0, 50.0])).abs().max() < 4


def test_without_a_size_images_keep_theirs(folder: Path) -> None:
    assert from_folder(folder, size=None).train.images.shape == (24, 3, 16, 16)
    Image.fromarray(picture(5, 20, 18)).save(folder / "train" / "dog" / "3.png")
    with pytest.raises(DatasetError, match=r"dog/3\.png \(18x20 .* 16x16: give dataset\.size"):
        from_folder(folder, size=None)


def remove(path: Path) -> None:
    for child in path.iterdir():
        child.unlink()
    path.rmdir()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def truncated_jpeg(root: Path) -> None:
    path = root / "train/cat/a.jpg"
    Image.fromarray(picture(5)).save(path)
    truncate(path)


def spoil(*names: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for name in names:
            (root / name).write_bytes(b"spoilt")

    return change


def only_cats(root: Path) -> None:
    for split in ("train", "test"):
        for name in ("dog", "eel"):
            remove(root / split / name)


def empty(root: Path) -> None:
    remove(root / "train" / "dog")
    (root / "train" / "dog").mkdir()


def few_dogs(root: Path) -> None:
    for index in range(1, 10):
        (root / "train" / "dog" / f"{index}.png").unlink()


def sized(height: int, width: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        Image.new("1", (width, height)).save(root / "train" / "dog" / "3.png")

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: root.rename(root.with_name("gone")), ["dataset.root=", "no such folder"]),
        (
            lambda root: (root / "train").rename(root / "training"),
            ["dataset.root=", "no folder train", "test, training"],
        ),
        (
            lambda root: (root / "train").rename(root / "t") and (root / "train").mkdir(),
            ["train: no class folder"],
        ),
        (lambda root: remove(root / "test" / "dog"), ["test/dog", "missing class folder"]),
        (lambda root: remove(root / "train" / "dog"), ["train/dog", "missing class folder"]),
        (empty, ["train/dog", "no image in this class folder", ".png"]),
        (only_cats, ["train: only one class", "'cat'"]),
        (few_dogs, ["class 'dog' has 1 image ", "at least 2 needed"]),
        (spoil("train/dog/3.png"), ["1 of 36", "train/dog/3.png (not an image"]),
        (
            spoil(*(f"train/dog/{index}.png" for index in range(5))),
            ["5 of 36", "dog/0.png", "dog/1.png", "dog/2.png", "and 2 more"],
        ),
        (lambda root: (root / "test/eel/1.png").write_bytes(b""), ["test/eel/1.png (not an image"]),
        (lambda root: truncate(root / "train/cat/7.png"), ["train/cat/7.png", "truncated"]),
        (truncated_jpeg, ["train/cat/a.jpg (", "runcated"]),
        (
            lambda root: (root / "train/cat/link.png").symlink_to(root / "nowhere.png"),
            ["cannot read it", "train/cat/link.png"],
        ),
        (sized(1, 16), ["train/dog/3.png (16x1 pixels, at least 2x2"]),
        (sized(16, 1), ["train/dog/3.png (1x16 pixels, at least 2x2"]),
        (sized(10_000, 10_000), ["train/dog/3.png (10000x10000 pixels, more than"]),
        (sized(14_000, 14_000), ["train/dog/3.png", "decompression bomb"]),
    ],
)
def test_folders_that_cannot_be_used(
    folder: Path, change: Callable[[Path], Any], words: list[str]
) -> None:
    change(folder)
    with pytest.raises(DatasetError) as caught:
        from_folder(folder)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"dataset\.root=.*file: is not a folder"):
        from_folder(tmp_path / "file")


# --- the cache of an image folder ---------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded so far."""
    opened: list[str] = []
    lock = threading.Lock()
    original = Image.open

    def spy(path: str, *args: Any, **kwargs: Any) -> Image.Image:
        with lock:
            opened.append(str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Image, "open", spy)
    return opened


def test_images_are_decoded_once(folder: Path, cache_home: Path, decoded: list[str]) -> None:
    before = sorted(folder.rglob("*"))
    first = from_folder(folder)
    assert len(decoded) == 36
    second = from_folder(folder)
    assert len(decoded) == 36
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first.train.images, second.train.images)
    assert sorted(folder.rglob("*")) == before
    assert [path.suffix for path in cache_home.rglob("*") if path.is_file()] == [".npz"]


def rename_among_equals(root: Path) -> None:
    path = root / "train" / "cat" / "0.png"
    path.rename(path.with_name("x.png"))


def touch(root: Path) -> None:
    path = root / "train" / "cat" / "0.png"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def change_size_only(root: Path) -> None:
    path = root / "train" / "cat" / "0.png"
    status = path.stat()
    path.write_bytes(path.read_bytes() + b"trailing bytes, which PNG ignores")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "files"),
    [
        (lambda root: Image.fromarray(picture(50)).save(root / "train" / "cat" / "z.png"), 37),
        (lambda root: (root / "train" / "cat" / "0.png").unlink(), 35),
        (rename_among_equals, 36),
        (touch, 36),
        (change_size_only, 36),
    ],
)
def test_a_changed_folder_is_decoded_again(
    folder: Path, decoded: list[str], change: Callable[[Path], Any], files: int
) -> None:
    # Of equal size and age, as from an archive of uncompressed images: only names tell them apart.
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes().ljust(2000))
        os.utime(path, ns=(0, 10**18))
    from_folder(folder)
    change(folder)
    decoded.clear()
    from_folder(folder)
    assert len(decoded) == files
    from_folder(folder)
    assert len(decoded) == files


def test_another_size_is_decoded_again(folder: Path, decoded: list[str]) -> None:
    from_folder(folder)
    decoded.clear()
    assert from_folder(folder, size=20).train.images.shape[-1] == 20
    assert len(decoded) == 36


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"x")]
)
def test_a_damaged_cache_is_rebuilt(
    folder: Path,
    decoded: list[str],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], Any],
) -> None:
    first = from_folder(folder)
    damage(image_cache.location(folder, 16))
    decoded.clear()
    with caplog.at_level(logging.WARNING):
        second = from_folder(folder)
    assert second.fingerprint == first.fingerprint
    assert len(decoded) == 36
    assert "is damaged" in caplog.text
    from_folder(folder)
    assert len(decoded) == 36


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, cache_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_home.write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        assert len(from_folder(folder).train) == 24
    assert "cannot keep the decoded images" in caplog.text


def test_a_broken_off_write_leaves_nothing(
    folder: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        from_folder(folder)
    assert [path for path in cache_home.rglob("*") if path.is_file()] == []
