"""A CSV that grows: whole blocks or nothing, and cut back to where it was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenet_bench.records.growing_table import GrowingTable, Mark

HEADER = b"a,b\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def table(path: Path) -> GrowingTable:
    grown = GrowingTable(path, ("a", "b"))
    grown.begin()
    return grown


def test_a_new_attempt_leaves_an_open_file_alone(tmp_path: Path) -> None:
    """Who reads or writes the old one keeps it: nothing is truncated under them."""
    path = tmp_path / "x.csv"
    table(path).append([[1, 2]])
    with path.open("rb") as old:
        table(path)
        assert old.read() == HEADER + b"1,2\n"
    assert path.read_bytes() == HEADER


def test_it_is_cut_back_and_grows_on(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    grown = table(path)
    grown.append([[1, 0.1], [2, None]])
    mark = grown.mark
    assert mark[:2] == (2, len(HEADER + b"1,0.1\n2,\n"))
    grown.append([[3, 0.3]])
    with path.open("ab") as file:
        file.write(b"4,0")
    other = GrowingTable(path, ("a", "b"))
    assert other.holds(mark)
    other.go_on(mark)
    other.append([[3, 0.5]])
    assert path.read_bytes() == HEADER + b"1,0.1\n2,\n3,0.5\n"
    assert not other.holds(Mark(mark.rows, mark.bytes, "0" * 64))
    assert other.mark != grown.mark


@pytest.mark.parametrize("size", [100_000, 20_000])
def test_no_part_of_a_block_stays_on_a_full_disk(small_disk: Path, size: int) -> None:
    """A block that is larger than the disk, and the one that no longer fits."""
    path = small_disk / "x.csv"
    grown = table(path)
    block = [[n, "x" * 90] for n in range(size // 100)]
    whole = [path.read_bytes()]

    def fill() -> None:
        for _ in range(10):
            grown.append(block)
            whole.append(path.read_bytes())

    with pytest.raises(OSError, match="No space left on device") as caught:
        fill()
    assert caught.value.filename == str(path)
    assert path.read_bytes() == whole[-1]
    assert len(whole) == (1 if size == 100_000 else 4)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    grown.append([[0, "behind"]])
    assert path.read_bytes() == whole[-1] + b"0,behind\n"


def test_what_somebody_else_changed_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    grown = table(path)
    with path.open("ab") as file:
        file.write(b"7,7\n")
    with pytest.raises(OSError, match="another program has changed it"):
        grown.append([[1, 2]])
    assert path.read_bytes() == HEADER + b"7,7\n"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        grown.append([[1, 2]])
    assert not path.exists()


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    tables = [table(tmp_path / f"{n}.csv") for n in range(50)]
    for grown in tables:
        grown.append([[1, 2]])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
