"""What a run leaves behind: weights, metrics, rows, checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_bench.common.errors import UserError
from lenet_bench.config.budget import evaluation_interval
from lenet_bench.datasets import Dataset
from lenet_bench.datasets.batches import DeviceSplit
from lenet_bench.datasets.shape import image_shape
from lenet_bench.training import build
from lenet_bench.training.evaluation import evaluate_model
from tests.conftest import Configure, load, train
from tests.training.plain_training import (
    OWN,
    SMALL,
    standardised,
)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_the_exported_weights_reproduce_the_recorded_test_metrics(
    configure: Configure, tmp_path: Path, precision: str
) -> None:
    short = (*SMALL, f"precision={precision}", "evaluate.every=20", "iterations=25")
    models: tuple[tuple[str, ...], ...] = (
        (),
        ("model.batch_norm=before",),
        ("model.batch_norm=after", "model.pool=avg"),
    )
    activations = [
        configure(*overrides).activation
        for overrides in (
            ("activation=relu",), ("activation=prelu",), ("activation=rrelu",), OWN,
            ("activation=leaky_relu6",),
        )
    ]  # fmt: skip
    if precision == "float64":  # whose convolutions are slow
        models = models[-1:]
    accuracies = []
    for number, overrides in enumerate(models):
        base = configure(*short, *overrides)
        configs = [base.model_copy(update={"activation": a, "lr": 0.01}) for a in activations]
        dataset = load(base)
        assert dataset.test is not None
        for run in train(configs, tmp_path / str(number), dataset):
            (row,) = run.evaluation[run.evaluation["split"] == "test"].to_dict("records")
            model = build.plain_model(run.config, image_shape(dataset))
            model.load_state_dict(run.weights)
            # To the bit, by the program's own reading of the images ...
            dtype = torch.float64 if precision == "float64" else torch.float32
            images = DeviceSplit(dataset.test, dataset, torch.device("cpu"), dtype)
            assert evaluate_model(model, images) == (row["loss"], row["accuracy"])
            # ... and by anybody's.
            with torch.no_grad():
                logits = model.eval()(standardised(dataset.test, dataset).to(dtype))
            labels = dataset.test.labels
            assert (logits.argmax(1) == labels).sum() / len(labels) == pytest.approx(
                row["accuracy"]
            )
            loss = F.cross_entropy(logits, labels).item()
            assert loss == pytest.approx(row["loss"], rel=1e-12 if dtype == torch.float64 else 1e-5)
            assert run.status["metrics"]["test_loss"] == row["loss"]
            accuracies.append(row["accuracy"])
    assert np.mean(accuracies) > 0.2  # they learned; chance is 0.1


def test_the_status_tells_the_last_and_the_best(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL, "evaluate.every=3", "lr=0.05", iterations=40)
    (run,) = train([config], tmp_path, index=3)
    metrics = run.status["metrics"]
    assert metrics == run.outcome.metrics
    for split, rows in run.evaluation.groupby("split"):
        assert metrics[f"{split}_loss"] == rows["loss"].iloc[-1]
        assert metrics[f"{split}_accuracy"] == rows["accuracy"].iloc[-1]
    rows = run.evaluation[run.evaluation["split"] == "validation"]
    best = rows.iloc[int(rows["accuracy"].argmax())]
    assert metrics["best_validation_accuracy"] == best["accuracy"]
    assert metrics["best_validation_iteration"] == best["iteration"]
    stack = run.status["stack"]
    assert (stack["index"], stack["size"], stack["position"]) == (3, 1, 0)


def test_epochs_win_over_iterations(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL, "epochs=3", "iterations=5")
    (run,) = train([config], tmp_path)
    # 60 images make 7 batches of 8; the last 4 images of an epoch are left out.
    assert list(run.train["iteration"]) == list(range(1, 22))
    assert list(run.train["epoch"]) == [1] * 7 + [2] * 7 + [3] * 7
    assert run.status["iteration"] == run.status["iterations"] == 21


def test_evaluation_comes_once_an_epoch_but_never_more_often_than_every_200(
    configure: Configure, digits: Dataset
) -> None:
    config = configure("evaluate.every=auto")
    assert evaluation_interval(config.model_copy(update={"batch_size": 128}), 1297) == 200
    assert evaluation_interval(config.model_copy(update={"batch_size": 128}), 45_000) == 351
    assert evaluation_interval(configure("evaluate.every=7"), 45_000) == 7


def test_what_is_turned_off_stays_empty(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL, "evaluate.every=0", "checkpoint.every=0", "probe.every=0")
    seen: list[bool] = []

    def stopped() -> bool:
        seen.append((tmp_path / "0" / "weights.pt").exists())
        return False

    (run,) = train([config], tmp_path, stopped=stopped)
    assert len(run.evaluation) == len(run.layers) == 0
    assert run.status["metrics"] == {}
    assert not any(seen)
    assert run.outcome.status == "finished"
    assert all(value.isfinite().all() for value in run.weights.values())


def test_checkpoints_hold_the_weights_of_their_iteration(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(*SMALL, "checkpoint.every=10")
    short = config.model_copy(update={"iterations": 10})
    (reference,) = train([short], tmp_path / "short")
    seen: list[dict[str, Tensor] | None] = []

    def stopped() -> bool:
        path = tmp_path / "0" / "weights.pt"
        seen.append(torch.load(path, weights_only=True) if path.exists() else None)
        return False

    (run,) = train([config], tmp_path, stopped=stopped)
    assert seen[:10] == [None] * 10
    at_ten = seen[10]
    assert at_ten is not None
    for name, value in reference.weights.items():
        assert torch.equal(at_ten[name], value)
        assert not torch.equal(run.weights[name], value)


def test_a_batch_larger_than_the_training_split_is_a_clear_error(
    configure: Configure, tmp_path: Path
) -> None:
    # Past the check of the configuration, as the images of a folder would be.
    config = configure("dataset=fake", "dataset.images=100", "batch_size=8").model_copy(
        update={"batch_size": 91}
    )
    with pytest.raises(UserError, match=r"batch_size=91.* has 90 images"):
        train([config], tmp_path)
    assert list(tmp_path.iterdir()) == []
