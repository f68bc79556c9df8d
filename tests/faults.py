"""Real causes of faults for tests: a small disk, a system call that fails, a user without rights.

In: what shall go wrong. Out: a folder, or the environment of a process, in which it does. A test
that needs what this machine lacks (root, a C compiler) is skipped with the reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of `size` (such as `300k`) at a folder, which is made."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    done = _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    if done.returncode != 0:
        pytest.skip(f"this machine does not mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def fill(disk: Path) -> None:
    """Use up all the space, by a file `rest`."""
    with (disk / "rest").open("wb", buffering=0) as rest, contextlib.suppress(OSError):
        while True:
            rest.write(bytes(512))


def remount(folder: Path, options: str) -> None:
    """Change a small disk: `size=100m`, `ro`, `rw`."""
    done = _mount("-o", f"remount,{options}", str(folder))
    assert done.returncode == 0, done.stderr


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)


def preload(folder: Path, source: str) -> dict[str, str]:
    """Compile functions that replace those of the C library.

    Returns:
        The environment variable that makes a process use them.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = folder / "preload.so"
    code = folder / "preload.c"
    code.write_text(source, encoding="utf-8")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(code), "-ldl"], check=True
    )
    return {"LD_PRELOAD": str(library)}


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write in a folder; root needs `without_root_rights` to notice."""
    before = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(before)


def without_root_rights() -> list[str]:
    """What to put before a command so that permissions count for it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to give up its rights")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def watch_syncs(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """The contents of all files that this process waits for to be on the disk from now on."""
    synced: set[bytes] = set()
    fsync = os.fsync

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file():
            synced.add(path.read_bytes())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return synced
