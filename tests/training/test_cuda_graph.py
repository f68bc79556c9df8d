"""A training step that is replayed: everywhere the same calls, on a GPU the same numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pandas.testing import assert_frame_equal
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.training.cuda_graph import Replayed
from lenet_bench.training.setup import set_up
from lenet_bench.training.step import TrainingStep, batches_of_each_iteration
from tests.conftest import Configure, load, train

TINY = (
    "dataset=fake", "dataset.images=200", "batch_size=16", "iterations=12", "probe.every=4",
    "probe.images=32", "precision=float64",
)  # fmt: skip
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def _count(counter: Tensor) -> None:
    counter.add_(1)


def test_without_a_gpu_every_call_runs_the_step() -> None:
    counter = torch.zeros(())
    step = Replayed(partial(_count, counter), torch.device("cpu"))
    for _ in range(7):
        step()
    assert counter == 7


# Operations that wait for the device, or copy numbers of Python to it: none can be captured.
FORBIDDEN = ("lift_fresh", "_local_scalar_dense", "nonzero", "masked_select", "unique")


class Recorded(TorchDispatchMode):
    """Remembers the names of the operations that are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the operation."""
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("noisy", [False, True])  # where one draws noise, all are pooled later
@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_a_step_never_waits_for_the_device(
    configure: Configure, batch_norm: str, noisy: bool
) -> None:
    """Of no activation of the list, and with no optimizer."""
    entries = [entry for entry in ACTIVATIONS.values() if noisy or not entry.noisy]
    activations = [entry.name for entry in entries for _ in range(2)]
    optimizers = list(OPTIMIZERS)
    configs = [
        configure(
            *TINY, f"model.batch_norm={batch_norm}", f"activation={name}", f"seed={number % 2}",
            f"optimizer={optimizers[number % len(optimizers)]}", "weight_decay=0.1",
        )
        for number, name in enumerate(activations)
    ]  # fmt: skip
    setup = set_up(configs, load(configs[0]))
    step = TrainingStep(setup)
    batches = batches_of_each_iteration(setup)
    step(next(batches), 1)  # to warm up: what stays the same may be copied once
    chosen = next(batches)
    with Recorded() as recorded:
        step(chosen, 2)
    assert "convolution" in recorded.names  # it sees what is called
    assert recorded.names.isdisjoint(FORBIDDEN)


@on_a_gpu
def test_a_captured_step_counts_every_call_once() -> None:
    device = torch.device("cuda")
    counter = torch.zeros((), device=device)
    step = Replayed(partial(_count, counter), device)
    for calls in range(1, 8):
        step()
        assert counter.item() == calls


@on_a_gpu
@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_a_gpu_trains_as_a_cpu_does(configure: Configure, tmp_path: Path, batch_norm: str) -> None:
    """With a learning rate at which the CPU's own ways of summing differ by less, too.

    At 0.01, batch norm behind a ReLU6 lets two of the CPU's ways differ by 2e-6 after 12 updates.
    """
    names = ["sigmoid", "tanh", "relu", "prelu", "swish", "square", "relu6", "softplus"]
    stacks = {}
    for device in ("cpu", "cuda"):
        configs = [
            configure(
                *TINY, f"model.batch_norm={batch_norm}", f"activation={name}", f"device={device}",
                f"seed={number % 2}", f"lr={1e-4 if name == 'square' else 1e-3}",
            )
            for number, name in enumerate(names)
        ]  # fmt: skip
        stacks[device] = train(configs, tmp_path / device)
    for cpu, cuda in zip(stacks["cpu"], stacks["cuda"], strict=True):
        assert cuda.status["device"].startswith("cuda")
        for name in ("train", "evaluation", "layers"):
            assert_frame_equal(getattr(cpu, name), getattr(cuda, name), rtol=1e-6, atol=1e-9)


@on_a_gpu
def test_noise_is_drawn_anew_at_every_replay(configure: Configure, tmp_path: Path) -> None:
    """The same images again and again: only the noise tells two steps apart."""
    (run,) = train(
        [configure(*TINY, "dataset.train_size=16", "activation=rrelu", "device=cuda", "lr=1e-12")],
        tmp_path,
    )
    assert run.train["loss"].nunique() == len(run.train)
