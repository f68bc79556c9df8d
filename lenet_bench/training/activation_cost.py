"""Measures what an activation costs: time per element and inside LeNet, relative to ReLU.

In: names of activations. Out: `measure`, a frame with a row per measurement and round, and
`summarise`, medians and ranges over rounds. An activation may learn in fewer iterations. With the
cost of an iteration one can say whether it also learns in fewer seconds.

The column `where` is one of

- `element`: the activation alone, on standard normal numbers of shape (128, 24, 14, 14). These are
  the pooled feature maps of 4 runs behind the first convolution, or the unpooled ones of one LeNet.
  In float32 they take 2.4 MB: more than the second-level cache of a core, less than the last level.
  Nanoseconds are per element.
- `lenet`: a stack of 4 equal LeNet-5 on a batch of 128 images, 3x32x32, as it is trained here.
  Nanoseconds are per image and run.

The column `pass` is `forward`, as in evaluation (no gradient, no noise), or `forward_backward`, as
in training: with the gradients of the input and of learned slopes. In `lenet` the loss and the
update of the optimizer are included.

The column `implementation` is `torch`, the module of torch.nn if there is one, in torch's default
memory layout; or `lenet_bench`, what a stack computes, in the channels_last layout of a stack.

Each activation takes turns with ReLU, and its time is divided by that of ReLU in the same round.
The rows of ReLU itself show how far two measurements of the same thing differ. All this runs in a
process of its own, on one thread, which keeps its memory as workers do.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.errors import UserError
from lenet_bench.common.memory import MALLOC_SETTINGS
from lenet_bench.model.convolutional import Batch
from lenet_bench.model.groups import RunActivation
from lenet_bench.model.lenet import LeNet, ZooActivation, activation_module
from lenet_bench.model.loss import cross_entropy
from lenet_bench.model.stack import Stack
from lenet_bench.training.stacked_optimizer import OptimizerSettings, StackedOptimizer

REFERENCE = "relu"
DEFAULT_ROUNDS = 9
RUNS, BATCH, CLASSES = 4, 128, 10
IMAGES = (BATCH, 3, 32, 32)
CHANNELS = 6  # of the first convolution
MAPS = (BATCH, RUNS * CHANNELS, 14, 14)
# The fastest of these calls counts in a round. Short calls are disturbed more easily.
CALLS_PER_ROUND = {"element": 7, "lenet": 4}
KEYS = ["activation", "where", "pass", "implementation"]

Implementation = Literal["torch", "lenet_bench"]


@dataclass(frozen=True)
class Task:
    """One thing to time.

    Attributes:
        where: `element` or `lenet`.
        passes: `forward` or `forward_backward`.
        implementation: `torch` or `lenet_bench`.
        run: Does it once.
        size: By how many elements, or images times runs, its time is divided.
    """

    where: str
    passes: str
    implementation: Implementation
    run: Callable[[], object]
    size: int


def measure(
    rounds: int = DEFAULT_ROUNDS, activations: Sequence[str] = tuple(ACTIVATIONS)
) -> pd.DataFrame:
    """Measure activations; the default takes about a minute.

    Args:
        rounds: How often each is measured. Every other round runs backwards.
        activations: Names of activations; they are measured at default parameters.

    Returns:
        A row per activation, where, pass, implementation and round: `nanoseconds`,
        `relu_nanoseconds` (ReLU in the same round) and `relative` (the one over the other).

    Raises:
        UserError: There is no activation of a name, or no round.
    """
    if unknown := [name for name in activations if name not in ACTIVATIONS]:
        raise UserError(
            f"activations={','.join(unknown)}: unknown; choose from {', '.join(ACTIVATIONS)}"
        )
    if not activations or rounds < 1:
        raise UserError(
            f"rounds={rounds}, activations={','.join(activations)}: at least one of each is needed"
        )
    done = subprocess.run(  # noqa: S603  this module, with a number and names checked above
        [sys.executable, "-m", "lenet_bench.training.activation_cost", str(rounds), *activations],
        env={**MALLOC_SETTINGS, **os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        # Ctrl-C then reaches this process only, which ends the other one.
        start_new_session=True,
    )
    return pd.read_csv(io.StringIO(done.stdout))


def summarise(measured: pd.DataFrame) -> pd.DataFrame:
    """Compute median and range over rounds, in the order of the measurements.

    Returns:
        A row per activation, where, pass and implementation: `relative_median`, `relative_low` and
        `relative_high` (the smallest and largest round), `nanoseconds_median`, `rounds`.
    """
    summary = measured.groupby(KEYS, sort=False).agg(
        relative_median=("relative", "median"),
        relative_low=("relative", "min"),
        relative_high=("relative", "max"),
        nanoseconds_median=("nanoseconds", "median"),
        rounds=("round", "count"),
    )
    return summary.reset_index()


# --- tasks --------------------------------------------------------------------------------


def element_function(
    name: str, implementation: Implementation, training: bool
) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """Return an activation as a function of feature maps (B, C, H, W), and its learned tensors.

    Raises:
        KeyError: torch has no module for it.
    """
    entry = ACTIVATIONS[name]
    if implementation == "torch":
        if entry.torch_module is None:
            raise KeyError(f"torch.nn has no {name}")
        module = activation_module(name, MAPS[1], {}).train(training)
        return module, list(module.parameters())
    # What a stack does with the values of a group of equal runs.
    activation = RunActivation(name, entry.complete())
    if activation.fixed is not None:
        return activation.fixed, []
    formulas = ZooActivation(name, MAPS[1], {}).train(training)
    return formulas, list(formulas.parameters())


def tasks(name: str) -> Iterator[Task]:
    """Make everything that is timed about one activation."""
    implementations: list[Implementation] = ["lenet_bench"]
    if ACTIVATIONS[name].torch_module is not None:
        implementations.insert(0, "torch")
    for implementation in implementations:
        yield from _element_tasks(name, implementation)
    yield from _lenet_tasks(name)


def _element_tasks(name: str, implementation: Implementation) -> Iterator[Task]:
    layout = torch.contiguous_format if implementation == "torch" else torch.channels_last
    z, gradient = (_normal(MAPS, seed).to(memory_format=layout) for seed in (0, 1))
    at_evaluation, _ = element_function(name, implementation, training=False)
    in_training, learned = element_function(name, implementation, training=True)

    @torch.no_grad()
    def forward() -> None:
        at_evaluation(z)

    leaf = z.clone().requires_grad_()

    def forward_backward() -> None:
        torch.autograd.grad(in_training(leaf), [leaf, *learned], gradient)

    yield Task("element", "forward", implementation, forward, z.numel())
    yield Task("element", "forward_backward", implementation, forward_backward, z.numel())


def _lenet_tasks(name: str) -> Iterator[Task]:
    parameters = ACTIVATIONS[name].complete()

    def activation(units: int) -> nn.Module:
        return activation_module(name, units, parameters)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same weights under every activation
        models = [
            LeNet(
                in_channels=IMAGES[1], image_size=IMAGES[2], classes=CLASSES, activation=activation
            )
            for _ in range(RUNS)
        ]
    noisy = ACTIVATIONS[name].noisy
    noise = [torch.Generator().manual_seed(run) if noisy else None for run in range(RUNS)]
    stack = Stack(
        models,
        [RunActivation(name, parameters, generator) for generator in noise],
        device=torch.device("cpu"),
        compute=torch.float32,
    )
    optimizer = StackedOptimizer(stack.parameters, [OptimizerSettings("sgd")] * RUNS,
                                 stack.decay_mask)  # fmt: skip
    # With a learning rate of 0 the network stays the same; the cost is that of any other rate.
    rate = torch.zeros(RUNS, 1)
    images = _normal(IMAGES, seed=2).to(memory_format=torch.channels_last)
    labels = (torch.arange(BATCH) % CLASSES).expand(RUNS, -1)  # (N, B)
    batches = [Batch(images, range(RUNS))]

    @torch.no_grad()
    def forward() -> None:
        stack.forward(batches, training=False)

    def forward_backward() -> None:
        stack.backward(cross_entropy(stack.forward(batches, training=True), labels))
        optimizer.step(stack.gradients, rate)

    yield Task("lenet", "forward", "lenet_bench", forward, RUNS * BATCH)
    yield Task("lenet", "forward_backward", "lenet_bench", forward_backward, RUNS * BATCH)


def _normal(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- timing ---------------------------------------------------------------------------------------


def fastest(
    first: Callable[[], object], second: Callable[[], object], calls: int
) -> tuple[int, int]:
    """Call two functions in turn and return the nanoseconds of the fastest call of each."""
    taken: tuple[list[int], list[int]] = ([], [])
    for _ in range(calls):
        for function, times in zip((first, second), taken, strict=True):
            began = time.perf_counter_ns()
            function()
            times.append(time.perf_counter_ns() - began)
    return min(taken[0]), min(taken[1])


def _measure_here(rounds: int, activations: Sequence[str]) -> pd.DataFrame:
    """Do what `measure` does, in this process."""
    torch.set_num_threads(1)
    references = {
        (task.where, task.passes, task.implementation): task.run for task in tasks(REFERENCE)
    }
    plan = [
        (name, task, references[task.where, task.passes, task.implementation])
        for name in activations
        for task in tasks(name)
    ]
    for _, task, reference in plan:  # a first call allocates memory and chooses kernels
        task.run()
        reference()
    rows = []
    for number in range(1, rounds + 1):
        print(f"cost of activations: round {number} of {rounds}", file=sys.stderr, flush=True)
        for name, task, reference in plan if number % 2 else reversed(plan):
            nanoseconds, relu_nanoseconds = fastest(
                task.run, reference, CALLS_PER_ROUND[task.where]
            )
            rows.append(
                {
                    "activation": name,
                    "where": task.where,
                    "pass": task.passes,
                    "implementation": task.implementation,
                    "round": number,
                    "nanoseconds": nanoseconds / task.size,
                    "relu_nanoseconds": relu_nanoseconds / task.size,
                    "relative": nanoseconds / relu_nanoseconds,
                }
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    _measure_here(int(sys.argv[1]), sys.argv[2:]).to_csv(sys.stdout, index=False)
