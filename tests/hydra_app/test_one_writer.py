"""One command at a time in a sweep directory: who comes second is refused and touches nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lenet_bench.common.lock import LOCK_FILE, lock_folder
from tests.commands.test_claims import ended
from tests.conftest import Lenet
from tests.hydra_app.conftest import Command

HERE = f"process {os.getpid()} on host {socket.gethostname()} writes there; "


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["seed=0,1"], "hydra.sweep.dir=sweep"),
        (["hydra/launcher=basic"], "hydra.sweep.dir=sweep"),
        (["hydra.mode=RUN"], "hydra.sweep.dir=sweep"),
        (["hydra.mode=RUN", "hydra.run.dir=sweep"], "hydra.run.dir=sweep"),
    ],
)
def test_the_second_command_is_refused(
    command: Command, tmp_path: Path, arguments: list[str], named: str
) -> None:
    (tmp_path / "sweep").mkdir()
    lock = lock_folder(tmp_path / "sweep")
    before = (tmp_path / "sweep" / LOCK_FILE).read_bytes()
    answer = command.within(tmp_path, "hydra.sweep.dir=sweep", *arguments)
    assert answer.code == 1
    assert answer.text.startswith(f"lenet-bench: {named}: {HERE}"), answer.text
    assert not answer.imported_torch
    assert answer.runs == []
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == [LOCK_FILE]
    assert (tmp_path / "sweep" / LOCK_FILE).read_bytes() == before
    lock.release()
    assert command.within(tmp_path, "hydra.sweep.dir=sweep", "seed=0,1").code == 0
    assert not (tmp_path / "sweep" / LOCK_FILE).exists()


def test_a_plan_needs_no_lock(command: Command, tmp_path: Path) -> None:
    """It writes nothing."""
    (tmp_path / "sweep").mkdir()
    lock = lock_folder(tmp_path / "sweep")
    answer = command.within(tmp_path, "hydra.sweep.dir=sweep", "seed=0,1", "plan=true")
    assert answer.code == 0, answer.text
    lock.release()


def test_a_running_sweep_can_be_reported(lenet: Lenet, without_report: None) -> None:
    """And the lock is given back at the end of a command."""
    done = lenet("dataset=fake", "dataset.images=150", "iterations=2", "batch_size=8",
                 "probe.every=0", "device=cpu", "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.code == 0
    sweep = done.folder / "sweep"
    assert not (sweep / LOCK_FILE).exists()
    lock = lock_folder(sweep)
    from lenet_bench.records.loading import load_sweep

    assert len(load_sweep(sweep).runs) == 1
    lock.release()


def test_claims_lock_their_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of them would decide from each other's half of the runs."""
    lock = lock_folder(tmp_path)
    assert ended(["--only", "sigmoid_slower", f"--output={tmp_path}"]) == 1
    assert capsys.readouterr().err.startswith(f"lenet-bench-claims: --output={tmp_path}: {HERE}")
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
    lock.release()
