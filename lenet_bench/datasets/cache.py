"""Keeps decoded image folders in the user's cache folder, so that they are decoded only once.

In: decoded images, and the files they came from. Out: the same images, as long as the files are the
same. If the cache cannot be written or read, a warning says so once and the images are decoded
again: a broken cache costs time, never a run. Nothing is ever written to the image folder itself.
Processes that need the same images take turns, so that only one decodes.

A cache file is a line of JSON, the header, then the pixels as they are; reading it runs no code.
The files are identified by their path, size, inode, and times of change of content and inode. A
program can set the first time as it likes but not the second. Two changes within one tick of the
file system's clock have the same times; so files that were changed shortly before they were decoded
are identified by their content, too.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet_bench.common.files import open_atomically, remove_leftovers
from lenet_bench.common.text import printable
from lenet_bench.datasets.preloaded import open_preloaded
from lenet_bench.datasets.turns import take_turn

_log = logging.getLogger(__name__)

_FORMAT = 3  # increase it when decoding changes, so that older caches are not used
_LARGEST_HEADER = 4096  # bytes
_TICK_NS = 2_000_000_000  # the coarsest clock of a file system is FAT's, two seconds


@dataclass(frozen=True)
class Decoded:
    """The images of a folder.

    Attributes:
        images: uint8 (n, C, H, W), as many as there are files.
        several_frames: How many of the files hold more than the one picture that is used.
        first_with_frames: The index of the first of them.
    """

    images: NDArray[np.uint8]
    several_frames: int = 0
    first_with_frames: int = 0


def location(root: Path, size: int | None) -> Path | None:
    """Name the cache file of a folder, below $XDG_CACHE_HOME or ~/.cache.

    Returns:
        The path; None if there is neither this variable nor a home folder.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    folder = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return base / "lenet-bench" / "images" / f"{folder}-{size or 'own'}.pixels"


def key(root: Path, size: int | None, files: Sequence[os.DirEntry[str]], checked: int) -> str:
    """Compute a digest of what decoding depends on.

    Args:
        root: The folder.
        size: What the images are resized to.
        files: The files.
        checked: When the files were looked at before they were decoded, in nanoseconds.
    """
    digest = hashlib.sha256(f"{_FORMAT} {size} {checked}".encode())
    start = str(root)
    for file in files:
        digest.update(os.fsencode(file.path.removeprefix(start)))
        try:
            status = file.stat()
            facts = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(b"\0%d %d %d %d\n" % facts)
            if max(status.st_mtime_ns, status.st_ctime_ns) > checked - _TICK_NS:
                with open_preloaded(file.path) as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
        except OSError:
            digest.update(b"\0unreadable\n")  # decoding will fail and name the file
    return digest.hexdigest()


@contextlib.contextmanager
def decoding_turn(root: Path, size: int | None) -> Iterator[bool]:
    """Keep other processes from decoding the same images; if one does so now, wait for it.

    Where the cache folder cannot be written, nobody waits: each process decodes for itself.

    Yields:
        Whether another process was waited for; then the images are probably in the cache.
    """
    path = location(root, size)
    with contextlib.ExitStack() as held:
        waited = False
        with contextlib.suppress(OSError, NotImplementedError):  # `write` will warn of it
            if path is not None:
                lock_file = path.with_suffix(".lock")
                _make_private(path.parent)
                # Removed after the release. In the worst case two processes decode the same images.
                held.callback(_remove, lock_file)
                work = f"decoding the images of {printable(root)}"
                waited = held.enter_context(take_turn(lock_file, "image_folder", work))
        yield waited


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def read(root: Path, size: int | None, files: Sequence[os.DirEntry[str]]) -> Decoded | None:
    """Read the images; None if the cache is absent, outdated, damaged or of another user."""
    path = location(root, size)
    if path is None:
        return None
    try:
        if path.stat().st_uid != os.geteuid():
            raise ValueError("it belongs to another user")
        with open_preloaded(path) as file:
            return _read(file, root, size, files)
    except FileNotFoundError:
        return None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        reason = printable(str(error) or type(error).__name__)
        _log.warning(
            "the cache %s is damaged (%s): decoding %s again",
            printable(path),
            reason,
            printable(root),
        )
        return None


def _read(
    file: BufferedReader | BytesIO, root: Path, size: int | None, files: Sequence[os.DirEntry[str]]
) -> Decoded | None:
    line = file.readline(_LARGEST_HEADER)
    header = json.loads(line)
    if key(root, size, files, int(header["checked"])) != header["key"]:
        _log.info("%s has changed: decoding it again", printable(root))
        return None
    count, channels, height, width = header["shape"]
    shape = (len(files), channels, size or height, size or width)
    numbers = all(type(number) is int and number > 0 for number in header["shape"])
    if not numbers or [*shape] != header["shape"] or channels not in (1, 3):
        raise ValueError("its images have another shape")
    if file.seek(0, os.SEEK_END) - len(line) != count * channels * height * width:
        raise ValueError("its size is wrong")
    images = np.empty(shape, np.uint8)
    file.seek(len(line))
    file.readinto(images.data)
    if zlib.crc32(images.data) != header["crc32"]:
        raise ValueError("its checksum is wrong")
    first = int(header["first_with_frames"])
    return Decoded(images, int(header["several_frames"]), first if 0 <= first < count else 0)


def write(root: Path, size: int | None, key: str, checked: int, decoded: Decoded) -> None:
    """Store the images; the file gets its name only when it is complete."""
    path = location(root, size)
    if path is None:
        _warn_once(
            "there is no home folder to keep decoded images in: going on without the cache; "
            "XDG_CACHE_HOME can name a folder for it"
        )
        return
    header = {
        "key": key,
        "checked": checked,
        "shape": decoded.images.shape,
        "crc32": zlib.crc32(decoded.images.data),
        "several_frames": decoded.several_frames,
        "first_with_frames": decoded.first_with_frames,
    }
    try:
        _make_private(path.parent)
        remove_leftovers(path)
        with open_atomically(path, sync=False) as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(decoded.images.data)
    except OSError as error:
        _warn_once(
            f"cannot keep the decoded images in {printable(path)} ({error.strerror or error}): "
            "going on without the cache"
        )


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning(message)
