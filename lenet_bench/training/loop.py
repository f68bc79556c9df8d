"""The training loop: one stack of runs, from initial weights to closed run directories.

In: the runs of a stack and a data set. Out: for each run a directory that tells everything, and an
`Outcome`. The loop never waits for the device: losses stay there and are written in blocks.

Letters in shapes: N runs in the stack, B images in a batch, K iterations in a block.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenet_bench.config.budget import budget, evaluation_interval, iterations_per_epoch
from lenet_bench.datasets import Dataset, Split
from lenet_bench.model.convolutional import Batch
from lenet_bench.model.lenet import LeNet
from lenet_bench.model.loss import cross_entropy
from lenet_bench.model.stack import Stack
from lenet_bench.records.run_directory import Run, RunRecorder, Status
from lenet_bench.training import build
from lenet_bench.training.cuda_graph import Replayed
from lenet_bench.training.probes import Probe
from lenet_bench.training.stacked_optimizer import StackedOptimizer

BLOCK = 50  # iterations whose losses are written together


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    directory: Path
    status: Status
    metrics: dict[str, float]
    error: str | None = None


@dataclass
class _Live:
    """What the loop remembers about one run."""

    run: Run
    recorder: RunRecorder
    learning_rates: list[float]
    metrics: dict[str, float] = field(default_factory=dict)
    iteration: int = 0  # the last one in train.csv
    outcome: Outcome | None = None  # None while it trains


class Images:
    """A split on the device, as the network receives it."""

    def __init__(
        self, split: Split, dataset: Dataset, device: torch.device, dtype: torch.dtype
    ) -> None:
        # (n, H, W, C): a gathered batch, seen as (B, C, H, W), is channels_last without a copy,
        # grey images included, whose layout torch would otherwise take for channels first.
        self._pixels = split.images.permute(0, 2, 3, 1).to(device)
        self.labels = split.labels.to(device)
        self.dtype = dtype
        self._scale = (1 / (255 * dataset.std)).to(device, dtype)
        self._shift = (-dataset.mean / dataset.std).to(device, dtype)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Standardised images (B, C, H, W)."""
        chosen = (
            self._pixels[indices]
            if isinstance(indices, slice)
            else self._pixels.index_select(0, indices)
        )
        pixels = chosen.to(self.dtype)
        return (pixels * self._scale + self._shift).permute(0, 3, 1, 2)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images (B, C, H, W) and labels (B,), in order, about `size` at a time."""
        for start in range(0, len(self), size):
            chunk = slice(start, start + size)
            yield self.batch(chunk), self.labels[chunk]


def first(split: Split, count: int | None) -> Split:
    """The first images of a split; data sets are shuffled, so they are a fair sample."""
    return split if count is None else Split(split.images[:count], split.labels[:count])


def image_shape(dataset: Dataset) -> build.ImageShape:
    """What a network has to know about a data set."""
    _, channels, size, _ = dataset.train.images.shape
    return build.ImageShape(channels, size, len(dataset.classes))


def train_stack(
    runs: Sequence[Run],
    dataset: Dataset,
    *,
    index: int = 0,
    progress: Callable[[int], None] = lambda iterations: None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Train runs as one stack.

    The runs must agree in data set, batch size, budget, model, precision, device, probe and
    evaluation; the planner sees to it. Neighbours of the same activation are computed together.

    Args:
        runs: The stack.
        dataset: Their data.
        index: The stack's number in its sweep, for the records.
        progress: Called with the number of run-iterations done since the last call.
        stopped: Asked at every iteration; once true, everything so far is written and the runs
            end as interrupted.

    Returns:
        An outcome per run. An error while training is no exception but the outcome `failed`. A
        stack that does not fit the device's memory is trained as two of half the size.

    Raises:
        UserError: Before anything is written: the device, the activation or the batch size cannot
            be used.
    """
    options: dict[str, Any] = {"index": index, "progress": progress, "stopped": stopped}
    try:
        return _StackTrainer(runs, dataset, **options).train()
    except torch.OutOfMemoryError:
        if len(runs) == 1:
            raise
    # Only now, with the exception gone, is the memory free again.
    torch.cuda.empty_cache()
    half = len(runs) // 2
    return [
        outcome
        for part in (runs[:half], runs[half:])
        for outcome in train_stack(part, dataset, **options)
    ]


class _StackTrainer:
    def __init__(
        self,
        runs: Sequence[Run],
        dataset: Dataset,
        index: int,
        progress: Callable[[int], None],
        stopped: Callable[[], bool],
    ) -> None:
        common = runs[0].config  # for what all runs of the stack agree in
        self.common = common
        self.progress, self.stopped = progress, stopped
        self.device = build.device(common.device, common.precision)
        self.shape = image_shape(dataset)
        self.iterations = budget(common, len(dataset.train))
        self.per_epoch = iterations_per_epoch(common, len(dataset.train))
        self.evaluate_every = evaluation_interval(common, len(dataset.train))

        parameters = build.PARAMETER_TYPES[common.precision]
        compute = build.COMPUTE_TYPES[common.precision]
        self.train_images = Images(dataset.train, dataset, self.device, compute)
        sample = first(dataset.train, common.evaluate.train_images)
        self.evaluated = {
            "train": Images(sample, dataset, self.device, compute),
            "validation": Images(dataset.validation, dataset, self.device, compute),
        }
        # The exported weights are evaluated as their reader will: by the plain model.
        self.test = dataset.test and Images(dataset.test, dataset, self.device, parameters)

        batch = self.train_images.batch(slice(common.batch_size)).float().cpu()
        models = [build.initial_model(run.config, self.shape, batch) for run in runs]
        self.stack = Stack(
            models,
            [build.run_activation(run.config, self.device) for run in runs],
            device=self.device,
            compute=compute,
        )
        self.optimizer = StackedOptimizer(
            self.stack.parameters,
            [build.optimizer_settings(run.config) for run in runs],
            self.stack.decay_mask,
        )
        self.probe = self._probe(dataset)
        self.everyone = range(len(runs))
        self.runs_by_seed: dict[int, list[int]] = {}
        for position, run in enumerate(runs):
            self.runs_by_seed.setdefault(run.config.seed, []).append(position)
        self.started = time.perf_counter()
        facts = {
            "iterations": self.iterations,
            "device": str(self.device),
            "dataset": {
                "name": dataset.name,
                "fingerprint": dataset.fingerprint,
                "classes": self.shape.classes,
                "channels": self.shape.channels,
                "size": self.shape.size,
                "train": len(dataset.train),
                "validation": len(dataset.validation),
                "test": len(dataset.test) if dataset.test else 0,
                "mean": dataset.mean.tolist(),
                "std": dataset.std.tolist(),
            },
        }
        self.live = [
            _Live(
                run,
                RunRecorder(
                    run,
                    {**facts, "stack": {"index": index, "size": len(runs), "position": position}},
                ),
                build.learning_rate_of_each_iteration(run.config, self.iterations),
            )
            for position, run in enumerate(runs)
        ]
        rates = torch.tensor([live.learning_rates for live in self.live], dtype=torch.float64)
        self.learning_rates = rates.to(self.device, parameters)  # (N, T)
        # What a step reads and writes keeps its place in memory, so that it can be replayed.
        self.chosen = {
            seed: torch.zeros(common.batch_size, dtype=torch.int64, device=self.device)
            for seed in self.runs_by_seed
        }
        self.rate = torch.zeros(len(runs), 1, dtype=parameters, device=self.device)
        self.row = torch.zeros(3, len(runs), dtype=parameters, device=self.device)
        self.replayed_step = Replayed(
            self._step,
            self.device,
            self.stack.activations.generators,
            capture=not self.stack.activations.hold_foreign_code,
        )
        # Loss, correct predictions and gradient norm of each iteration since the last write.
        self.block = torch.zeros(3, BLOCK, len(runs), dtype=parameters, device=self.device)
        self.in_block = 0
        self.iteration = 0

    def _probe(self, dataset: Dataset) -> Probe | None:
        settings = self.common.probe
        if not settings.every:
            return None
        sample = first(dataset.train, settings.images)
        images = Images(sample, dataset, self.device, self.train_images.dtype)
        return Probe(
            self.stack,
            images.batch(slice(None)),
            images.labels,
            batch_size=self.common.batch_size,
            tau=settings.tau,
            saturation=settings.saturation,
        )

    def train(self) -> list[Outcome]:
        try:
            self._train()
        except KeyboardInterrupt:  # where nobody handles the signal, as in a notebook
            self._interrupt()
        except torch.OutOfMemoryError as error:
            if len(self.live) > 1:
                raise  # half as many may fit
            self._fail(error)
        except Exception as error:  # one stack's failure must not end the sweep
            self._fail(error)
        finally:
            for live in self.live:
                live.recorder.close()
        return [live.outcome for live in self.live if live.outcome is not None]

    def _train(self) -> None:
        self._look(force=True)
        for chosen in self._batches():
            if self.stopped():
                self._interrupt()
                return
            self._iterate(chosen)
            if self.in_block == BLOCK:
                self._write_block()
            self._look(force=self.iteration == self.iterations)
            if all(live.outcome for live in self.live):
                return
        self._finish()

    def _batches(self) -> Iterator[dict[int, Tensor]]:
        """For each iteration up to the budget, the images (B,) that runs of each seed train on."""
        streams = {seed: build.stream(seed, build.BATCH_ORDER) for seed in self.runs_by_seed}
        size, done = self.common.batch_size, 0
        while True:
            orders = {
                seed: torch.randperm(len(self.train_images), generator=stream).to(self.device)
                for seed, stream in streams.items()
            }
            for k in range(self.per_epoch):
                if done == self.iterations:
                    return
                done += 1
                yield {seed: order[k * size : (k + 1) * size] for seed, order in orders.items()}

    def _iterate(self, chosen: Mapping[int, Tensor]) -> None:
        """One mini-batch update of every run."""
        for seed, indices in chosen.items():
            self.chosen[seed].copy_(indices)
        self.rate.copy_(self.learning_rates[:, self.iteration : self.iteration + 1])
        self.replayed_step()
        self.block[:, self.in_block] = self.row
        self.iteration += 1
        self.in_block += 1

    def _step(self) -> None:
        """The update itself: from `chosen` and `rate` to new parameters and `row`."""
        batches = [
            Batch(self.train_images.batch(self.chosen[seed]), runs)
            for seed, runs in self.runs_by_seed.items()
        ]
        each = {seed: self.train_images.labels[indices] for seed, indices in self.chosen.items()}
        labels = torch.stack([each[live.run.config.seed] for live in self.live])  # (N, B)
        logits = self.stack.forward(batches, training=True)  # (N, B, classes)
        losses = cross_entropy(logits, labels)  # (N,)
        self.stack.backward(losses)
        self.row[0] = losses.detach()
        self.row[1] = (logits.detach().argmax(2) == labels).sum(1)
        torch.linalg.vector_norm(self.stack.gradients, dim=1, out=self.row[2])
        self.optimizer.step(self.stack.gradients, self.rate)

    def _epoch(self, iteration: int) -> int:
        return math.ceil(iteration / self.per_epoch)

    def _write_block(self) -> None:
        """Write the rows of the iterations since the last call, and see who diverged."""
        count, self.in_block = self.in_block, 0
        if not count:
            return
        losses, correct, norms = self.block[:, :count].double().transpose(1, 2).tolist()
        before = self.iteration - count
        self.progress(count * len(self.live))
        for position, live in enumerate(self.live):
            if live.outcome:
                continue
            rows = []
            for k in range(count):
                iteration, loss = before + k + 1, losses[position][k]
                accuracy = correct[position][k] / self.common.batch_size
                rate, norm = live.learning_rates[iteration - 1], norms[position][k]
                rows.append([iteration, self._epoch(iteration), rate, loss, accuracy, norm])
                if not math.isfinite(loss):
                    break
            live.recorder.write("train", rows)
            live.iteration = rows[-1][0]
            if not math.isfinite(rows[-1][3]):
                self._diverge(live, f"the loss was {rows[-1][3]} at iteration {live.iteration}")

    def _look(self, force: bool) -> None:
        """Probe, evaluate and save wherever the iteration asks for it, and at both ends."""
        due = {
            name: bool(every) and (force or self.iteration % every == 0)
            for name, every in (
                ("probe", self.common.probe.every),
                ("evaluate", self.evaluate_every),
            )
        }
        every = self.common.checkpoint.every
        checkpoint = bool(every and self.iteration and self.iteration % every == 0) and not force
        if not (any(due.values()) or checkpoint):
            return
        self._write_block()
        if all(live.outcome for live in self.live):
            return
        if due["probe"] and self.probe:
            for live, rows in zip(self.live, self.probe.measure(self.iteration), strict=True):
                if not live.outcome:
                    live.recorder.write("layers", rows)
        if due["evaluate"]:
            self._evaluate()
        if checkpoint:
            for position, live in enumerate(self.live):
                if not live.outcome:
                    live.recorder.weights(self.stack.state_dict(position))
                    self._status(live, "running")

    def _evaluate(self) -> None:
        for split, images in self.evaluated.items():
            losses, accuracies = evaluate(
                lambda x: self.stack.forward([Batch(x, self.everyone)], training=False),
                images,
                self.common.batch_size,
            )
            for live, loss, accuracy in zip(self.live, losses, accuracies, strict=True):
                if not live.outcome:
                    self._record(live, split, loss, accuracy)

    def _record(self, live: _Live, split: str, loss: float, accuracy: float) -> None:
        epoch = self._epoch(self.iteration)
        live.recorder.write("evaluation", [[self.iteration, epoch, split, loss, accuracy]])
        live.metrics |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
        best = live.metrics.get("best_validation_accuracy", -1.0)
        if split == "validation" and accuracy > best:
            live.metrics["best_validation_accuracy"] = accuracy
            live.metrics["best_validation_iteration"] = self.iteration

    # --- endings --------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._write_block()
        for position, live in enumerate(self.live):
            if live.outcome:
                continue
            state = self.stack.state_dict(position)
            if not all(bool(value.isfinite().all()) for value in state.values()):
                self._diverge(live, f"weights not finite after iteration {self.iteration}")
                continue
            live.recorder.weights(state)
            if self.test and self.evaluate_every:
                model = build.plain_model(live.run.config, self.shape)
                model.load_state_dict(state)
                losses, accuracies = evaluate_model(model.to(self.device), self.test)
                self._record(live, "test", losses, accuracies)
            self._end(live, "finished")

    def _interrupt(self) -> None:
        self._write_block()
        for position, live in enumerate(self.live):
            if not live.outcome:
                live.recorder.weights(self.stack.state_dict(position))
                self._end(live, "interrupted", "stopped by the user")

    def _diverge(self, live: _Live, error: str) -> None:
        self._end(live, "diverged", error)

    def _fail(self, error: Exception) -> None:
        trace = traceback.format_exc()
        try:
            self._write_block()
        except Exception:  # the device itself may be gone
            self.in_block = 0
        for live in self.live:
            if not live.outcome:
                what = f"{type(error).__name__}: {error}".splitlines()[0]
                self._end(live, "failed", what, failure={"traceback": trace})

    def _end(self, live: _Live, status: Status, error: str | None = None, **more: Any) -> None:
        self._status(live, status, error, **more)
        live.outcome = Outcome(live.run.directory, status, dict(live.metrics), error)

    def _status(self, live: _Live, status: Status, error: str | None = None, **more: Any) -> None:
        seconds = time.perf_counter() - self.started
        live.recorder.status(
            status,
            iteration=live.iteration,
            metrics=live.metrics,
            seconds=seconds / len(self.live),
            error=error,
            stack={"seconds": seconds},
            **more,
        )


@torch.no_grad()
def evaluate(
    forward: Callable[[Tensor], Tensor], images: Images, chunk: int
) -> tuple[list[float], list[float]]:
    """Evaluate N models on a split.

    Args:
        forward: Images (B, C, H, W) to logits (N, B, classes).
        images: The split.
        chunk: Images at a time.

    Returns:
        Of each model the mean cross-entropy in nats and the accuracy, a fraction in [0, 1].
    """
    loss, correct = torch.zeros(()), torch.zeros(())
    for batch, labels in images.chunks(chunk):
        logits = forward(batch)
        everyone = labels.expand(logits.shape[0], -1)
        loss = loss.to(logits.device) + cross_entropy(logits, everyone).double() * len(labels)
        correct = correct.to(logits.device) + (logits.argmax(2) == everyone).sum(1)
    count = len(images)
    return (loss / count).tolist(), [hits / count for hits in correct.tolist()]


def evaluate_model(model: LeNet, images: Images) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy of a plain LeNet on a split."""
    model.eval()
    losses, accuracies = evaluate(lambda x: model(x).unsqueeze(0), images, 500)
    return losses[0], accuracies[0]
