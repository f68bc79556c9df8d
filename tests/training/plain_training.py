"""Training as plain PyTorch does it, one LeNet and one loop: the oracle for stacks.

In: a configuration and a data set. Out: the rows and weights that a run must leave behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets import Dataset, Split
from lenet_bench.datasets.shape import image_shape
from lenet_bench.model.lenet import LeNet
from lenet_bench.training import build
from lenet_bench.training.randomness import Use, stream
from tests.conftest import Trained

SMALL = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=22",
    "probe.every=0",
)  # fmt: skip
EXACT = (*SMALL, "precision=float64", "evaluate.every=14", "model.width=0.6")
OWN = ("activation=custom", "activation.path=tests.training.plain_training:Bend")


class Bend(nn.Module):
    """A user's own activation: learns a scale, and never uses another parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 1.5))
        self.unused = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        """x / (1 + |scale x|)."""
        return x / (1 + (self.scale * x).abs())


class NoisyReLU(nn.Module):
    """RReLU with its noise from a generator of its own, as no torch module allows."""

    def __init__(self, generator: torch.Generator, lower: float, upper: float) -> None:
        super().__init__()
        self.generator, self.lower, self.upper = generator, lower, upper

    def forward(self, x: Tensor) -> Tensor:
        """Leaky ReLU whose slopes are noise in training."""
        slope = torch.full(x.shape, (self.lower + self.upper) / 2, dtype=x.dtype)
        if self.training:
            slope.uniform_(self.lower, self.upper, generator=self.generator)
        return torch.where(x > 0, x, slope * x)


def standardised(split: Split, dataset: Dataset) -> Tensor:
    mean, std = (value.view(1, -1, 1, 1) for value in (dataset.mean, dataset.std))
    return (split.images.double() / 255 - mean) / std


def batches(config: RunConfig, images: int) -> Iterator[tuple[int, Tensor]]:
    """Epoch and image numbers of every iteration, for ever."""
    generator = stream(config.seed, Use.BATCH_ORDER)
    epoch = 0
    while True:
        epoch += 1
        order = torch.randperm(images, generator=generator)
        for start in range(0, images - config.batch_size + 1, config.batch_size):
            yield epoch, order[start : start + config.batch_size]


def learning_rate(config: RunConfig, iteration: int) -> float:
    """Of iteration 1, 2, ..., by the textbook."""
    settings = config.schedule.parameters
    warmup: int = settings["warmup"]
    if iteration <= warmup:
        return config.lr * iteration / warmup
    done = iteration - warmup - 1
    if config.schedule.name == "step":
        return float(config.lr * settings["gamma"] ** (done // settings["every"]))
    if config.schedule.name == "cosine":
        wave = (1 + math.cos(math.pi * done / (config.iterations - warmup))) / 2
        return float(config.lr * (settings["final"] + (1 - settings["final"]) * wave))
    return config.lr


def torch_optimizer(config: RunConfig, model: LeNet) -> torch.optim.Optimizer:
    own = [p for name, p in model.named_parameters() if name.startswith("activations.")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("activations.")]
    groups: list[dict[str, Any]] = [{"params": rest}, {"params": own, "weight_decay": 0.0}]
    settings = dict(config.optimizer.parameters)
    if "beta1" in settings:
        settings["betas"] = (settings.pop("beta1"), settings.pop("beta2"))
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    build_one: Callable[..., torch.optim.Optimizer] = kinds[config.optimizer.name]
    return build_one(
        [group for group in groups if group["params"]],
        lr=config.lr,
        weight_decay=config.weight_decay,
        **settings,
    )


def plain_training(
    config: RunConfig, dataset: Dataset
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Tensor]]:
    """`train.csv`, `evaluation.csv` and the final weights, as plain PyTorch has them."""
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    data = {
        name: (standardised(split, dataset), split.labels)
        for name, split in splits.items()
        if split is not None
    }
    images, labels = data["train"]
    model = build.initial_model(config, image_shape(dataset), images)
    if config.activation.name == "rrelu":
        noise = stream(config.seed, Use.NOISE)
        for name in model.hidden_layers:
            parameters = config.activation.parameters
            model.activations[name] = NoisyReLU(noise, parameters["lower"], parameters["upper"])
    optimizer = torch_optimizer(config, model)
    train_rows, evaluation_rows = [], []

    def look(iteration: int, epoch: int, names: tuple[str, ...]) -> None:
        model.eval()
        for name in names:
            x, y = data[name]
            with torch.no_grad():
                logits = model(x)
            accuracy = (logits.argmax(1) == y).double().mean().item()
            loss = F.cross_entropy(logits, y).item()
            evaluation_rows.append([iteration, epoch, name, loss, accuracy])
        model.train()

    look(0, 0, ("train", "validation"))
    for iteration, (epoch, chosen) in enumerate(batches(config, len(images)), 1):
        rate = learning_rate(config, iteration)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        logits = model(images[chosen])
        loss = F.cross_entropy(logits, labels[chosen])
        loss.backward()
        squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
        norm = torch.stack(squares).sum().sqrt().item()
        accuracy = (logits.argmax(1) == labels[chosen]).double().mean().item()
        optimizer.step()
        train_rows.append([iteration, epoch, rate, loss.item(), accuracy, norm])
        last = iteration == config.iterations
        if last or iteration % int(config.evaluate.every) == 0:
            look(iteration, epoch, ("train", "validation"))
        if last:
            look(iteration, epoch, ("test",))
            break
    columns = ["iteration", "epoch", "lr", "loss", "accuracy", "grad_norm"]
    return (
        pd.DataFrame(train_rows, columns=columns),
        pd.DataFrame(evaluation_rows, columns=["iteration", "epoch", "split", "loss", "accuracy"]),
        dict(model.state_dict()),
    )


def assert_same_frames(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(actual, expected, rtol=1e-9, atol=1e-13, check_dtype=False)


def assert_same_weights(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(actual[name], value, rtol=0, atol=1e-9 * scale + 1e-12)


def assert_like_plain_torch(run: Trained, dataset: Dataset) -> None:
    assert run.outcome.status == "finished"
    rows, evaluation, weights = plain_training(run.config, dataset)
    assert_same_frames(run.train, rows)
    assert_same_frames(run.evaluation, evaluation)
    assert_same_weights(run.weights, weights)
