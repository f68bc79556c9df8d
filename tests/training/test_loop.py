"""Training a stack against plain PyTorch, run by run; divergence; what does not fit the memory."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.model.stack import Stack
from tests.conftest import Configure, Trained, load, train
from tests.training.plain_training import (
    EXACT,
    OWN,
    SMALL,
    assert_like_plain_torch,
    assert_same_frames,
    assert_same_weights,
)

OPTIMIZERS = (
    ("optimizer=sgd", "weight_decay=0.01"),
    ("optimizer=sgd", "optimizer.momentum=0", "schedule=step", "schedule.every=9"),
    ("optimizer=sgd", "optimizer.nesterov=true", "schedule=cosine", "schedule.warmup=5"),
    ("optimizer=adagrad", "weight_decay=0.001"),
    ("optimizer=rmsprop", "lr=0.0005", "schedule=cosine", "schedule.final=0.1"),
    ("optimizer=rmsprop", "lr=0.0005", "optimizer.momentum=0.5", "optimizer.centered=true"),
    ("optimizer=adam", "lr=0.001", "weight_decay=0.01", "schedule.warmup=8"),
    ("optimizer=adamw", "lr=0.002", "weight_decay=0.1"),
)


@pytest.mark.slow
def test_every_activation_in_one_stack_is_plain_torch(configure: Configure, tmp_path: Path) -> None:
    activations = [configure(f"activation={name}").activation for name in ACTIVATIONS]
    activations += [configure(*OWN).activation]
    activations += [configure("activation=prelu", "activation.per_unit=false").activation]
    activations += [configure("activation=leaky_relu", "activation.negative_slope=0.3").activation]
    inits = [
        configure(f"init={name}").init
        for name in ("xavier_uniform", "kaiming_normal", "orthogonal", "torch_default")
    ]
    configs = []
    for number, activation in enumerate(activations):
        # Neither order nor number of the optimizers follows that of the activations.
        base = configure(*EXACT, *OPTIMIZERS[number * 3 % len(OPTIMIZERS)])
        lr = base.lr * (0.01 if activation.name == "square" else 1)
        changes = {"activation": activation, "lr": lr, "init": inits[number % len(inits)]}
        configs.append(base.model_copy(update={**changes, "seed": int(number >= 13)}))
    for overrides in OPTIMIZERS:
        base = configure(*EXACT, *overrides)
        if not base.weight_decay:
            continue  # which must spare PReLU's slopes
        prelu = configure("activation=prelu").activation
        configs.append(base.model_copy(update={"activation": prelu, "seed": 1}))
    dataset = load(configs[0])
    for run in train(configs, tmp_path, dataset):
        assert_like_plain_torch(run, dataset)


ARCHITECTURES = {
    "avg": ("model.pool=avg",),
    "before": ("model.batch_norm=before",),
    "after": ("model.batch_norm=after",),
    "avg-before": ("model.pool=avg", "model.batch_norm=before", "model.width=0.5"),
    "avg-after": ("model.pool=avg", "model.batch_norm=after"),
    "deep": ("model.hidden=[30,20,25,15]", "model.width=1.5"),
    "shallow": ("model.hidden=[]",),
    "caffe": ("model=lenet_caffe", "model.width=0.2"),
    "colour": ("dataset=fake", "dataset.images=150", "dataset.classes=3"),
    "colour-after": ("dataset=fake", "dataset.images=150", "model.batch_norm=after"),
    "large": ("dataset=fake", "dataset.images=140", "dataset.size=45", "dataset.channels=1"),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_plain_torch(
    configure: Configure, tmp_path: Path, architecture: str
) -> None:
    # Few iterations: a norm behind nearly constant units multiplies rounding by up to 300 a layer.
    base = configure(*EXACT, *ARCHITECTURES[architecture], iterations=5)
    activations = [
        configure(f"activation={name}").activation
        for name in ("relu", "relu", "gelu", "prelu", "hard_tanh", "rrelu")
    ]
    activations += [configure(*OWN).activation]
    configs = [
        base.model_copy(
            update={"activation": activation, "seed": number // 4, "lr": 0.0004 * number}
        )
        for number, activation in enumerate(activations, 1)
    ]
    dataset = load(base)
    for run in train(configs, tmp_path, dataset):
        assert_like_plain_torch(run, dataset)


@pytest.mark.slow
def test_alone_or_in_a_stack_is_the_same_to_every_column(
    configure: Configure, tmp_path: Path
) -> None:
    """Every activation, every optimizer, three seeds; rrelu too, though the planner parts it."""
    configs = []
    for number, (name, overrides) in enumerate(zip(ACTIVATIONS, cycle(OPTIMIZERS), strict=False)):
        base = configure(*EXACT, "iterations=40", *overrides, "probe.every=20", "probe.images=20")
        lr = base.lr * (1e-4 if name == "square" else 1)
        activation = configure(f"activation={name}").activation
        changes = {"activation": activation, "seed": number % 3, "lr": lr}
        configs.append(base.model_copy(update=changes))
    pooled_first = [config for config in configs if config.activation.name != "rrelu"]
    alone_by_run = {
        config.fingerprint: train([config], tmp_path / config.fingerprint)[0] for config in configs
    }
    for name, members in (("all", configs), ("pooled_first", pooled_first)):
        for run in train(members, tmp_path / name):
            alone = alone_by_run[run.config.fingerprint]
            assert alone.status["status"] == "finished", run.config.activation
            assert_same_frames(run.train, alone.train)
            assert_same_frames(run.evaluation, alone.evaluation)
            assert_same_frames(run.layers, alone.layers)
            assert_same_weights(run.weights, alone.weights)


# --- divergence -----------------------------------------------------------------------------------

CSVS = ("train.csv", "evaluation.csv", "layers.csv")


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_a_divergence_is_invisible_to_the_neighbours(
    configure: Configure, tmp_path: Path, batch_norm: str
) -> None:
    common = (*SMALL, "evaluate.every=6", "probe.every=4", "probe.images=20")
    base = configure(*common, f"model.batch_norm={batch_norm}", iterations=16)
    changes: list[dict[str, object]] = [
        {"activation": configure(f"activation={name}").activation}
        for name in ("relu", "relu", "identity", "identity", "prelu", "prelu", "rrelu", "gelu")
    ]
    changes += [{"activation": configure(*OWN).activation}]
    changes += [{"optimizer": configure("optimizer=adam").optimizer, "lr": 0.001}]
    calm = [base.model_copy(update=change) for change in changes]
    wild = [
        # Weights that overflow, whatever keeps the activations in bounds.
        config.model_copy(update={"lr": 1e6, "weight_decay": 1.0} if number in (3, 4) else {})
        for number, config in enumerate(calm)
    ]
    before = train(calm, tmp_path / "calm")
    after = train(wild, tmp_path / "wild")
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        assert one.outcome.status == "finished"
        if number in (3, 4):
            assert_diverged(other)
            continue
        assert other.outcome.status == other.status["status"] == "finished"
        for name in CSVS:
            assert (one.directory / name).read_bytes() == (other.directory / name).read_bytes()
        for name, value in one.weights.items():
            assert torch.equal(value, other.weights[name])


def assert_diverged(run: Trained) -> None:
    assert run.outcome.status == run.status["status"] == "diverged"
    losses = run.train["loss"].to_numpy()
    assert np.isfinite(losses[:-1]).all()
    assert not np.isfinite(losses[-1])
    last = int(run.train["iteration"].iloc[-1])
    assert last == run.status["iteration"] == len(losses) < run.config.iterations
    assert f"at iteration {last}" in run.status["error"]
    for frame in (run.evaluation, run.layers):
        assert (frame["iteration"] < last).all()
    assert not (run.directory / "weights.pt").exists()


def test_a_stack_in_which_all_diverge_stops(configure: Configure, tmp_path: Path) -> None:
    identity = configure("activation=identity").activation
    config = configure(*SMALL, iterations=100_000, lr=1e6, activation=identity)
    done: list[int] = []
    runs = train([config, config.model_copy(update={"seed": 1})], tmp_path, progress=done.append)
    for run in runs:
        assert_diverged(run)
    assert done == sorted(done)
    assert done[-1] <= 2 * 100


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stack_that_does_not_fit_the_memory_is_halved(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [configure("dataset=fake", *EXACT, seed=seed) for seed in range(5)]
    whole = train(configs, tmp_path / "whole")
    tried: list[int] = []
    forward = Stack.forward

    def limited(stack: Stack, *arguments: Any, **options: Any) -> Tensor:
        tried.append(stack.runs)
        if stack.runs > 2:
            raise torch.OutOfMemoryError("no room for more than two")
        return forward(stack, *arguments, **options)

    monkeypatch.setattr(Stack, "forward", limited)
    parts = train(configs, tmp_path / "parts")
    assert list(dict.fromkeys(tried)) == [5, 2, 3, 1]
    for run, alone in zip(whole, parts, strict=True):
        assert alone.status["status"] == "finished"
        assert_same_frames(alone.train, run.train)
        assert_same_weights(alone.weights, run.weights)


def test_a_run_that_does_not_fit_alone_has_failed(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("no room at all")

    monkeypatch.setattr(Stack, "forward", full)
    for run in train([configure("dataset=fake", *EXACT, seed=s) for s in (0, 1)], tmp_path):
        assert run.status["status"] == "failed"
        assert "no room at all" in run.status["error"]
