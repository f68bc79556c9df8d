"""Downloaded data sets, from a server on this machine with tiny archives of the true format."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

from lenet_bench.datasets import Dataset, DatasetError, download, load
from tests.datasets.conftest import Server

RNG = np.random.default_rng(0)
CIFAR_TRAIN = RNG.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
CIFAR_TEST = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
MNIST_TRAIN = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
MNIST_TEST = RNG.integers(0, 256, (10, 28, 28), dtype=np.uint8)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def batch(images: NDArray[np.uint8], key: str) -> bytes:
    labels = [index % 3 for index in range(len(images))]
    return pickle.dumps({"data": images.reshape(len(images), -1), key: labels})


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def serve_cifar(server: Server, patch: pytest.MonkeyPatch, kind: Any, key: str) -> bytes:
    """Let `kind`, CIFAR10 or CIFAR100, be a tiny archive on the server; return the archive."""
    train, test = batch(CIFAR_TRAIN, key), batch(CIFAR_TEST, key)
    meta = pickle.dumps({kind.meta["key"]: ["ant", "bee", "cow"]})
    files = {"a": train, "b": test, kind.meta["filename"]: meta}
    archive = tar({f"{kind.base_folder}/{name}": content for name, content in files.items()})
    server.files["/" + kind.filename] = archive
    patch.setattr(kind, "url", f"{server.address}/{kind.filename}")
    patch.setattr(kind, "tgz_md5", md5(archive))
    patch.setattr(kind, "train_list", [["a", md5(train)]])
    patch.setattr(kind, "test_list", [["b", md5(test)]])
    patch.setattr(kind, "meta", kind.meta | {"md5": md5(meta)})
    return archive


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def serve_mnist(server: Server, patch: pytest.MonkeyPatch, kind: Any) -> dict[str, bytes]:
    """Let `kind`, MNIST or FashionMNIST, be tiny archives on the server; return them by name."""
    labels = [(np.arange(n) % 10).astype(np.uint8) for n in (len(MNIST_TRAIN), len(MNIST_TEST))]
    arrays = (MNIST_TRAIN, labels[0], MNIST_TEST, labels[1])
    names = [name for name, _ in kind.resources]
    archives = dict(zip(names, (gzip.compress(idx(array)) for array in arrays), strict=True))
    server.files |= {f"/{kind.__name__}/{name}": content for name, content in archives.items()}
    patch.setattr(
        kind, "mirrors", [f"{server.address}/absent/", f"{server.address}/{kind.__name__}/"]
    )
    patch.setattr(kind, "resources", [(name, md5(archives[name])) for name in names])
    return archives


def cifar10(root: Path) -> Dataset:
    return load(name="cifar10", root=root, validation_size=6, split_seed=0)


def images_of(data: Dataset) -> list[bytes]:
    both = torch.cat([data.train.images, data.validation.images])
    return sorted(image.numpy().tobytes() for image in both)


def files_in(root: Path) -> set[str]:
    """All files but the lock, which may stay behind."""
    paths = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(root)) for path in paths}


@pytest.fixture
def archive(server: Server, monkeypatch: pytest.MonkeyPatch) -> bytes:
    return serve_cifar(server, monkeypatch, CIFAR10, "labels")


CIFAR_FILES = {
    CIFAR10.filename,
    *(f"{CIFAR10.base_folder}/{name}" for name in ("a", "b", CIFAR10.meta["filename"])),
}


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [("cifar10", CIFAR10, "labels"), ("cifar100", CIFAR100, "fine_labels")],
)
def test_cifar_is_downloaded_once(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    kind: Any,
    key: str,
) -> None:
    serve_cifar(server, monkeypatch, kind, key)
    root = tmp_path / "made" / "when missing"
    data = load(name=name, root=root, validation_size=6, split_seed=0)
    assert server.asked == ["/" + kind.filename]
    assert data.classes == ("ant", "bee", "cow")
    assert len(data.train) == 24
    assert images_of(data) == sorted(image.tobytes() for image in CIFAR_TRAIN)
    assert data.test
    assert np.array_equal(data.test.images.numpy(), CIFAR_TEST)
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert not any(file.endswith(".part") for file in files_in(root))

    monkeypatch.setattr(urllib.request, "urlopen", None)  # any use of the network would fail
    again = load(name=name, root=root, validation_size=6, split_seed=0)
    assert again.fingerprint == data.fingerprint


def test_images_of_another_size_are_resized(archive: bytes, tmp_path: Path) -> None:
    data = load(name="cifar10", root=tmp_path, size=48, validation_size=6, split_seed=0)
    assert data.train.images.shape == (24, 3, 48, 48)
    assert data.train.images.dtype == torch.uint8


@pytest.mark.parametrize(("name", "kind"), [("mnist", MNIST), ("fashion_mnist", FashionMNIST)])
def test_mnist_is_padded_to_lenets_input(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: Any
) -> None:
    serve_mnist(server, monkeypatch, kind)
    data = load(name=name, root=tmp_path, validation_size=10, split_seed=0)
    assert data.test
    assert data.train.images.shape == (20, 1, 32, 32)
    assert np.array_equal(data.test.images[:, 0, 2:30, 2:30].numpy(), MNIST_TEST)
    border = data.test.images.clone()
    border[:, :, 2:30, 2:30] = 0
    assert not border.any()
    assert data.test.labels.tolist() == list(range(10))
    assert data.classes == tuple(kind.classes)
    # The first mirror lacks every file, the second gives it.
    assert len(server.asked) == 8

    monkeypatch.setattr(urllib.request, "urlopen", None)
    assert load(name=name, root=tmp_path, validation_size=10, split_seed=0).test


def test_a_truncated_mnist_file_is_restored_from_its_archive(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    serve_mnist(server, monkeypatch, MNIST)
    whole = load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)
    server.asked.clear()
    raw = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:5000])
    with caplog.at_level(logging.WARNING):
        again = load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)
    assert again.fingerprint == whole.fingerprint
    assert server.asked == []
    assert "train-images-idx3-ubyte is incomplete or damaged" in caplog.text


def test_mnist_labels_must_belong_to_the_images(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve_mnist(server, monkeypatch, MNIST)
    load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(29, np.uint8)))
    with pytest.raises(DatasetError, match=r"raw holds 30 images with 29 labels"):
        load(name="mnist", root=tmp_path, validation_size=10, split_seed=0)


def test_an_archive_put_there_by_hand_is_used(
    server: Server, archive: bytes, tmp_path: Path
) -> None:
    (tmp_path / CIFAR10.filename).write_bytes(archive)
    assert len(cifar10(tmp_path).train) == 24
    assert server.asked == []


def test_a_truncated_archive_is_told_and_fetched_again(
    server: Server, archive: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / CIFAR10.filename).write_bytes(archive[:-100])
    with caplog.at_level(logging.WARNING):
        assert len(cifar10(tmp_path).train) == 24
    assert f"{CIFAR10.filename} is truncated or damaged" in caplog.text
    assert server.asked == ["/" + CIFAR10.filename]
    assert (tmp_path / CIFAR10.filename).read_bytes() == archive


def test_a_damaged_batch_is_restored(
    server: Server, archive: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = cifar10(tmp_path)
    damaged = tmp_path / CIFAR10.base_folder / "a"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert cifar10(tmp_path).fingerprint == whole.fingerprint
    assert "incomplete or damaged" in caplog.text
    assert len(server.asked) == 1


def failure(root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        cifar10(root)
    message = str(caught.value)
    assert "\n" not in message
    # Every failed download says how to go on.
    for word in (CIFAR10.filename, str(root), "dataset=digits", "dataset=image_folder"):
        assert word in message
    return message


def test_a_wrong_hash_is_deleted_and_told(server: Server, archive: bytes, tmp_path: Path) -> None:
    other = archive[:-1] + bytes([archive[-1] ^ 1])
    server.files["/" + CIFAR10.filename] = other
    message = failure(tmp_path)
    assert f"MD5 sum {md5(other)}, not {md5(archive)}; deleted" in message
    assert files_in(tmp_path) == set()


def test_a_broken_off_transfer_leaves_nothing_and_can_be_repeated(
    server: Server, archive: bytes, tmp_path: Path
) -> None:
    server.break_off = True
    size = len(archive)
    assert f"broke off after {size // 2:,} of {size:,} bytes" in failure(tmp_path)
    assert files_in(tmp_path) == set()
    server.break_off = False
    assert len(cifar10(tmp_path).train) == 24
    assert files_in(tmp_path) == CIFAR_FILES


def test_a_file_the_server_lacks(server: Server, archive: bytes, tmp_path: Path) -> None:
    server.files.clear()
    assert "Not Found" in failure(tmp_path)


def test_no_server(
    server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:1/{CIFAR10.filename}")
    start = time.monotonic()
    assert "Connection refused" in failure(tmp_path)
    assert time.monotonic() - start < 5


def test_a_silent_server_is_given_up(
    server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    server.stall = threading.Event()
    assert "timed out" in failure(tmp_path)
    assert files_in(tmp_path) == set()


def test_a_folder_that_cannot_be_made(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot store it in .*file.*dataset\.root"):
        cifar10(tmp_path / "file")


def loader(root: Path) -> subprocess.Popen[str]:
    """Start another process that loads the tiny CIFAR-10 and prints its fingerprint."""
    names = ("url", "tgz_md5", "train_list", "test_list", "meta")
    script = f"""
        from torchvision.datasets import CIFAR10
        for name, value in { ({name: getattr(CIFAR10, name) for name in names})!r}.items():
            setattr(CIFAR10, name, value)
        from lenet_bench.datasets import load
        data = load(name="cifar10", root={str(root)!r}, validation_size=6, split_seed=0)
        print(data.fingerprint)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_request(server: Server) -> None:
    deadline = time.monotonic() + 30
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.asked


@pytest.mark.integration
def test_two_processes_at_once_download_one_whole_file(
    server: Server, archive: bytes, tmp_path: Path
) -> None:
    server.stall = threading.Event()
    processes = [loader(tmp_path), loader(tmp_path)]
    wait_for_request(server)
    time.sleep(1)  # the other one has time to get in the way
    server.stall.set()
    prints = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert prints == {cifar10(tmp_path).fingerprint + "\n"}
    assert len(server.asked) == 1
    assert files_in(tmp_path) == CIFAR_FILES


def test_an_interrupted_download_starts_afresh(
    server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path) -> str:
        assert files_in(tmp_path) == {f"{CIFAR10.filename}.part"}
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "calculate_md5", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cifar10(tmp_path)
    assert files_in(tmp_path) == set()
    assert len(cifar10(tmp_path).train) == 24


@pytest.mark.integration
def test_a_killed_download_starts_afresh(server: Server, archive: bytes, tmp_path: Path) -> None:
    server.stall = threading.Event()
    process = loader(tmp_path)
    wait_for_request(server)
    process.kill()
    process.communicate(timeout=60)
    assert not files_in(tmp_path) & CIFAR_FILES
    server.stall.set()
    assert len(cifar10(tmp_path).train) == 24
    assert files_in(tmp_path) == CIFAR_FILES
