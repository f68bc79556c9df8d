"""The training step: one mini-batch update of every run, and the batches it works on.

In: for every seed the images of a batch, and the learning rates of the iteration. Out: new
parameters, and what was measured on the way. Nothing waits for the device. Everything that a step
reads and writes keeps its place in memory, so that on CUDA it is captured once and replayed.

Letters in shapes: N runs in the stack, T iterations of a run, B images in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from lenet_bench.model.convolutional import Batch
from lenet_bench.model.loss import cross_entropy
from lenet_bench.training.cuda_graph import Replayed
from lenet_bench.training.randomness import Use, stream
from lenet_bench.training.setup import Setup

T = TypeVar("T")


class Measured(NamedTuple, Generic[T]):
    """What a step measures about each run: tensors (N,) of one step, or lists over several.

    Attributes:
        loss: Mean cross-entropy of the batch before the update, in nats.
        correct: How many images of the batch were classified correctly before the update.
        grad_norm: Euclidean norm of the gradient of all parameters.
    """

    loss: T
    correct: T
    grad_norm: T


class TrainingStep:
    """The update of a stack, called once for every iteration.

    Args:
        setup: What is trained.

    Attributes:
        row: (3, N), the fields of `Measured` at the last call, overwritten by the next.
    """

    def __init__(self, setup: Setup) -> None:
        self._stack, self._optimizer = setup.stack, setup.optimizer
        self._images = setup.train
        self._seeds = setup.seeds
        self._runs_by_seed: dict[int, list[int]] = {}
        for run, seed in enumerate(setup.seeds):
            self._runs_by_seed.setdefault(seed, []).append(run)
        dtype, device, runs = setup.stack.parameters.dtype, setup.device, setup.stack.runs
        rates = torch.tensor(setup.learning_rates, dtype=torch.float64)
        self._rates = rates.to(device, dtype)  # (N, T)
        self._rate = torch.zeros(runs, 1, dtype=dtype, device=device)
        self._chosen = {
            seed: torch.zeros(setup.common.batch_size, dtype=torch.int64, device=device)
            for seed in self._runs_by_seed
        }
        self.row = torch.zeros(len(Measured._fields), runs, dtype=dtype, device=device)
        self._measured: Measured[Tensor] = Measured(*self.row)
        self._replayed_update = Replayed(
            self._update,
            device,
            setup.stack.activations.generators,
            capture=not setup.stack.activations.hold_foreign_code,
        )

    def __call__(self, chosen: Mapping[int, Tensor], iteration: int) -> None:
        """Update every run.

        Args:
            chosen: For each seed the numbers (B,) of the training images.
            iteration: The number of this update; the first is 1.
        """
        for seed, indices in chosen.items():
            self._chosen[seed].copy_(indices)
        self._rate.copy_(self._rates[:, iteration - 1 : iteration])
        self._replayed_update()

    def _update(self) -> None:
        batches = [
            Batch(self._images.batch(self._chosen[seed]), runs)
            for seed, runs in self._runs_by_seed.items()
        ]
        by_seed = {seed: self._images.labels[indices] for seed, indices in self._chosen.items()}
        labels = torch.stack([by_seed[seed] for seed in self._seeds])  # (N, B)
        logits = self._stack.forward(batches, training=True)  # (N, B, classes)
        losses = cross_entropy(logits, labels)  # (N,)
        self._stack.backward(losses)
        self._measured.loss.copy_(losses.detach())
        self._measured.correct.copy_((logits.detach().argmax(2) == labels).sum(1))
        torch.linalg.vector_norm(self._stack.gradients, dim=1, out=self._measured.grad_norm)
        self._optimizer.step(self._stack.gradients, self._rate)


def batches_of_each_iteration(setup: Setup, done: int = 0) -> Iterator[dict[int, Tensor]]:
    """Draw the batches of all iterations that are left of the budget.

    Every epoch is a new order of the training images; those that do not fill its last batch are
    left out.

    Args:
        setup: What is trained.
        done: Iterations that were made before. Their batches are drawn, and passed over.

    Yields:
        For each seed the numbers (B,) of the images that runs of this seed train on.
    """
    streams = {seed: stream(seed, Use.BATCH_ORDER) for seed in dict.fromkeys(setup.seeds)}
    size = setup.common.batch_size
    skipped_epochs, first = divmod(done, setup.per_epoch)
    for generator in streams.values():
        for _ in range(skipped_epochs):
            torch.randperm(len(setup.train), generator=generator)
    while True:
        orders = {
            seed: torch.randperm(len(setup.train), generator=generator).to(setup.device)
            for seed, generator in streams.items()
        }
        for k in range(first, setup.per_epoch):
            if done == setup.iterations:
                return
            done += 1
            yield {seed: order[k * size : (k + 1) * size] for seed, order in orders.items()}
        first = 0
