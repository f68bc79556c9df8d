"""The network that a run trained, read back from its directory."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lenet_bench
from lenet_bench.common.errors import UserError
from lenet_bench.datasets import Dataset
from lenet_bench.records.run_directory import read_status
from tests.conftest import Configure, train
from tests.fabricate import descent, write_run

TINY = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=8",
    "evaluate.every=8", "probe.every=0",
)  # fmt: skip


def test_a_trained_model_classifies_as_the_run_says(
    configure: Configure, digits: Dataset, tmp_path: Path
) -> None:
    (run,) = train([configure(*TINY, "activation=prelu")], tmp_path)
    moved = run.directory.rename(tmp_path / "elsewhere")
    model = lenet_bench.load_model(moved)
    assert not model.training
    assert digits.test is not None
    dataset = read_status(moved)["dataset"]
    mean, std = (torch.tensor(dataset[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        logits = model((digits.test.images / 255 - mean) / std)
    accuracy = (logits.argmax(1) == digits.test.labels).double().mean().item()
    assert accuracy == pytest.approx(read_status(moved)["metrics"]["test_accuracy"])


def test_the_data_of_a_saved_model_may_be_gone(configure: Configure, tmp_path: Path) -> None:
    (run,) = train([configure(*TINY)], tmp_path)
    path = run.directory / "config.json"
    gone = '"name": "image_folder",\n      "root": "gone"'
    path.write_text(path.read_text().replace('"name": "digits"', gone))
    assert lenet_bench.load_model(run.directory).hidden_layers[0] == "conv1"


@pytest.fixture(scope="module")
def trained(
    configure: Configure, digits: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run directory with weights; tests work on copies."""
    config = configure(*TINY, "activation=prelu", "model.batch_norm=before")
    (run,) = train([config], tmp_path_factory.mktemp("trained"))
    return run.directory


class Trap:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("sprung"),))


def rezipped(content: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """An archive of `torch.save` with other parts, compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for part in old.infolist():
            changed = change(part.filename, old.read(part))
            new.writestr(part.filename, changed, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def saved(state: object) -> bytes:
    """What `torch.save` writes."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def other(name: str, value: object) -> Callable[[bytes], bytes]:
    """The weights with another value of one tensor, or without it."""

    def change(content: bytes) -> bytes:
        state = torch.load(io.BytesIO(content), weights_only=True)
        state[name] = value
        return saved({key: kept for key, kept in state.items() if kept is not None})

    return change


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "pickle": (lambda _: pickle.dumps(Trap()), "is damaged, or was not written by torch.save"),
    "trap": (lambda _: saved({"conv1.weight": Trap()}), "holds something other than numbers"),
    "older trap": (
        lambda _: pickle.dumps(Trap(), protocol=2),
        "is damaged, or was not written by torch.save",
    ),
    "model": (lambda _: saved(torch.nn.Linear(2, 2)), "holds something other than numbers"),
    "cut": (lambda content: content[: len(content) // 2], "is damaged, or was not written"),
    "empty": (lambda _: b"", "is damaged, or was not written by torch.save"),
    "text": (lambda _: b"weights_only=False\n" * 99, "is damaged, or was not written"),
    "bits turned": (
        lambda content: content.replace(b"data.pkl", b"data.pkk"),
        "holds something other than numbers",
    ),
    "packed": (
        lambda content: rezipped(content, lambda _, part: part),
        "unfolds into more than it holds",
    ),
    "zip bomb": (
        lambda content: rezipped(
            content, lambda name, part: bytes(1 << 26) if name.endswith("data/0") else part
        ),
        "unfolds into more than it holds",
    ),
    "zip of nothing": (lambda _: rezipped(saved({}), lambda *_: b""), "unfolds into more than"),
    "list": (lambda _: saved([torch.zeros(3)]), "is not the state of a network"),
    "checkpoint of others": (
        lambda _: saved({"model": {"w": torch.zeros(2)}, "epoch": 3}),
        "is not the state of a network",
    ),
    "nothing in it": (lambda _: saved({}), "lacks conv1.weight"),
    "layer missing": (other("logits.bias", None), "lacks logits.bias"),
    "layer too many": (
        other("fc9.weight", torch.zeros(3)),
        'holds "fc9.weight", which the run\'s network does not have',
    ),
    "other shape": (
        other("logits.bias", torch.zeros(11)),
        "logits.bias has the shape (11,); the run's has (10,)",
    ),
    "vast shape": (
        other("activations.fc1.weight", torch.zeros(1).expand(1 << 40)),
        "activations.fc1.weight is no plain array of numbers",
    ),
    "sparse": (
        other("logits.bias", torch.zeros(10).to_sparse()),
        "logits.bias is no plain array of numbers",
    ),
    "complex": (
        other("logits.bias", torch.zeros(10, dtype=torch.complex64)),
        "logits.bias is no plain array of numbers",
    ),
    "NaN": (
        other("logits.bias", torch.full((10,), torch.nan)),
        "logits.bias holds values that are not finite",
    ),
    "other activation": (
        other("activations.fc1.weight", torch.zeros(3)),
        "does not fit the activation prelu as it is now",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_weights_that_are_not_the_runs_are_refused_in_our_own_words(
    trained: Path, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    change, words = HOSTILE[case]
    path = run / "weights.pt"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=r"weights.pt: has (\d+ bytes|another checksum)"):
        lenet_bench.load_model(run)
    status = read_status(run)
    del status["files"]  # as older versions wrote it, or as a forger would
    (run / "status.json").write_text(json.dumps(status))
    with pytest.raises(UserError) as refused:
        lenet_bench.load_model(run)
    message = str(refused.value)
    assert words in message
    assert "weights.pt" in message
    assert not any(word in message for word in ("weights_only", "pickle", "trust", "\n"))
    assert refused.value.__cause__ is None
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("status.json", '"classes": 10', '"classes": "10"', "dataset.classes is"),
        ("status.json", '"classes": 10', '"classes": 16777215', "logits.weight has the shape"),
        ("status.json", '"size": 32', '"size": 3', "no network has these sizes"),
        ("status.json", '"channels": 1', '"channels": -1', "must be a whole number"),
        ("config.json", "120,", "1000000000,", "conv2|fc1.weight has the shape"),
        ("config.json", '"lr": 0.01', '"lr": -1', r"config.json: lr=-1: must be"),
        ("config.json", '"prelu"', '"nothing"', r"there is no such activation"),
    ],
)
def test_a_forged_description_of_the_network_is_refused_before_memory_is_taken(
    trained: Path, tmp_path: Path, file: str, old: str, new: str, words: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    text = (run / file).read_text()
    assert old in text
    (run / file).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=words) as refused:
        lenet_bench.load_model(run)
    assert "\n" not in str(refused.value)


def test_a_pipe_in_the_place_of_weights_is_not_waited_for(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "weights.pt").unlink()
    os.mkfifo(run / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt: is a FIFO, not a file"):
        lenet_bench.load_model(run)


def test_what_is_no_run_with_weights_is_told(tmp_path: Path) -> None:
    for damage in ("weights.pt", "config.json", "status.json"):
        run = write_run(tmp_path / damage, "a", descent(30, 0))
        (run / damage).unlink(missing_ok=True)
        with pytest.raises(UserError, match=r"a is not a run with weights: .*"):
            lenet_bench.load_model(run)
