"""Decoded image folders, kept in the user's cache folder so that they are decoded only once.

In: decoded images and a key of the files they came from. Out: the same images, as long as the key
still fits. A cache that cannot be written or read costs time, never a run: it is only warned of.
The image folder itself is never written to.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_FORMAT = 1  # raise it when decoding changes, so that older files are not taken for current


def location(root: Path, size: int | None) -> Path:
    """Name the cache file of a folder: $XDG_CACHE_HOME, or ~/.cache, /lenet-bench/images/...npz."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return base / "lenet-bench" / "images" / f"{folder}-{size or 'own'}.npz"


def key(root: Path, size: int | None, files: Sequence[os.DirEntry[str]]) -> str:
    """Digest what decoding depends on: every file's path, size and time of change.

    Raises:
        OSError: a file cannot be looked at.
    """
    digest = hashlib.sha256(f"{_FORMAT} {size}".encode())
    for file in files:
        status = file.stat()
        relative = os.fsencode(os.path.relpath(file.path, root))
        digest.update(b"%s\0%d %d\n" % (relative, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def read(root: Path, size: int | None, key: str) -> NDArray[np.uint8] | None:
    """Read the images, uint8 (n, C, H, W), or None where the cache is absent, old or damaged."""
    path = location(root, size)
    try:
        # An uncompressed zip, whose checksums are verified while reading.
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
    """Store the images, uint8 (n, C, H, W), under their final name only when they are whole."""
    path = location(root, size)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, key=np.array(key), images=images)
            Path(part).replace(path)
        except BaseException:
            Path(part).unlink()
            raise
    except OSError as error:
        _log.warning("cannot keep the decoded images in %s (%s): going on without", path, error)
