"""Where commands write: new folders, and files that are either complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import BinaryIO


def new_folder(name: str) -> Path:
    """`runs/NAME-TIME`, or the first of `-2`, `-3`, ... that does not exist; not made yet."""
    wanted = Path("runs") / f"{name}-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    return next(folder for folder in _numbered(wanted) if not folder.exists())


def make_new_folder(wanted: Path) -> Path:
    """Make a folder of this name, or of the first of `-2`, `-3`, ... that nobody has taken.

    However many ask for the same name at once, each gets a folder of its own.
    """
    for folder in _numbered(wanted):
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError  # the numbers do not end


def _numbered(wanted: Path) -> Iterator[Path]:
    yield wanted
    yield from (wanted.with_name(f"{wanted.name}-{number}") for number in count(2))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    with open_atomically(path) as file:
        file.write(content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when it is closed, and vanishes if an error occurs before.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
