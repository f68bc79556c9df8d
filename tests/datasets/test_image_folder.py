"""Folders of a user's own images, and the cache of what was decoded."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_bench.datasets import DatasetError
from tests.datasets.conftest import cache_file, counts, from_folder, picture, rows


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
            ["train/cat/link.png: a link to ", "nowhere.png, which does not exist"],
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


def test_images_are_decoded_once(folder: Path, cache_home: Path, decoded: list[str]) -> None:
    before = sorted(folder.rglob("*"))
    first = from_folder(folder)
    assert len(decoded) == 36
    second = from_folder(folder)
    assert len(decoded) == 36
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first.train.images, second.train.images)
    assert sorted(folder.rglob("*")) == before
    assert [path.suffix for path in cache_home.rglob("*") if path.is_file()] == [".pixels"]


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
    damage(cache_file(folder))
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
    def interrupt(header: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", interrupt)  # while the file is open for writing
    with pytest.raises(KeyboardInterrupt):
        from_folder(folder)
    assert [path for path in cache_home.rglob("*") if path.is_file()] == []
