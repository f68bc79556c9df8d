"""The file of a checkpoint: what it holds, what it refuses, what reading it cannot do."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path

import pytest
import torch

from lenet_bench.records.checkpoint import (
    CheckpointFile,
    DamagedCheckpointError,
    StoredState,
    read_checkpoint,
)
from tests.faults import watch_syncs


def state(number: int) -> StoredState:
    tensors = {"a": torch.arange(5, dtype=torch.bfloat16) * number, "b": torch.tensor(number > 1)}
    return StoredState({"iteration": number, "metrics": {"loss": float("inf")}}, tensors)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "checkpoints" / "stack-3.ckpt")
    assert not file.exists
    file.write(state(2), sync=False)
    found = read_checkpoint(file.path)
    assert found.facts == state(2).facts
    for name, tensor in state(2).tensors.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype
    assert [path.name for path in file.path.parent.iterdir()] == ["stack-3.ckpt"]
    assert file.half(1).half(0).path.name == "stack-3.1.0.ckpt"
    file.remove()
    assert not file.path.parent.exists()


def test_the_one_before_is_the_last_that_was_synced(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "stack-0.ckpt")
    for number, sync in ((1, True), (2, False), (3, False)):
        file.write(state(number), sync=sync)
    assert read_checkpoint(file.path).facts["iteration"] == 3
    assert read_checkpoint(file.previous).facts["iteration"] == 1
    file.write(state(4), sync=True)
    file.write(state(5), sync=False)
    assert read_checkpoint(file.previous).facts["iteration"] == 4


def test_a_damaged_one_never_becomes_the_one_before(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "stack-0.ckpt")
    file.write(state(1), sync=True)
    file.write(state(2), sync=True)
    os.truncate(file.path, 100)
    said: list[str] = []
    again = CheckpointFile(file.path)
    found = again.newest_usable(lambda _: None, said.append)
    assert found is not None
    assert found.facts["iteration"] == 1
    assert said == [f"{file.path}: is damaged: its checksum differs; it is not used."]
    again.write(state(3), sync=True)
    assert read_checkpoint(again.previous).facts["iteration"] == 1
    again.write(state(4), sync=True)
    assert read_checkpoint(again.previous).facts["iteration"] == 3


def test_one_of_two_is_on_the_disk_after_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a process that was killed: another one does not know what that has synced."""
    synced = watch_syncs(monkeypatch)
    file = CheckpointFile(tmp_path / "stack-0.ckpt")
    file.write(state(1), sync=True)
    for number in (2, 4):
        file.write(state(number), sync=False)
        file = CheckpointFile(file.path)
        found = file.newest_usable(lambda _: None, print)
        assert found is not None
        assert found.facts["iteration"] == number
        file.write(state(number + 1), sync=False)
        assert read_checkpoint(file.previous).facts["iteration"] == number
        assert file.previous.read_bytes() in synced


class Evil:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Make a folder."""
        return os.mkdir, (os.environ["EVIL"],)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_nothing_in_it_is_executed(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "done"))
    content = io.BytesIO()
    torch.save({"facts": Evil()}, content)
    body = content.getvalue() if form == "torch" else pickle.dumps(Evil(), protocol=2)
    path = tmp_path / "stack-0.ckpt"
    checksum = hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(b"lenet-bench checkpoint 1\n" + checksum + b"\n" + body)
    with pytest.raises(DamagedCheckpointError, match="cannot be understood"):
        read_checkpoint(path)
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 50, b"lenet-bench checkpoint 2\n", b"lenet-bench checkpoint 1\n\n{}"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "stack-0.ckpt"
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r"is no checkpoint|checksum differs"):
        read_checkpoint(path)


def test_an_unreadable_one_is_named_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "stack-0.ckpt").mkdir()
    with pytest.raises(DamagedCheckpointError, match=r"cannot be read \(is a directory, not a "):
        read_checkpoint(tmp_path / "stack-0.ckpt")
    os.mkfifo(tmp_path / "stack-1.ckpt")
    with pytest.raises(DamagedCheckpointError, match=r"cannot be read \(is a FIFO, not a file\)"):
        read_checkpoint(tmp_path / "stack-1.ckpt")


@pytest.mark.parametrize(
    "content",
    [{"facts": "[]", "tensors": {}}, {"facts": "{}", "tensors": [1]}, {"facts": "{}"}, 5],
    ids=["facts", "tensors", "no tensors", "number"],
)
def test_what_was_forged_together_with_its_checksum_is_refused(
    tmp_path: Path, content: object
) -> None:
    body = io.BytesIO()
    torch.save(content, body)
    checksum = hashlib.sha256(body.getvalue()).hexdigest().encode()
    path = tmp_path / "stack-0.ckpt"
    path.write_bytes(b"lenet-bench checkpoint 1\n" + checksum + b"\n" + body.getvalue())
    with pytest.raises(DamagedCheckpointError, match="cannot be understood"):
        read_checkpoint(path)
