"""Reads a user's own images: `root/train/<class>/*` and, if present, `root/test/<class>/*`.

In: the folder. Out: a `Source` of uint8 images, which are decoded once and then read from the
cache.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.progress import MofNCompleteColumn

from lenet_bench.choices.image_files import scan
from lenet_bench.common.errors import DatasetError
from lenet_bench.datasets import cache
from lenet_bench.datasets.dataset import Source, Split
from lenet_bench.datasets.progress_bar import progress_bar

MIN_SIDE = 2  # pixels
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"}
_CHUNK = 256  # images that a thread decodes before the progress bar moves
_MAX_NAMED = 3  # images that an error message names


class _UnfitError(Exception):
    """An image can be decoded but not used."""


def read_image_folder(root: Path, size: int | None) -> Source:
    """Read the images of a folder, RGB unless every one of them is stored as greyscale.

    Images in nested folders belong to their class folder. Hidden files and files without the
    ending of an image format are ignored.

    Args:
        root: The folder that holds `train` and perhaps `test`.
        size: Each image of another size is resized to `size` x `size` (bilinear, antialiased);
            with None, all images must have one size and keep it.

    Raises:
        DatasetError: The folder, one of its class folders or an image is missing or unfit.
    """
    try:
        folder = scan(root)
        key = cache.key(root, size, folder.files)
    except OSError as error:
        raise DatasetError(f"dataset.root={root}: cannot read it ({error})") from error
    images = cache.read(root, size, key)
    if images is None:
        with cache.decoding_turn(root, size) as waited:
            images = cache.read(root, size, key) if waited else None
            if images is None:
                images = _decode(folder.files, size)
                cache.write(root, size, key, images)
    tensor, labels = torch.from_numpy(images), torch.tensor(folder.labels)
    cut = folder.train_images
    return Source(
        classes=folder.classes,
        train=Split(tensor[:cut], labels[:cut]),
        # Cloned: a view would keep all images in memory, and share_memory would share them all.
        test=Split(tensor[cut:].clone(), labels[cut:].clone()) if folder.has_test else None,
    )


def _decode(files: Sequence[os.DirEntry[str]], size: int | None) -> NDArray[np.uint8]:
    """Decode all files to (n, C, H, W).

    Raises:
        DatasetError: Some files cannot be used; the message names the first of them.
    """
    height, width = (size, size) if size else _common_size(files)
    try:
        pixels = np.empty((len(files), height, width, 3), np.uint8)
    except MemoryError as error:
        raise DatasetError(
            f"{len(files):,} images of {width}x{height} pixels do not fit into memory: give a "
            "smaller dataset.size"
        ) from error
    grey = np.zeros(len(files), bool)
    problems: list[str] = []

    def decode_chunk(start: int) -> int:
        chunk = files[start : start + _CHUNK]
        for index, file in enumerate(chunk, start):
            try:
                pixels[index], grey[index] = _decode_one(file.path, height, width, size is None)
            except Exception as error:  # Pillow's decoders raise exceptions of every kind
                problems.append(f"{file.path} ({_reason(error)})")
        return len(chunk)

    executor = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    # Pillow warns of odd metadata, which is harmless, and of large images, which are checked here.
    with warnings.catch_warnings(), progress_bar(MofNCompleteColumn()) as bar:
        warnings.simplefilter("ignore")
        task = bar.add_task("decoding images", total=len(files))
        try:
            for done in executor.map(decode_chunk, range(0, len(files), _CHUNK)):
                bar.advance(task, done)
        finally:
            executor.shutdown(cancel_futures=True)
    if problems:
        more = f" and {len(problems) - _MAX_NAMED:,} more" if len(problems) > _MAX_NAMED else ""
        raise DatasetError(
            f"{len(problems):,} of {len(files):,} images cannot be used: "
            f"{', '.join(sorted(problems)[:_MAX_NAMED])}{more}; replace or remove them"
        )
    return np.ascontiguousarray(pixels[..., : 1 if grey.all() else 3].transpose(0, 3, 1, 2))


def _common_size(files: Sequence[os.DirEntry[str]]) -> tuple[int, int]:
    path = files[0].path
    try:
        with Image.open(path) as image:
            width, height = image.size
            _check_size(width, height)
    except Exception as error:
        raise DatasetError(f"{path} ({_reason(error)}): replace or remove it") from error
    return height, width


def _decode_one(path: str, height: int, width: int, exact: bool) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image to this size, which it must have if `exact`.

    Returns:
        The pixels, (H, W, 3) or (H, W, 1), and whether they are grey.
    """
    with Image.open(path) as image:
        _check_size(image.width, image.height)
        if exact and (image.height, image.width) != (height, width):
            raise _UnfitError(
                f"{image.width}x{image.height} pixels where the first image has {width}x{height}: "
                "give dataset.size to resize them all"
            )
        grey = image.mode in _GREY_MODES
        plain = _to_eight_bits(image) if grey else image.convert("RGB")
    if plain.size != (width, height):
        plain = plain.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(plain).reshape(height, width, -1), grey


def _check_size(width: int, height: int) -> None:
    max_pixels = Image.MAX_IMAGE_PIXELS
    if min(width, height) < MIN_SIDE:
        raise _UnfitError(f"{width}x{height} pixels, at least {MIN_SIDE}x{MIN_SIDE} needed")
    if max_pixels is not None and width * height > max_pixels:
        raise _UnfitError(f"{width}x{height} pixels, more than the {max_pixels:,} allowed")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image.convert("L")
    # Pillow would clip 16-bit values at 255 instead of scaling them.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise _UnfitError("more than 16 bits a pixel: convert it to 8 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    return str(error) or type(error).__name__
