"""Training a stack against plain PyTorch, run by run, and what every run is promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.errors import UserError
from lenet_bench.config.budget import evaluation_interval
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets import Dataset, Split
from lenet_bench.datasets.batches import DeviceSplit
from lenet_bench.datasets.shape import image_shape
from lenet_bench.model.lenet import LeNet
from lenet_bench.model.stack import Stack
from lenet_bench.training import build
from lenet_bench.training.evaluation import evaluate_model
from lenet_bench.training.randomness import Use, stream
from tests.conftest import Configure, Trained, load, train

SMALL = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=22",
    "probe.every=0",
)  # fmt: skip
EXACT = (*SMALL, "precision=float64", "evaluate.every=14", "model.width=0.6")
OWN = ("activation=custom", "activation.path=tests.training.test_loop:Bend")


class Bend(nn.Module):
    """A user's own activation: learns a scale, and never uses another parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 1.5))
        self.unused = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        """x / (1 + |scale x|)."""
        return x / (1 + (self.scale * x).abs())


# --- the oracle: one LeNet, one loop, nothing of the stack ----------------------------------------


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


def assert_same_frames(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-9, atol=1e-13, check_dtype=False)


def assert_same_weights(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9 * scale + 1e-12)


def assert_like_plain_torch(run: Trained, dataset: Dataset) -> None:
    assert run.outcome.status == "finished"
    rows, evaluation, weights = plain_training(run.config, dataset)
    assert_same_frames(run.train, rows)
    assert_same_frames(run.evaluation, evaluation)
    assert_same_weights(run.weights, weights)


# --- the stack is plain PyTorch -------------------------------------------------------------------

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


def test_alone_or_in_a_stack_is_the_same_to_every_column(
    configure: Configure, tmp_path: Path
) -> None:
    """Every activation, every optimizer, three seeds; rrelu too, though the planner parts it."""
    configs = []
    for number, (name, overrides) in enumerate(zip(ACTIVATIONS, cycle(OPTIMIZERS), strict=False)):
        base = configure(*EXACT, "iterations=60", *overrides, "probe.every=20", "probe.images=20")
        lr = base.lr * (1e-4 if name == "square" else 1)
        activation = configure(f"activation={name}").activation
        changes = {"activation": activation, "seed": number % 3, "lr": lr}
        configs.append(base.model_copy(update=changes))
    pooled_first = [config for config in configs if config.activation.name != "rrelu"]
    for name, members in (("all", configs), ("pooled_first", pooled_first)):
        for number, run in enumerate(train(members, tmp_path / name)):
            (alone,) = train([run.config], tmp_path / f"{name}{number}")
            assert alone.status["status"] == "finished", run.config.activation
            assert_same_frames(run.train, alone.train)
            assert_same_frames(run.evaluation, alone.evaluation)
            assert_same_frames(run.layers, alone.layers)
            assert_same_weights(run.weights, alone.weights)


# --- divergence -----------------------------------------------------------------------------------

CSVS = ("train.csv", "evaluation.csv", "layers.csv")


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
    assert sum(done) <= 2 * 100


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


# --- what a run leaves behind ---------------------------------------------------------------------


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
