"""What runs start from, and what the numbers of a short training say."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.datasets import Dataset
from tests.conftest import Configure, train
from tests.training.plain_training import (
    SMALL,
    assert_same_frames,
)

# --- what a run starts from -----------------------------------------------------------------------


def test_the_first_loss_is_that_of_chance_for_every_activation(
    configure: Configure, digits: Dataset, tmp_path: Path
) -> None:
    # Of the untrained network; then the run is stopped.
    base = configure("init.logits_gain=0.1", "probe.every=0", "evaluate.train_images=200")
    configs = [
        base.model_copy(update={"activation": configure(f"activation={n}").activation, "seed": s})
        for s, n in product(range(3), ACTIVATIONS)
    ]
    first: dict[str, list[float]] = {name: [] for name in ACTIVATIONS}
    for run in train(configs, tmp_path, digits, stopped=lambda: True):
        rows = run.evaluation[run.evaluation["iteration"] == 0]
        assert list(rows["split"]) == ["train", "validation"]
        first[run.config.activation.name] += list(rows["loss"])
    means = {name: float(np.mean(losses)) for name, losses in first.items()}
    # Squares of squares: the last hidden layer's values are of the order of 100 and more.
    square = means.pop("square")
    assert square > math.log(10) + 0.1
    assert {n: m for n, m in means.items() if abs(m - math.log(10)) > 0.1} == {}


def test_one_seed_gives_one_draw_and_one_order_whatever_the_activation(
    configure: Configure, tmp_path: Path
) -> None:
    # Weights that stay as they are, and runs that see the same images: the same curves.
    base = configure(*SMALL, "evaluate.every=0", lr=1e-300)
    relu, leaky = (
        configure(*overrides).activation
        for overrides in (
            ("activation=relu",),
            ("activation=leaky_relu", "activation.negative_slope=0"),
        )
    )
    changes = [
        {"activation": relu, "seed": 0},
        {"activation": leaky, "seed": 0},
        {"activation": configure("activation=tanh").activation, "seed": 0},
        {"activation": relu, "seed": 1},
    ]
    a, b, tanh, other = train([base.model_copy(update=c) for c in changes], tmp_path)
    assert_same_frames(a.train, b.train)
    for name in ("conv1.weight", "fc2.weight", "logits.weight"):
        assert torch.equal(a.weights[name], tanh.weights[name])
        assert not torch.equal(a.weights[name], other.weights[name])


# --- numbers --------------------------------------------------------------------------------------


def test_bfloat16_trains_like_float32(configure: Configure, tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        base = configure(*SMALL, f"precision={precision}", "batch_size=16", iterations=40)
        names = ("relu", "tanh", "gelu", "prelu")
        configs = [
            base.model_copy(update={"activation": configure(f"activation={n}").activation})
            for n in names
        ]
        runs = train(configs, tmp_path / precision)
        losses[precision] = np.array([run.train["loss"] for run in runs])
        assert all(run.outcome.status == "finished" for run in runs)
    # Eight bits of mantissa: 0.4 % an operation, on losses that start at 2.3.
    assert np.abs(losses["float32"] - losses["bfloat16"])[:, :10].max() < 0.02
    assert (losses["bfloat16"][:, -5:].mean(1) < 0.8 * losses["bfloat16"][:, 0]).all()


@pytest.mark.slow
def test_tanh_and_relu_leave_sigmoid_on_its_plateau(
    configure: Configure, digits: Dataset, tmp_path: Path
) -> None:
    base = configure("iterations=400", "batch_size=32", "probe.every=0", "evaluate.every=0")
    configs = [
        base.model_copy(update={"activation": configure(f"activation={name}").activation})
        for name in ("sigmoid", "tanh", "relu")
    ]
    sigmoid, tanh, relu = (run.train["loss"] for run in train(configs, tmp_path, digits))
    assert sigmoid.mean() > 3 * tanh.mean()
    assert sigmoid.mean() > 3 * relu.mean()
    assert sigmoid[:100].mean() == pytest.approx(math.log(10), abs=0.05)
