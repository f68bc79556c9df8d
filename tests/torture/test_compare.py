"""What the torture test counts as a difference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.fabricate import descent, write_run
from tests.torture.compare import TABLES, compare


@pytest.mark.parametrize("name", [*TABLES, "config.json", "weights.pt"])
def test_every_byte_counts(tmp_path: Path, name: str) -> None:
    """Also those of `weights.pt` around the numbers."""
    run = write_run(tmp_path / "one", "a", descent(10, 0))
    for each in (*TABLES, "config.json"):
        (run / each).touch()
    torch.save({"w": torch.zeros(3)}, run / "weights.pt")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    other = tmp_path / "other" / run.name
    assert not compare(tmp_path / "other", tmp_path / "one")
    if name == "weights.pt":  # the same numbers in an archive of another name
        torch.save({"w": torch.zeros(3)}, other / "elsewhere.pt")
        (other / "elsewhere.pt").replace(other / name)
    else:
        (other / name).write_bytes((other / name).read_bytes() + b" ")
    found = compare(tmp_path / "other", tmp_path / "one")
    assert found.files == [f"{run.name}/{name}"]
