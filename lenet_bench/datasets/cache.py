"""Keeps decoded image folders in the user's cache folder, so that they are decoded only once.

In: decoded images, and a key that identifies the files they came from. Out: the same images, as
long as the key is the same. If the cache cannot be written or read, a warning says so and the
images are decoded again: a broken cache costs time, never a run. Nothing is ever written to the
image folder itself. Processes that need the same images take turns, so that only one decodes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet_bench.common.files import open_atomically
from lenet_bench.datasets.turns import take_turn

_log = logging.getLogger(__name__)

_FORMAT = 1  # increase it when decoding changes, so that older caches are not used


def location(root: Path, size: int | None) -> Path:
    """Name the cache file of a folder, below $XDG_CACHE_HOME or ~/.cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return base / "lenet-bench" / "images" / f"{folder}-{size or 'own'}.npz"


def key(root: Path, size: int | None, files: Sequence[os.DirEntry[str]]) -> str:
    """Compute a digest of what decoding depends on: each file's path, size and time of change.

    Raises:
        OSError: The size or time of a file cannot be read.
    """
    digest = hashlib.sha256(f"{_FORMAT} {size}".encode())
    for file in files:
        status = file.stat()
        relative = os.fsencode(os.path.relpath(file.path, root))
        digest.update(b"%s\0%d %d\n" % (relative, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


@contextlib.contextmanager
def decoding_turn(root: Path, size: int | None) -> Iterator[bool]:
    """Keep other processes from decoding the same images; if one does so now, wait for it.

    Where the cache folder cannot be written, nobody waits: each process decodes for itself.

    Yields:
        Whether another process was waited for; then the images are probably in the cache.
    """
    lock_file = location(root, size).with_suffix(".lock")
    with contextlib.ExitStack() as held:
        waited = False
        with contextlib.suppress(OSError, NotImplementedError):  # `write` will warn of it
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            # Removed after the release. In the worst case two processes decode the same images.
            held.callback(_remove, lock_file)
            work = f"decoding the images of {root}"
            waited = held.enter_context(take_turn(lock_file, "image_folder", work))
        yield waited


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def read(root: Path, size: int | None, key: str) -> NDArray[np.uint8] | None:
    """Read the images, uint8 (n, C, H, W); None if the cache is absent, outdated or damaged."""
    path = location(root, size)
    try:
        # An uncompressed zip file: reading it verifies its checksums.
        with np.load(path, allow_pickle=False) as content:
            if str(content["key"]) != key:
                _log.info("%s has changed: decoding it again", root)
                return None
            images: NDArray[np.uint8] = content["images"]
            return images
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("the cache %s is damaged (%s): decoding %s again", path, error, root)
        return None


def write(root: Path, size: int | None, key: str, images: NDArray[np.uint8]) -> None:
    """Store the images, uint8 (n, C, H, W); the file gets its name only when it is complete."""
    path = location(root, size)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            np.savez(file, key=np.array(key), images=images)
    except OSError as error:
        _log.warning(
            "cannot keep the decoded images in %s (%s): going on without the cache", path, error
        )
