"""The network that a run trained, read back from its directory."""

from __future__ import annotations

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


def test_what_is_no_run_with_weights_is_told(tmp_path: Path) -> None:
    for damage in ("weights.pt", "config.json", "status.json"):
        run = write_run(tmp_path / damage, "a", descent(30, 0))
        (run / damage).unlink(missing_ok=True)
        with pytest.raises(UserError, match=r"a is not a run with weights: .*"):
            lenet_bench.load_model(run)
