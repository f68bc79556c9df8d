"""Unpacks downloaded archives, tar.gz and gz, without leaving their folder or filling the disk.

In: an archive, which has been verified, and a folder. Out: its files in the folder. An archive that
holds anything but files and folders below its root, or too much of them, is refused as a whole.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
from gzip import GzipFile
from pathlib import Path, PurePosixPath, PureWindowsPath

from lenet_bench.common.errors import DatasetError
from lenet_bench.common.text import printable

MAX_BYTES = 10**9  # of everything in an archive; CIFAR has 186 MB
MAX_MEMBERS = 10_000


class _Bounded:
    """A stream that ends with an error when it gives more than `MAX_BYTES`.

    A few kilobytes of gzip can hold gigabytes, also where tar has its lists of names.
    """

    def __init__(self, stream: GzipFile, archive: Path) -> None:
        self._stream = stream
        self._archive = archive
        self._left = MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        """Read as a file does."""
        content = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise _refusal(self._archive, f"it holds more than {MAX_BYTES:,} bytes")
        return content


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive; its files appear in the folder only when all are there.

    Raises:
        DatasetError: The archive is refused.
        OSError: It cannot be read, or the files cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as scratch:
        with gzip.open(archive) as stream:
            plain = _Bounded(stream, archive)
            if archive.name.endswith((".tar.gz", ".tgz")):
                _unpack_tar(plain, archive, Path(scratch))
            else:
                with (Path(scratch) / archive.stem).open("xb") as file:
                    shutil.copyfileobj(plain, file)
        for path in sorted(Path(scratch).rglob("*")):
            target = folder / path.relative_to(scratch)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.replace(target)


def _unpack_tar(plain: _Bounded, archive: Path, scratch: Path) -> None:
    with tarfile.open(fileobj=plain, mode="r|") as members:  # type: ignore[call-overload]
        for number, member in enumerate(members):
            name = printable(member.name)
            if number >= MAX_MEMBERS:
                raise _refusal(archive, f"it holds more than {MAX_MEMBERS:,} files")
            if not (member.isreg() or member.isdir()):
                raise _refusal(archive, f"{name} in it is a link or a device")
            if _leaves(member.name):
                raise _refusal(archive, f"{name} in it lies outside of its folder")
            path = scratch / member.name
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            if member.size > MAX_BYTES:
                raise _refusal(archive, f"it holds more than {MAX_BYTES:,} bytes")
            content = members.extractfile(member)
            if content is None:
                raise _refusal(archive, f"{name} in it is no file")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)


def _leaves(name: str) -> bool:
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.is_absolute() or path.drive or ".." in path.parts for path in kinds)


def _refusal(archive: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"{printable(archive)}: not unpacked, because {reason}; delete this archive"
    )
