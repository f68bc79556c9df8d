"""A stack that was stopped and goes on ends with the same bytes as one that was left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lenet_bench.config.schema import RunConfig
from lenet_bench.records.run_directory import Run, read_status
from lenet_bench.training.loop import train_stack
from lenet_bench.training.recording import Outcome
from tests.conftest import Configure, load

FILES = ("train.csv", "evaluation.csv", "layers.csv", "weights.pt")

# 60 images make 7 batches of 8: an epoch ends at 7, 14, 21, ...; a block at 50.
SMALL = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=54",
    "evaluate.every=9", "probe.every=6", "probe.images=16", "model.width=0.5",
)  # fmt: skip
OWN = ("activation=custom", "activation.path=tests.training.test_resume:Remembering")


class Remembering(nn.Module):
    """An activation with everything that a module can remember, and noise."""

    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1))
        self.register_buffer("largest", torch.zeros(()))
        self.smallest = torch.zeros(())
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Leaky ReLU of a slope that depends on what was seen before."""
        if self.training:
            self.calls += 1
            self.largest = torch.maximum(self.largest, x.detach().max().to(self.largest.dtype))
            self.smallest = torch.minimum(self.smallest, x.detach().min().float())
            x = x + 0.01 * torch.randn_like(x)
        factor = self.slope * (1 + 0.1 * self.largest - 0.01 * self.smallest) / (1 + self.calls)
        return torch.where(x > 0, x, factor.to(x.dtype) * x)


def runs_of(configs: Sequence[RunConfig], folder: Path) -> list[Run]:
    """A run directory for each."""
    return [Run(config, folder / str(number)) for number, config in enumerate(configs)]


def whole(configs: Sequence[RunConfig], folder: Path) -> dict[str, bytes]:
    """Train undisturbed; what is in the files then."""
    train_stack(runs_of(configs, folder), load(configs[0]))
    return content(configs, folder)


def content(configs: Sequence[RunConfig], folder: Path) -> dict[str, bytes]:
    """The bytes of all files that must not depend on interruptions."""
    return {
        f"{number}/{name}": (folder / str(number) / name).read_bytes()
        for number in range(len(configs))
        for name in FILES
        if (folder / str(number) / name).exists()
    }


def stopping_at(*iterations: int, first: int = 0) -> Callable[[], bool]:
    """Say yes when this iteration has been made; asked once before each of the others."""
    asked = iter(range(first, 10**9))
    return lambda: next(asked) in iterations


def train_with_stops(
    configs: Sequence[RunConfig], folder: Path, stops: Sequence[int], **options: Any
) -> list[Outcome]:
    """Train, stop behind each of these iterations, and go on in a new setup."""
    runs, checkpoint = runs_of(configs, folder), folder / "checkpoints" / "stack-0.ckpt"
    before = 0
    for stop in stops:
        seen: list[int] = []
        train_stack(
            runs,
            load(configs[0]),
            checkpoint=checkpoint,
            stopped=stopping_at(stop, first=before),
            progress=seen.append,
            **options,
        )
        assert seen[0] == before * len(runs)
        assert seen == sorted(seen)
        before = stop
        assert checkpoint.exists()
    outcomes = train_stack(runs, load(configs[0]), checkpoint=checkpoint, **options)
    assert not checkpoint.parent.exists()
    return outcomes


# Untrained; in an epoch, on its end, beside a probe, an evaluation and a block, before the last.
STOPS = (0, 5, 6, 7, 9, 10, 49, 50, 51, 53)

KINDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "activations": (
        ("activation=rrelu",), ("activation=rrelu", "seed=1"), ("activation=prelu",),
        ("activation=swish", "seed=1"), ("activation=relu", "lr=0.2"),
    ),
    "optimizers": (
        ("optimizer=adam", "lr=0.001"), ("optimizer=adamw", "lr=0.001", "weight_decay=0.1"),
        ("optimizer=rmsprop", "lr=0.0005", "optimizer.momentum=0.5", "optimizer.centered=true"),
        ("optimizer=adagrad",), ("optimizer=sgd", "optimizer.momentum=0"),
        ("optimizer=sgd", "optimizer.nesterov=true", "schedule=cosine", "schedule.warmup=5"),
        ("schedule=step", "schedule.every=9", "seed=2"),
    ),
    "norm before": (("activation=prelu", "model.batch_norm=before"), ("model.batch_norm=before",)),
    "norm after": (("activation=rrelu", "model.batch_norm=after"), ("model.batch_norm=after",)),
    "float64": (("precision=float64", "activation=prelu"), ("precision=float64",)),
    "bfloat16": (("precision=bfloat16", "activation=prelu"), ("precision=bfloat16",)),
    "own": (OWN, (*OWN, "seed=1")),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_state_is_gone_on_from(
    configure: Configure, tmp_path: Path, kind: str
) -> None:
    configs = [configure(*SMALL, *overrides) for overrides in KINDS[kind]]
    torch.manual_seed(7)  # what came before in the process decides nothing
    undisturbed = whole(configs, tmp_path / "whole")
    torch.manual_seed(8)
    (tmp_path / "parts").mkdir()
    outcomes = train_with_stops(configs, tmp_path / "parts", STOPS)
    assert {outcome.status for outcome in outcomes} == {"finished"}
    assert len(undisturbed) == len(FILES) * len(configs)
    assert content(configs, tmp_path / "parts") == undisturbed
    for number, outcome in enumerate(outcomes):
        there = read_status(tmp_path / "whole" / str(number))
        here = read_status(outcome.directory)
        assert there["metrics"] == here["metrics"] == outcome.metrics
        assert there["files"] == here["files"]
