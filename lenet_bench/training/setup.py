"""All that a stack of runs trains with, ready on its device before the first iteration.

In: the configurations of the runs and their data set. Out: a frozen `Setup`; nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lenet_bench.config.budget import budget, evaluation_interval, iterations_per_epoch
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets import Dataset
from lenet_bench.datasets.batches import DeviceSplit, first_images
from lenet_bench.datasets.shape import ImageShape, image_shape
from lenet_bench.model.stack import Stack
from lenet_bench.training.build import (
    build_optimizer,
    build_stack,
    learning_rate_of_each_iteration,
)
from lenet_bench.training.devices import COMPUTE_TYPES, PARAMETER_TYPES, find_device, gpu_name
from lenet_bench.training.probes import Probe
from lenet_bench.training.stacked_optimizer import StackedOptimizer


@dataclass(frozen=True)
class Setup:
    """What the runs of a stack train with.

    Attributes:
        configs: Of each run.
        device: Where they train.
        shape: Of the images.
        iterations: Updates of each run.
        per_epoch: Updates of an epoch.
        evaluate_every: Updates between two evaluations; 0 turns them off.
        train: The training split.
        evaluated: The splits of every evaluation, by name.
        test: The test split, in the type of the exported weights; None if there is none.
        stack: The networks.
        optimizer: What updates them.
        probe: What measures their layers; None if probes are turned off.
        learning_rates: Of each run, at every iteration.
    """

    configs: Sequence[RunConfig]
    device: torch.device
    shape: ImageShape
    iterations: int
    per_epoch: int
    evaluate_every: int
    train: DeviceSplit
    evaluated: Mapping[str, DeviceSplit]
    test: DeviceSplit | None
    stack: Stack
    optimizer: StackedOptimizer
    probe: Probe | None
    learning_rates: Sequence[list[float]]

    @property
    def common(self) -> RunConfig:
        """The configuration of the first run, for all in which the runs agree."""
        return self.configs[0]

    @property
    def seeds(self) -> list[int]:
        """The seed of each run."""
        return [config.seed for config in self.configs]


def set_up(configs: Sequence[RunConfig], dataset: Dataset) -> Setup:
    """Build what some runs train with.

    Args:
        configs: The runs, which agree in all that a stack shares.
        dataset: Their data.

    Raises:
        UserError: The device, the activation or the batch size cannot be used.
    """
    common = configs[0]
    device = find_device(common)
    shape = image_shape(dataset)
    iterations = budget(common, len(dataset.train))
    per_epoch = iterations_per_epoch(common, len(dataset.train))
    evaluate_every = evaluation_interval(common, len(dataset.train))
    compute = COMPUTE_TYPES[common.precision]
    train = DeviceSplit(dataset.train, dataset, device, compute)
    sample = first_images(dataset.train, common.evaluate.train_images)
    evaluated = {
        "train": DeviceSplit(sample, dataset, device, compute),
        "validation": DeviceSplit(dataset.validation, dataset, device, compute),
    }
    # The exported weights are evaluated as their reader will: by the plain model.
    exported = PARAMETER_TYPES[common.precision]
    test = DeviceSplit(dataset.test, dataset, device, exported) if dataset.test else None
    batch = train.batch(slice(common.batch_size)).float().cpu()
    stack = build_stack(configs, shape, batch, device)
    return Setup(
        configs=configs,
        device=device,
        shape=shape,
        iterations=iterations,
        per_epoch=per_epoch,
        evaluate_every=evaluate_every,
        train=train,
        evaluated=evaluated,
        test=test,
        stack=stack,
        optimizer=build_optimizer(configs, stack),
        probe=_build_probe(common, dataset, stack, device),
        learning_rates=[learning_rate_of_each_iteration(each, iterations) for each in configs],
    )


def _build_probe(
    common: RunConfig, dataset: Dataset, stack: Stack, device: torch.device
) -> Probe | None:
    settings = common.probe
    if not settings.every:
        return None
    sample = first_images(dataset.train, settings.images)
    split = DeviceSplit(sample, dataset, device, stack.compute)
    return Probe(
        stack,
        split.batch(slice(None)),
        split.labels,
        batch_size=common.batch_size,
        tau=settings.tau,
        saturation=settings.saturation,
    )


def facts_of(setup: Setup, dataset: Dataset) -> dict[str, Any]:
    """Return what `status.json` says of a run from the start: its budget, device and data."""
    return {
        "iterations": setup.iterations,
        "device": str(setup.device),
        "device_name": gpu_name(setup.device),
        "threads": torch.get_num_threads(),
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "classes": setup.shape.classes,
            "channels": setup.shape.channels,
            "size": setup.shape.size,
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test) if dataset.test else 0,
            "mean": dataset.mean.tolist(),
            "std": dataset.std.tolist(),
        },
    }
