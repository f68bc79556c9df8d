"""Where commands write: new folders, and files that are either complete or not there."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import BinaryIO

_PART = ".part"  # the end of the names of files that are being written


def home_expanded(path: Path) -> Path:
    """Replace a leading `~` by the home folder; as a shell does, leave one that is not known."""
    with contextlib.suppress(RuntimeError):
        return path.expanduser()
    return path


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


def write_atomically(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Args:
        path: The file.
        content: All of it.
        sync: Wait until it is on the disk, so that even a power cut leaves the old or the new one.
            Without, that holds as long as the operating system lives.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    with open_atomically(path, sync=sync) as file:
        file.write(content)


@contextmanager
def open_atomically(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when it is closed, and vanishes if an error occurs before.

    Args:
        path: The file.
        sync: As in `write_atomically`.

    Raises:
        OSError: It cannot be written; the old one is still there. It names `path`.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # its folder may be gone
            Path(temporary).unlink(missing_ok=True)
        # A write that failed does not know it; nobody knows the temporary name.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename, error.filename2 = str(path), None
        raise
    if sync:
        sync_to_disk(path.parent)


def write_json(path: Path, content: object, *, sync: bool = True) -> bytes:
    """Write JSON that people can read, as `write_atomically` does; equal content, equal bytes.

    Returns:
        What the file holds now.
    """
    written = (json.dumps(content, indent=2) + "\n").encode()
    write_atomically(path, written, sync=sync)
    return written


def digest_of_files(files: Iterable[tuple[Path, Path]]) -> str:
    """Sixteen hexadecimal digits that tell files from all others.

    Args:
        files: Pairs of a folder and a file in it; the path from the folder counts, too.

    Raises:
        OSError: One of them cannot be read.
    """
    digest = hashlib.sha256()
    for folder, file in files:
        digest.update(str(file.relative_to(folder)).encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove what atomic writes of a file left behind when their process was killed.

    Only whoever is the one writer of the file may do that.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{_PART}"):
        leftover.unlink(missing_ok=True)
