"""What the tests of data sets share: small data, a folder of images, a server, an empty cache."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lenet_bench.datasets import Dataset, Split, cache, load


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digits(**changes: Any) -> Dataset:
    arguments: dict[str, Any] = {"name": "digits", "validation_size": 200, "split_seed": 0}
    return load(**arguments | changes)


def fake(**changes: Any) -> Dataset:
    arguments: dict[str, Any] = {"name": "fake", "images": 100, "size": 16}
    return load(**arguments | {"validation_size": 20, "split_seed": 0} | changes)


def rows(split: Split) -> list[bytes]:
    return [bytes(image.numpy().tobytes()) for image in split.images]


def counts(split: Split, classes: int) -> list[int]:
    return torch.bincount(split.labels, minlength=classes).tolist()


def picture(seed: int, height: int = 16, width: int = 16) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of ten 16x16 PNG images each for training, two each for testing."""
    root = tmp_path / "images"
    seed = 0
    for split, count in (("train", 10), ("test", 2)):
        for name in ("cat", "dog", "eel"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(picture(seed)).save(root / split / name / f"{index}.png")
                seed += 1
    return root


def from_folder(root: Path, **changes: Any) -> Dataset:
    arguments: dict[str, Any] = {"name": "image_folder", "root": root, "size": 16}
    return load(**arguments | {"validation_size": 6, "split_seed": 0} | changes)


def cache_file(root: Path) -> Path:
    """Where the images of `from_folder` are kept."""
    path = cache.location(root, 16)
    assert path
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An item for each file that was decoded so far."""
    opened: list[str] = []
    lock = threading.Lock()
    original = Image.open

    def spy(file: Any, *args: Any, **kwargs: Any) -> Image.Image:
        with lock:
            opened.append(str(file))
        return original(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", spy)
    return opened


@dataclass
class Server:
    """What the server gives, what it was asked for, and how it misbehaves."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    break_off: bool = False  # send half of what was announced
    stall: threading.Event | None = None  # send half, then wait for it


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on this machine; yields the address."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away is part of the tests

    http = Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = len(content) // 2
            self.wfile.write(content[:half])
            if state.break_off:
                return
            if state.stall:
                self.wfile.flush()
                state.stall.wait(20)
            self.wfile.write(content[half:])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as address:
        state.address = address
        yield state
        if state.stall:
            state.stall.set()
