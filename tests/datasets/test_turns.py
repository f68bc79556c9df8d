"""A process that waits for another one's download or decoding says so at once, on stderr."""

from __future__ import annotations

import selectors
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10

from tests.datasets.conftest import Server, cache_file, from_folder
from tests.datasets.test_download import loader, serve_cifar, wait_for_request

pytestmark = pytest.mark.integration
Process = subprocess.Popen[str]


@pytest.fixture
def ended() -> Iterator[ExitStack]:
    """Processes to kill when the test is over, however it ends."""
    with ExitStack() as stack:
        yield stack


def kill(process: Process) -> None:
    process.kill()
    process.communicate()


def first_line_of_stderr(process: Process) -> str:
    """The line, as soon as it is there; a process that stays silent fails the test."""
    assert process.stderr
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        assert selector.select(timeout=60), "it waits without a word"
    return process.stderr.readline()


def decoder(root: Path, go: Path, opened: Path) -> Process:
    """Start a process that loads a folder; each image that it opens waits for the file `go`."""
    script = f"""
        import time
        from pathlib import Path
        from PIL import Image
        original = Image.open
        def wait_and_open(path, *args, **kwargs):
            with open({str(opened)!r}, "a") as file:
                file.write("opened\\n")
            while not Path({str(go)!r}).exists():
                time.sleep(0.02)
            return original(path, *args, **kwargs)
        Image.open = wait_and_open
        from lenet_bench.datasets import load
        root = Path({str(root)!r})
        data = load(name="image_folder", root=root, size=16, validation_size=6, split_seed=0)
        print(data.fingerprint)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_who_waits_for_decoding_says_so_and_decodes_nothing(
    folder: Path, tmp_path: Path, ended: ExitStack
) -> None:
    go, opened = tmp_path / "go", [tmp_path / "first", tmp_path / "second"]
    first = decoder(folder, go, opened[0])
    ended.callback(kill, first)
    wait_for(opened[0])
    second = decoder(folder, go, opened[1])
    ended.callback(kill, second)
    lock_file = cache_file(folder).with_suffix(".lock")
    assert first_line_of_stderr(second) == (
        "dataset image_folder: waiting for another process that is decoding the images of "
        f"{folder} (it holds the lock {lock_file})\n"
    )
    assert second.poll() is None
    go.touch()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [output for output, _ in outputs] == [f"{from_folder(folder).fingerprint}\n"] * 2
    assert [errors for _, errors in outputs] == ["", ""]
    assert len(opened[0].read_text().splitlines()) == 36
    assert not opened[1].exists()
    assert not lock_file.exists()


def test_nobody_waits_for_a_decoder_that_was_killed(
    folder: Path, tmp_path: Path, ended: ExitStack, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = tmp_path / "opened"
    process = decoder(folder, tmp_path / "go", opened)
    ended.callback(kill, process)
    wait_for(opened)
    kill(process)
    assert len(from_folder(folder).train) == 24
    assert capfd.readouterr().err == ""


def test_who_waits_for_a_download_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: ExitStack
) -> None:
    serve_cifar(server, monkeypatch, CIFAR10, "labels")
    server.stall = threading.Event()
    first = loader(tmp_path)
    ended.callback(kill, first)
    wait_for_request(server)
    second = loader(tmp_path)
    ended.callback(kill, second)
    assert first_line_of_stderr(second) == (
        f"dataset cifar10: waiting for another process that is downloading into {tmp_path} "
        f"(it holds the lock {tmp_path / '.download.lock'})\n"
    )
    assert [process.poll() for process in (first, second)] == [None, None]
    server.stall.set()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert len({output for output, _ in outputs}) == 1
    assert len(server.asked) == 1
