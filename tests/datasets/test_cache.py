"""The cache of decoded folders: never stale, never trusted, never in the way."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_bench.choices.image_files import scan
from lenet_bench.datasets import cache
from tests.datasets.conftest import cache_file, from_folder, picture, rows
from tests.faults import small_disk


@pytest.fixture(autouse=True)
def warnings_are_new() -> Iterator[None]:
    """What is said once a process is said once a test."""
    yield
    cache._warn_once.cache_clear()


def padded(seed: int) -> bytes:
    """A picture as a file of 2,000 bytes, whatever it shows."""
    content = io.BytesIO()
    Image.fromarray(picture(seed)).save(content, "PNG")
    return content.getvalue().ljust(2000)


def holds(root: Path, seed: int) -> bool:
    """Whether the picture is among the images."""
    data = from_folder(root)
    return picture(seed).transpose(2, 0, 1).tobytes() in rows(data.train) + rows(data.validation)


def overwrite(path: Path, seed: int) -> None:
    with path.open("r+b") as file:
        file.write(padded(seed))


def replace(path: Path, seed: int) -> None:
    other = path.with_name("other")
    other.write_bytes(padded(seed))
    other.replace(path)


@pytest.mark.parametrize("change", [overwrite, replace])
@pytest.mark.parametrize("wait", [0, 0.05])
def test_same_size_and_time_is_not_the_same_image(
    folder: Path, change: Callable[[Path, int], None], wait: float
) -> None:
    """Whoever sets the time back: the image is decoded again; also right after it was decoded."""
    path = folder / "train/cat/0.png"
    path.write_bytes(padded(500))
    os.utime(path, ns=(0, 10**18))
    prints = [from_folder(folder).fingerprint]
    assert holds(folder, 500)
    for seed in (501, 502, 500):
        time.sleep(wait)
        change(path, seed)
        os.utime(path, ns=(0, 10**18))
        assert holds(folder, seed)
        prints.append(from_folder(folder).fingerprint)
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]


def test_the_time_of_change_of_the_inode_is_seen(folder: Path) -> None:
    """The content of files that were old when they were decoded is not compared."""
    path = folder / "train/cat/0.png"
    path.write_bytes(padded(500))
    os.utime(path, ns=(0, 10**18))
    later = time.time_ns() + 10**10
    before = cache.key(folder, 16, scan(folder).files, later)
    assert cache.key(folder, 16, scan(folder).files, later) == before
    time.sleep(0.05)
    overwrite(path, 501)
    os.utime(path, ns=(0, 10**18))
    assert cache.key(folder, 16, scan(folder).files, later) != before


def test_a_change_within_a_tick_of_the_clock_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes at the same time by the clock: the content of recent files decides."""
    path = folder / "train/cat/0.png"
    path.write_bytes(padded(500))
    now = time.time_ns()
    before = cache.key(folder, 16, scan(folder).files, now)
    status = path.stat()
    overwrite(path, 501)

    class SameStatus:
        """The file's entry, on a clock that stood still."""

        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.path, self.entry = entry.path, entry

        def stat(self) -> os.stat_result:
            return status if self.path == str(path) else self.entry.stat()

    files: Any = [SameStatus(entry) for entry in scan(folder).files]
    assert cache.key(folder, 16, files, now) != before
    overwrite(path, 500)
    assert cache.key(folder, 16, files, now) == before


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    line, pixels = path.read_bytes().split(b"\n", 1)
    return json.loads(line), pixels


def forge(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        header, pixels = header_of(path)
        path.write_bytes(json.dumps(header | changes).encode() + b"\n" + pixels)

    return change


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def give_away(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, 65534)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


HOSTILE: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'exit 1'\ntR."), "is damaged"),
    (lambda path: path.write_bytes(b"[" * 4000), "is damaged"),
    (lambda path: path.write_bytes(b"9" * 4000), "is damaged"),
    (lambda path: path.write_bytes(b"null\n"), "is damaged"),
    (lambda path: path.write_bytes(bytes(10_000)), "is damaged"),
    (forge(shape=[36, 3, 2**40, 16]), "its images have another shape"),
    (forge(shape=[35, 3, 16, 16]), "its images have another shape"),
    (forge(shape=[36, 2, 16, 16]), "its images have another shape"),
    (forge(shape=[36, -3, -16, 16]), "its images have another shape"),
    (forge(shape=[36, "3", 16, 16]), "its images have another shape"),
    (forge(shape=[36, 1, 16, 16]), "its size is wrong"),
    (forge(crc32=1), "its checksum is wrong"),
    (append, "its size is wrong"),
    (replace_by_pipe, "a named pipe (FIFO), not a file"),
    (give_away, "it belongs to another user"),
]


@pytest.mark.parametrize(("change", "reason"), HOSTILE)
def test_a_hostile_cache_is_not_used(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    decoded: list[str],
    change: Callable[[Path], object],
    reason: str,
) -> None:
    first = from_folder(folder)
    path = cache_file(folder)
    change(path)
    decoded.clear()
    again = from_folder(folder)
    assert again.fingerprint == first.fingerprint
    assert torch.equal(again.train.images, first.train.images)
    assert len(decoded) == 36
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"the cache {path} is damaged (")
    assert reason in message
    assert message.endswith(f": decoding {folder} again")
    from_folder(folder)
    assert len(decoded) == 36  # the damaged one was replaced


def test_a_cache_of_another_content_is_outdated(folder: Path, decoded: list[str]) -> None:
    from_folder(folder)
    forge(key="0" * 64)(cache_file(folder))
    decoded.clear()
    from_folder(folder)
    assert len(decoded) == 36


def test_what_is_kept_is_private(folder: Path, cache_home: Path) -> None:
    before = os.umask(0)
    try:
        from_folder(folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE((cache_home / "lenet-bench" / "images").stat().st_mode) == 0o700


def test_the_cache_file_says_what_it_holds(folder: Path) -> None:
    from_folder(folder)
    header, pixels = header_of(cache_file(folder))
    expected = np.concatenate([picture(seed).transpose(2, 0, 1).reshape(-1) for seed in range(36)])
    assert pixels == expected.tobytes()
    assert header["shape"] == [36, 3, 16, 16]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_without_a_home_folder_there_is_no_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No HOME, and a user that the system does not know: said once, however many are read."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    for size in (16, 20):
        assert len(from_folder(folder, size=size).train) == 24
    assert said(caplog) == [
        "there is no home folder to keep decoded images in: going on without the cache; "
        "XDG_CACHE_HOME can name a folder for it"
    ]


def test_a_relative_cache_folder_is_passed_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its specification asks for; nothing is written where the command happens to run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    from_folder(folder)
    assert not (tmp_path / "relative").exists()
    assert cache_file(folder).is_relative_to(tmp_path / "home" / ".cache")
    assert cache_file(folder).exists()


def test_a_folder_in_the_place_of_the_cache(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = from_folder(folder)
    replace_by_folder(cache_file(folder))
    assert from_folder(folder).fingerprint == first.fingerprint
    assert len(said(caplog)) == 2  # it cannot be read, and not be written


def test_a_full_disk_costs_the_cache_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "small", "12k") as place:
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        assert len(from_folder(folder).train) == 24
        assert said(caplog) == [
            f"cannot keep the decoded images in {cache_file(folder)} (No space left on device): "
            "going on without the cache"
        ]
        assert [path for path in place.rglob("*") if path.is_file()] == []


def test_many_processes_at_once(folder: Path, cache_home: Path) -> None:
    """All get the same images, one file stays."""
    context = multiprocessing.get_context("fork")
    start, prints = context.Barrier(4), context.SimpleQueue()

    def load_at_once() -> None:
        start.wait(30)
        prints.put(from_folder(folder).fingerprint)

    processes = [context.Process(target=load_at_once) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert {prints.get() for _ in processes} == {from_folder(folder).fingerprint}
    files = [path.name for path in cache_home.rglob("*") if path.is_file()]
    assert files == [cache_file(folder).name]
