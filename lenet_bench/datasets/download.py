"""Downloads the archives of a data set once, verifies them and unpacks them.

In: names, addresses and MD5 sums of archives, as torchvision lists them. Out: their content in a
folder. A file gets its final name only after its MD5 sum has been verified, so an interrupted
download leaves no partial file behind. A silent network is given up after `TIMEOUT` seconds.
Torchvision's own download does neither. Processes that need the same data set take turns.
"""

from __future__ import annotations

import http.client
import logging
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from rich.progress import DownloadColumn
from torchvision.datasets.utils import calculate_md5, check_integrity

from lenet_bench.common.errors import DatasetError
from lenet_bench.common.text import printable
from lenet_bench.datasets.progress_bar import progress_bar
from lenet_bench.datasets.turns import take_turn
from lenet_bench.datasets.unpacking import unpack

_log = logging.getLogger(__name__)

TIMEOUT = 10  # seconds to wait for a connection, and for each next byte
SLOWEST = 1_000  # bytes a second, on average; a slower server is given up after `PATIENCE`
PATIENCE = 60  # seconds
MAX_BYTES = 10**9  # of an archive; the largest, CIFAR's, have 170 MB
_CHUNK = 1 << 18  # bytes


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        filename: Its name, in the folder too.
        urls: Where it can be had; they are tried in this order.
        md5: The MD5 sum it must have.
    """

    filename: str
    urls: tuple[str, ...]
    md5: str


class _TransferError(Exception):
    """A URL did not deliver the file; the next one may."""


def download_and_unpack(dataset: str, archives: Sequence[Archive], folder: Path) -> None:
    """Unpack the archives into a folder; download those that are not there yet.

    Args:
        dataset: The name of the data set, for messages.
        archives: What to download.
        folder: Where the archives and their content go; made if missing.

    Raises:
        DatasetError: An archive cannot be downloaded, verified, unpacked or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with take_turn(folder / ".download.lock", dataset, f"downloading into {folder}"):
            for archive in archives:
                _ensure_archive(dataset, archive, folder)
                unpack(folder / archive.filename, folder)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DatasetError(
            f"dataset {dataset}: cannot store it in {folder} ({error}): free some space there or "
            "name another folder with dataset.root"
        ) from error


def _ensure_archive(dataset: str, archive: Archive, folder: Path) -> None:
    final = folder / archive.filename
    if check_integrity(final, archive.md5):
        return
    if final.exists():
        _log.warning(
            "%s is truncated or damaged (its MD5 sum is not %s): fetching it again",
            printable(final),
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
    # Addresses are written down in torchvision, and what arrives is checked against its MD5 sum.
    request = urllib.request.Request(url, headers={"User-Agent": "lenet-bench"})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise _TransferError(printable(reason)) from error
    with response, part.open("wb") as file, progress_bar(DownloadColumn()) as bar:
        total = response.length
        size = f" ({total / 1e6:,.1f} MB)" if total else ""
        _log.info("dataset %s: downloading %s%s", dataset, url, size)
        task = bar.add_task(f"downloading {dataset}", total=total)
        received, start = 0, time.monotonic()
        if total is not None and total > MAX_BYTES:
            raise _TransferError(f"it sends {total:,} bytes, more than the {MAX_BYTES:,} allowed")
        while chunk := _read_chunk(response, received):
            file.write(chunk)
            received += len(chunk)
            bar.update(task, completed=received)
            if received > MAX_BYTES:
                raise _TransferError(f"it sends more than the {MAX_BYTES:,} bytes allowed")
            seconds = time.monotonic() - start
            if seconds > PATIENCE and received < SLOWEST * seconds:
                raise _TransferError(f"too slow: {received:,} bytes in {seconds:.0f} s")
    if total is not None and received != total:
        raise _TransferError(f"the transfer broke off after {received:,} of {total:,} bytes")
    received_md5 = calculate_md5(part)
    if received_md5 != md5:
        raise _TransferError(f"the file it sent has the MD5 sum {received_md5}, not {md5}; deleted")


def _read_chunk(response: http.client.HTTPResponse, received: int) -> bytes:
    # Writing is not guarded here: when it fails, the disk is at fault and not the URL.
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(
            f"the transfer broke off after {received:,} bytes ({error})"
        ) from error
