"""Hostile archives, tampered files and servers that misbehave, in tiny data of the true format."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, MNIST

from lenet_bench.datasets import DatasetError, download, load, unpacking
from lenet_bench.datasets.unpacking import unpack
from tests.datasets.conftest import Server, serving
from tests.datasets.test_download import cifar10, idx, serve_cifar, serve_mnist


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE: list[tuple[tarfile.TarInfo, str]] = [
    (member("../outside"), "../outside in it lies outside of its folder"),
    (member("a/../../outside"), "a/../../outside in it lies outside of its folder"),
    (member("/etc/outside"), "/etc/outside in it lies outside of its folder"),
    (member("C:\\outside"), "C:\\outside in it lies outside of its folder"),
    (member("..\\outside"), "..\\outside in it lies outside of its folder"),
    (member("link", tarfile.SYMTYPE, "/etc"), "link in it is a link or a device"),
    (member("hard", tarfile.LNKTYPE, "/etc/passwd"), "hard in it is a link or a device"),
    (member("pipe", tarfile.FIFOTYPE), "pipe in it is a link or a device"),
    (member("zero", tarfile.CHRTYPE), "zero in it is a link or a device"),
    (member("disk", tarfile.BLKTYPE), "disk in it is a link or a device"),
    (member("\x1b[31m", tarfile.SYMTYPE, "x"), "\\x1b[31m in it is a link or a device"),
]


@pytest.mark.parametrize(("bad", "reason"), HOSTILE)
def test_a_hostile_archive_is_refused_as_a_whole(
    tmp_path: Path, bad: tarfile.TarInfo, reason: str
) -> None:
    folder = tmp_path / "below" / "data"
    folder.mkdir(parents=True)
    path = archive_of(folder / "a.tar.gz", (member("good"), b"good"), (bad, b""))
    with pytest.raises(DatasetError) as caught:
        unpack(path, folder)
    assert str(caught.value) == f"{path}: not unpacked, because {reason}; delete this archive"
    assert [each.name for each in tmp_path.rglob("*")] == ["below", "data", "a.tar.gz"]


def bomb(path: Path) -> Path:
    """A tar of one file of 64 MB."""
    return archive_of(path, (member("zeros"), bytes(1 << 26)))


def bomb_of_names(path: Path) -> Path:
    """A tar whose header, a list of attributes, has 64 MB: tarfile reads it at once."""
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "a" * (1 << 26)}
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    return path


def bomb_of_one_file(path: Path) -> Path:
    path = path.with_name("zeros.gz")
    path.write_bytes(gzip.compress(bytes(1 << 26)))
    return path


@pytest.mark.parametrize("make", [bomb, bomb_of_names, bomb_of_one_file])
def test_an_archive_does_not_grow_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "a.tar.gz")
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1_000_000)
    with pytest.raises(DatasetError) as caught:
        unpack(path, tmp_path)
    assert str(caught.value) == (
        f"{path}: not unpacked, because it holds more than 1,000,000 bytes; delete this archive"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive_of(tmp_path / "a.tar.gz", *((member(str(n)), b"") for n in range(30)))
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 20)
    with pytest.raises(DatasetError, match="it holds more than 20 files; delete this archive"):
        unpack(path, tmp_path)


# --- what lies on the disk ------------------------------------------------------------------------


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["a", "b", CIFAR10.meta["filename"]])
@pytest.mark.parametrize("with_archive", [True, False])
def test_a_pickle_with_another_hash_is_not_loaded(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    with_archive: bool,
) -> None:
    """Tampered with after it was unpacked: restored, or refused if the archive is gone too."""
    serve_cifar(server, monkeypatch, CIFAR10, "labels")
    root = tmp_path / "root"
    whole = cifar10(root).fingerprint
    pickled = root / CIFAR10.base_folder / name
    pickled.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    if with_archive:
        assert cifar10(root).fingerprint == whole
    else:
        (root / CIFAR10.filename).unlink()
        server.files.clear()
        with pytest.raises(DatasetError, match=f"cannot download {CIFAR10.filename}"):
            cifar10(root)
    assert not (tmp_path / "sprung").exists()


def test_an_archive_with_another_hash_is_not_unpacked(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve_cifar(server, monkeypatch, CIFAR10, "labels")
    server.files.clear()
    root = tmp_path / "root"
    root.mkdir()
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    archive_of(root / CIFAR10.filename, (member(f"{CIFAR10.base_folder}/a"), trap))
    with pytest.raises(DatasetError, match="cannot download"):
        cifar10(root)
    assert not (root / CIFAR10.base_folder).exists()
    assert not (tmp_path / "sprung").exists()


def test_old_files_of_torchvision_are_not_used_for_mnist(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`processed/*.pt`, which torchvision prefers to the archives that it has hashes of."""
    serve_mnist(server, monkeypatch, MNIST)
    whole = load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)
    old = tmp_path / "MNIST" / "processed"
    old.mkdir()
    for name in ("training.pt", "test.pt"):
        content = (torch.zeros(20, 28, 28, dtype=torch.uint8), torch.arange(20) % 10)
        torch.save(content, old / name)
    again = load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)
    assert again.fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train-labels-idx1-ubyte", np.full(30, 11, np.uint8)),
        ("train-images-idx3-ubyte", np.zeros((30, 14, 56), np.uint8)),
    ],
)
def test_mnist_of_other_shapes_or_classes_is_refused(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file: str,
    content: Any,
) -> None:
    serve_mnist(server, monkeypatch, MNIST)
    load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)
    raw = tmp_path / "MNIST" / "raw"
    (raw / file).write_bytes(idx(content))
    with pytest.raises(DatasetError) as caught:
        load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)
    assert str(caught.value) == (
        f"dataset mnist: {raw} holds other images or labels than those of mnist: delete this "
        "folder to have it fetched again"
    )


# --- servers --------------------------------------------------------------------------------------


@pytest.fixture
def misbehave(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let CIFAR-10's server answer with a function of the request's handler."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    answers: list[Callable[[BaseHTTPRequestHandler], None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers[0](self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as address:
        monkeypatch.setattr(CIFAR10, "url", f"{address}/{CIFAR10.filename}")
        yield answers.append


Request = BaseHTTPRequestHandler


def web_page(request: Request) -> None:
    page = b"<html>Please log in to this network</html>"
    request.send_response(200)
    request.send_header("Content-Length", str(len(page)))
    request.end_headers()
    request.wfile.write(page)


def redirect_for_ever(request: Request) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.end_headers()


def redirect_to_a_file(request: Request) -> None:
    request.send_response(302)
    request.send_header("Location", "file:///etc/passwd")
    request.end_headers()


def announce_too_much(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(10**15))
    request.end_headers()


def send_without_end(request: Request) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(1 << 16))


def drip(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b".")
        time.sleep(0.05)


def no_http(request: Request) -> None:
    request.wfile.write(b"\x1b[31m SSH-2.0-server\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (web_page, "the file it sent has the MD5 sum 257df8bf77"),
        (redirect_for_ever, "would lead to an infinite loop"),
        (redirect_to_a_file, "Found - Redirection to url 'file:///etc/passwd' is not allowed"),
        (
            announce_too_much,
            "it sends 1,000,000,000,000,000 bytes, more than the 1,000,000 allowed",
        ),
        (send_without_end, "it sends more than the 1,000,000 bytes allowed"),
        (drip, "too slow: "),
        (no_http, "\\x1b[31m SSH-2.0-server"),
    ],
)
def test_what_a_server_may_do_instead(
    misbehave: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: Callable[[Request], None],
    reason: str,
) -> None:
    """In one line that names the file; nothing stays; within the time limit."""
    misbehave(answer)
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    start = time.monotonic()
    with pytest.raises(DatasetError) as caught:
        cifar10(tmp_path / "root")
    message = str(caught.value)
    assert message.startswith(f"dataset cifar10: cannot download {CIFAR10.filename} (127.0.0.1:")
    assert reason in message
    assert message.isprintable()
    assert time.monotonic() - start < 5
    assert [path for path in (tmp_path / "root").iterdir() if path.suffix != ".lock"] == []
