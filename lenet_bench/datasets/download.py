"""Fetching the archives of a data set: once, whole, verified, and unpacked.

In: names, addresses and MD5 sums of archives (torchvision's). Out: their content in a folder.
Torchvision's own download writes to the final name, without a time limit, so that an interrupted
one leaves a partial file behind and a dead network hangs; here nothing has its final name before
it is whole and verified. Processes that need the same data set at once take turns.
"""

from __future__ import annotations

import http.client
import logging
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from filelock import FileLock, Timeout
from rich.progress import DownloadColumn
from torchvision.datasets.utils import calculate_md5, check_integrity, extract_archive

from lenet_bench.common.errors import DatasetError
from lenet_bench.datasets.progress import progress_bar

_log = logging.getLogger(__name__)

# Seconds without a connection, or without a byte on it, after which the network counts as absent.
TIMEOUT = 10
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Archive:
    """A file to fetch from the first of `urls` that gives it, and the MD5 sum it must have."""

    filename: str
    urls: tuple[str, ...]
    md5: str


class _TransferError(Exception):
    """One address did not give the file; another may."""


def obtain(dataset: str, archives: Sequence[Archive], folder: Path) -> None:
    """Bring the content of `archives` into `folder`, using the archives that lie there already.

    Raises:
        DatasetError: an archive cannot be fetched, verified, unpacked or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            for archive in archives:
                _fetch(dataset, archive, folder)
                _unpack(folder / archive.filename, folder)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DatasetError(
            f"dataset {dataset}: cannot store it in {folder} ({error}): free some space there or "
            "name another folder with dataset.root"
        ) from error


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".download.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("waiting for another process that is downloading into %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(dataset: str, archive: Archive, folder: Path) -> None:
    final = folder / archive.filename
    if check_integrity(final, archive.md5):
        return
    if final.exists():
        _log.warning(
            "%s is truncated or damaged (its MD5 sum is not %s): fetching it again",
            final,
            archive.md5,
        )
    part = final.with_name(f"{archive.filename}.part")
    problems = []
    for url in archive.urls:
        try:
            _transfer(dataset, url, part, archive.md5)
        except _TransferError as error:
            problems.append(f"{urlparse(url).netloc}: {error}")
        else:
            part.replace(final)
            return
        finally:
            part.unlink(missing_ok=True)
    raise DatasetError(
        f"dataset {dataset}: cannot download {archive.filename} ({'; '.join(problems)}). Try again "
        f"later, or put a copy of it, from {archive.urls[0]}, into {folder.resolve()}; or use "
        "dataset=digits, which needs no network, or dataset=image_folder dataset.root=DIR"
    )


def _transfer(dataset: str, url: str, part: Path, md5: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "lenet-bench"})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(f"{getattr(error, 'reason', None) or error}") from error
    with response, part.open("wb") as file, progress_bar(DownloadColumn()) as bar:
        total = response.length
        size = f" ({total / 1e6:,.1f} MB)" if total else ""
        _log.info("dataset %s: downloading %s%s", dataset, url, size)
        task = bar.add_task(f"downloading {dataset}", total=total)
        received = 0
        while chunk := _read(response, received):
            file.write(chunk)
            received += len(chunk)
            bar.update(task, completed=received)
    if total is not None and received != total:
        raise _TransferError(f"the transfer broke off after {received:,} of {total:,} bytes")
    found = calculate_md5(part)
    if found != md5:
        raise _TransferError(f"the file it sent has the MD5 sum {found}, not {md5}; deleted")


def _read(response: http.client.HTTPResponse, received: int) -> bytes:
    # Only reading is guarded here: a failure to write is the disk's, not the network's.
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(
            f"the transfer broke off after {received:,} bytes ({error})"
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as scratch:
        extract_archive(archive, scratch)
        for path in sorted(Path(scratch).rglob("*")):
            target = folder / path.relative_to(scratch)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.replace(target)
