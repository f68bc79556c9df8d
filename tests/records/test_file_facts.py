"""Whether the files of a run that has ended still hold what its status says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lenet_bench.records.file_facts import damage
from lenet_bench.records.run_directory import has_ended, write_status
from tests.fabricate import facts_of_files

CONTENT = {
    "train.csv": b"iteration,loss\n1,2.5\n2,2.25\n",
    "evaluation.csv": b"iteration,split\n0,train\n",
    "layers.csv": b"iteration,layer\n",
    "weights.pt": bytes(range(200)),
    "config.json": b'{"preset": null, "config": {"activation": "relu", "lr": 0.01}}\n',
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a finished run."""
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    status = {"status": "finished", "iteration": 2, "files": facts_of_files(tmp_path)}
    write_status(tmp_path, status)
    return tmp_path


def test_the_facts_of_files(run: Path) -> None:
    facts = facts_of_files(run)
    assert facts["train.csv"] == {
        "rows": 2, "bytes": 28, "sha256": hashlib.sha256(CONTENT["train.csv"]).hexdigest(),
    }  # fmt: skip
    assert [facts[name].get("rows") for name in CONTENT] == [2, 1, 0, None, None]
    assert has_ended(run)


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "rows lost": ("train.csv", lambda path: os.truncate(path, 21), "has 1 rows instead of 2"),
    "garbage": ("layers.csv", lambda path: path.write_bytes(b"\0" * 16), "has another checksum"),
    "a digit": (
        "train.csv",
        lambda path: path.write_bytes(path.read_bytes().replace(b"2.5", b"-.5")),
        "has another checksum than at the end of the run",
    ),
    "another configuration": (
        "config.json",
        lambda path: path.write_bytes(path.read_bytes().replace(b"0.01", b"0.02")),
        "has another checksum than at the end of the run",
    ),
    "no configuration": ("config.json", lambda path: path.unlink(), "is missing"),
    "no weights": ("weights.pt", lambda path: path.unlink(), "is missing"),
    "weights cut": ("weights.pt", lambda path: os.truncate(path, 50), "has 50 bytes"),
    "a folder": (
        "weights.pt",
        lambda path: path.rename(path.with_name("w")) and path.mkdir(),  # type: ignore[func-returns-value]
        "cannot be read: is a directory, not a file",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(run: Path, kind: str) -> None:
    name, change, problem = DAMAGE[kind]
    status = {"files": facts_of_files(run)}
    change(run / name)
    found = damage(run, status)
    assert found is not None
    assert found.startswith(f"{name} {problem}")
    assert not has_ended(run)


def test_older_statuses_are_judged_by_their_rows(run: Path) -> None:
    assert damage(run, {"status": "finished", "iteration": 2}) is None
    assert damage(run, {"status": "finished", "iteration": 3}) == (
        "train.csv has 2 rows instead of 3"
    )


@pytest.mark.parametrize("files", [{"../x": {}}, {"train.csv": 3}, {"weights.pt": None}])
def test_a_forged_status_is_no_evidence(run: Path, files: object) -> None:
    assert damage(run, {"files": files}) == (
        "status.json says of its files what cannot be understood"
    )
