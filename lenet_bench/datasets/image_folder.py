"""Reads a user's own images: `root/train/<class>/*`, and validation and test if present.

In: the folder. Out: a `Source` of uint8 images, which are decoded once and then read from the
cache.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import MofNCompleteColumn

from lenet_bench.choices.image_files import Folder, check_validation_size, scan
from lenet_bench.common.errors import DatasetError
from lenet_bench.common.text import printable
from lenet_bench.datasets import cache
from lenet_bench.datasets.cache import Decoded
from lenet_bench.datasets.dataset import Source, Split
from lenet_bench.datasets.decoding import UnfitError, decode, describe_problem
from lenet_bench.datasets.progress_bar import progress_bar

_log = logging.getLogger(__name__)

SIDES = range(16, 513)  # as dataset.size
_CHUNK = 256  # images that a thread decodes before the progress bar moves
_MAX_NAMED = 3  # images that an error message names


def read_image_folder(root: Path, size: int | None, validation_size: float) -> Source:
    """Read the images of a folder, RGB unless every one of them is stored as greyscale.

    What the user may not expect is said in a line each.

    Args:
        root: The folder that holds `train`, and perhaps a validation folder and `test`.
        size: Each image of another size is resized to `size` x `size` (bilinear, antialiased);
            with None, all images must have one size and keep it.
        validation_size: The value of the key; it must be the default if there is a validation
            folder.

    Raises:
        DatasetError: The folder, one of its class folders or an image is missing or unfit.
    """
    checked = time.time_ns()
    folder = scan(root)
    if folder.validation_images is not None:
        _, validation, _ = _slices(folder)
        check_validation_size(Path(folder.files[validation.start].path).parents[1], validation_size)
    decoded = _read_or_decode(root, size, folder, checked)
    for notice in (*folder.notices, *_notices(root, folder, decoded)):
        _log.warning(notice)
    tensor, labels = torch.from_numpy(decoded.images), torch.tensor(folder.labels)
    train, validation, test = _slices(folder)
    return Source(
        classes=folder.classes,
        train=Split(tensor[train], labels[train]),
        # Cloned: a view would keep all images in memory, and share_memory would share them all.
        test=None
        if folder.test_images is None
        else Split(tensor[test].clone(), labels[test].clone()),
        validation=None
        if folder.validation_images is None
        else Split(tensor[validation], labels[validation]),
    )


def _slices(folder: Folder) -> tuple[slice, slice, slice]:
    """Where the images of training, validation and test lie."""
    first = folder.train_images
    second = first + (folder.validation_images or 0)
    return slice(first), slice(first, second), slice(second, None)


def _read_or_decode(root: Path, size: int | None, folder: Folder, checked: int) -> Decoded:
    decoded = cache.read(root, size, folder.files)
    if decoded is not None:
        return decoded
    key = cache.key(root, size, folder.files, checked)
    with cache.decoding_turn(root, size) as waited:
        decoded = cache.read(root, size, folder.files) if waited else None
        if decoded is None:
            decoded = _decode(folder.files, size)
            cache.write(root, size, key, checked, decoded)
    return decoded


def _decode(files: Sequence[os.DirEntry[str]], size: int | None) -> Decoded:
    """Decode all files to (n, C, H, W).

    Raises:
        DatasetError: Some files cannot be used; the message names the first of them.
    """
    height, width = (size, size) if size else _common_size(files[0].path)
    try:
        pixels = np.empty((len(files), height, width, 3), np.uint8)
    except MemoryError as error:
        raise DatasetError(
            f"{len(files):,} images of {width}x{height} pixels do not fit into memory: give a "
            "smaller dataset.size"
        ) from error
    grey, frames = np.zeros(len(files), bool), np.zeros(len(files), bool)
    problems: list[str] = []

    def decode_chunk(start: int) -> int:
        chunk = files[start : start + _CHUNK]
        for index, file in enumerate(chunk, start):
            try:
                picture, frames[index] = decode(file.path)
                grey[index] = picture.mode == "L"
                pixels[index] = _resized(picture, height, width, exact=size is None)
            except Exception as error:  # Pillow's decoders raise exceptions of every kind
                problems.append(f"{printable(file.path)} ({describe_problem(error)})")
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
    channels = pixels[..., : 1 if grey.all() else 3]
    return Decoded(
        np.ascontiguousarray(channels.transpose(0, 3, 1, 2)),
        int(frames.sum()),
        int(frames.argmax()),
    )


def _common_size(path: str) -> tuple[int, int]:
    """The size of the first image, which all images must have."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = decode(path).image.size
        if width != height or width not in SIDES:
            raise UnfitError(
                f"{width}x{height} pixels; without dataset.size, images must be square, with "
                f"{SIDES.start} to {SIDES.stop - 1} pixels a side"
            )
    except Exception as error:
        raise DatasetError(
            f"{printable(path)} ({describe_problem(error)}): replace or remove it"
        ) from error
    return height, width


def _resized(picture: Image.Image, height: int, width: int, *, exact: bool) -> NDArray[np.uint8]:
    """The pixels, (H, W, 3) or (H, W, 1), of an image that must have this size if `exact`."""
    if picture.size != (width, height):
        if exact:
            raise UnfitError(
                f"{picture.width}x{picture.height} pixels where the first image has "
                f"{width}x{height}: give dataset.size to resize them all"
            )
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(height, width, -1)


def _notices(root: Path, folder: Folder, decoded: Decoded) -> Iterator[str]:
    """What the user may not expect of the pixels."""
    images, files = decoded.images, folder.files
    if frames := decoded.several_frames:
        yield (
            f"{printable(root)}: {frames:,} image file{'s' * (frames != 1)} with several frames or "
            f"pages, such as {printable(files[decoded.first_with_frames].path)}; the first of each "
            "is used"
        )
    if all((image == images[0]).all() for image in images):
        yield (
            f"{printable(root)}: all {len(files):,} images are alike once they are decoded and "
            "resized; there is nothing to learn"
        )
    elif plain := _of_one_colour(images):
        yield (
            f"{printable(root)}: {len(plain):,} of {len(files):,} images have one colour only, "
            f"such as {printable(files[plain[0]].path)}"
        )


def _of_one_colour(images: NDArray[np.uint8]) -> list[int]:
    """The indices of images whose pixels are all the same."""
    corner = images[:, :, 0, 0]
    middle = images[:, :, images.shape[2] // 2, images.shape[3] // 2]
    # Few images pass the quick test; only these are looked at as a whole.
    candidates = ((corner == middle) & (corner == images[:, :, -1, -1])).all(1).nonzero()[0]
    return [
        index for index in candidates.tolist() if (images[index] == images[index, :, :1, :1]).all()
    ]
