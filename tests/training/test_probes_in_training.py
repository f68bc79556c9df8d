"""Probes change nothing about training, and what they find is what is written."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
import torch

from lenet_bench.records.schema import LayerRow
from tests.conftest import Configure, train
from tests.training.probing import (
    config_of,
)


@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_probing_changes_training_by_not_one_bit(
    configure: Configure, tmp_path: Path, batch_norm: str
) -> None:
    common = (
        "dataset.train_size=40", "dataset.validation_size=20", "batch_size=8", "iterations=8",
        "evaluate.every=4", "probe.images=20", f"model.batch_norm={batch_norm}",
    )  # fmt: skip
    # In one stack every kind of optimizer, each with another activation for another batch norm.
    optimizers = deque(
        configure(f"optimizer={name}", *more).optimizer
        for name, *more in (
            ("sgd", "optimizer.nesterov=true"),
            ("adagrad",),
            ("rmsprop", "optimizer.centered=true", "optimizer.momentum=0.5"),
            ("adam",),
            ("adamw",),
        )
    )
    optimizers.rotate(("none", "before", "after").index(batch_norm))
    runs = {}
    for every in (0, 1):
        base = configure(*common, f"probe.every={every}")
        names = ("rrelu", "rrelu", "relu", "prelu", "custom")
        configs = [
            base.model_copy(
                update={
                    "activation": config_of(configure, name).activation,
                    "optimizer": optimizer,
                    "weight_decay": 1e-3,
                    "seed": n // 2,
                }
            )
            for n, (name, optimizer) in enumerate(zip(names, optimizers, strict=True))
        ]
        runs[every] = train(configs, tmp_path / str(every))
    for without, probed in zip(runs[0], runs[1], strict=True):
        assert list(probed.layers["iteration"].unique()) == list(range(9))
        for name in ("train.csv", "evaluation.csv"):
            assert (without.directory / name).read_bytes() == (probed.directory / name).read_bytes()
        for name, value in without.weights.items():
            assert torch.equal(value, probed.weights[name])


def test_what_is_written_is_what_was_measured(configure: Configure, tmp_path: Path) -> None:
    config = configure(
        "dataset.train_size=40", "dataset.validation_size=20", "batch_size=16", "iterations=5",
        "probe.every=2", "probe.images=40", "precision=float64",
    )  # fmt: skip
    (run,) = train([config], tmp_path)
    assert list(run.layers.columns) == list(LayerRow._fields)
    # At both ends too, whatever the interval.
    layers = ["conv1", "conv2", "fc1", "fc2", "logits"]
    assert list(run.layers["iteration"]) == [i for i in (0, 2, 4, 5) for _ in layers]
    assert list(run.layers["layer"]) == layers * 4
    assert list(run.layers["units"][:5]) == [6, 16, 120, 84, 0]
    last = run.layers.set_index(["iteration", "layer"]).loc[5]
    for layer in layers:
        norm = float(run.weights[f"{layer}.weight"].norm())
        assert last["weight_norm"][layer] == pytest.approx(norm, rel=1e-12)
    blank = ["dead_fraction", "died", "activation_mean", "saturated_fraction"]
    assert last.loc["logits", blank].isna().all()
