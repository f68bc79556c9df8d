"""A CSV that grows while a run trains: whole blocks are appended, and it can be cut back.

In: rows. Out: a file that holds every block that was appended, and no part of another. It is never
truncated on opening, and no descriptor stays open between two blocks: a stack may have hundreds of
runs.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lenet_bench.common.files import write_atomically
from lenet_bench.common.regular_files import open_regular


class Mark(NamedTuple):
    """How far a table had grown at some time.

    Attributes:
        rows: Without the header.
        bytes: Its length.
        sha256: Of these bytes.
    """

    rows: int
    bytes: int
    sha256: str


class GrowingTable:
    """One CSV file.

    Args:
        path: The file; nothing is done to it before `begin` or `go_on`.
        columns: Its header.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._columns = columns
        self._rows = self._bytes = 0
        self._hash = hashlib.sha256()

    @property
    def mark(self) -> Mark:
        """How far it has grown."""
        return Mark(self._rows, self._bytes, self._hash.hexdigest())

    def begin(self) -> None:
        """Make the file anew, with its header only; whoever has an old one open keeps that."""
        header = _text([self._columns])
        write_atomically(self._path, header, sync=False)
        self._rows, self._bytes, self._hash = 0, len(header), hashlib.sha256(header)

    def holds(self, mark: Mark) -> bool:
        """Whether the file begins with what it held then."""
        try:
            return hashlib.sha256(self._beginning(mark.bytes)).hexdigest() == mark.sha256
        except OSError:
            return False

    def go_on(self, mark: Mark) -> None:
        """Cut off what was appended after the mark, whole rows or a part of one, and grow on."""
        self._hash = hashlib.sha256(self._beginning(mark.bytes))
        self._rows, self._bytes = mark.rows, mark.bytes
        if self._path.stat().st_size != mark.bytes:
            os.truncate(self._path, mark.bytes)

    def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Append rows and pass them to the operating system at once: all of them, or none.

        Floats are written by `repr`: the shortest text that is read back as the same float64.

        Raises:
            OSError: They cannot be written, or somebody else has changed the file.
        """
        rows = list(rows)
        block = _text(rows)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != self._bytes:
                raise OSError(errno.ESTALE, "another program has changed it", str(self._path))
            self._write(descriptor, block)
        finally:
            os.close(descriptor)
        self._hash.update(block)
        self._rows += len(rows)
        self._bytes += len(block)

    def _write(self, descriptor: int, block: bytes) -> None:
        left = memoryview(block)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except BaseException as error:
            os.ftruncate(descriptor, self._bytes)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self._path)) from None
            raise

    def _beginning(self, size: int) -> bytes:
        with open_regular(self._path) as file:
            return file.read(min(size, os.fstat(file.fileno()).st_size))


def _text(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
