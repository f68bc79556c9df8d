"""What a run will cost, by its configuration alone: iterations, operations, memory.

In: a `RunConfig`. Out: an `Estimate`, by arithmetic on shapes, without torch and without the data.
Planning sizes and balances stacks by it, and `plan=true` shows it.

Only the floating-point operations of convolutions and fully connected layers are counted, two for
each multiplication and its addition; the rest of a LeNet needs few. An update takes three passes:
one forward, one backward to the inputs, one backward to the weights. An evaluation takes one pass
over its images, a probe the time of several.

Memory of a run in a stack, in bytes, with P parameters, S numbers of optimizer state per parameter,
B images in a batch, and F values that the layers put out for one image, before and after pooling:

    4 P (3 + S)              weights, gradients, updates, state   (8 P (3 + S) in float64)
    COPIES * size * B * F    each value, its activation, the gradients of both, what pooling keeps

A batch is counted for each run, although runs of one seed share it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lenet_bench.choices.image_files import expand_home, scan
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.split_sizes import KNOWN, validation_images
from lenet_bench.config.budget import budget, evaluation_interval
from lenet_bench.config.schema import DatasetConfig, RunConfig

PASSES = 3  # forward, backward to the inputs, backward to the weights
PROBE_PASSES = 4  # the time of statistics of every unit, in forward passes
COPIES = 3  # of each layer's values that are held at the same time
PROCESS_BYTES = 450 * 2**20  # a worker with torch loaded, before its first stack
MAIN_BYTES = 850 * 2**20  # the process that composes, loads the data and reports
SHARE = 0.6  # of the machine's memory that all workers together may take
KERNEL = 5  # as in lenet_bench.model.lenet, which imports torch

_SIZES = {"float32": 4, "float64": 8, "bfloat16": 2}  # bytes of a value
_SIDE = 32  # pixels


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before any image is read.

    Attributes:
        channels: Channels of an image; 3 where only reading would tell.
        size: Height and width of an image in pixels.
        classes: Number of classes.
        train: Number of images to train on.
        total: Number of images of all splits; memory holds a byte per pixel and channel of each.
    """

    channels: int
    size: int
    classes: int
    train: int
    total: int

    @property
    def bytes(self) -> int:
        """Memory that the images take, once for all workers."""
        return self.total * self.channels * self.size**2


@dataclass(frozen=True)
class Estimate:
    """What a run costs.

    Attributes:
        iterations: The budget, in updates.
        operations: Floating-point operations of the whole run.
        bytes: Memory that it takes in its stack.
    """

    iterations: int
    operations: float
    bytes: int


def dataset_facts(dataset: DatasetConfig) -> DatasetFacts:
    """Look up a data set; the files of an image folder are counted, not read.

    Raises:
        DatasetError: The folder holds no classes of images, or the sizes of its splits do not fit.
    """
    available: int
    channels: int
    if dataset.name == "fake":
        available = dataset.images or 1000
        test, classes, channels = available // 5, dataset.classes or 10, dataset.channels or 3
    elif dataset.name == "image_folder":
        folder = scan(expand_home(str(dataset.root)))
        available, classes, channels = folder.train_images, len(folder.classes), 3
        if folder.validation_images is not None:  # then none are held out
            train = dataset.train_size or available
            others = len(folder.files) - available
            return DatasetFacts(channels, dataset.size or _SIDE, classes, train, train + others)
        test = folder.test_images or 0
    else:
        available, test, classes, channels = KNOWN[dataset.name]
    validation = validation_images(dataset.validation_size, available, classes)
    train = dataset.train_size or available - validation
    return DatasetFacts(channels, dataset.size or _SIDE, classes, train, train + validation + test)


def estimate(config: RunConfig, data: DatasetFacts) -> Estimate:
    """What a run costs.

    Args:
        config: The run.
        data: Its data set, from `dataset_facts`.
    """
    _, multiplications, _ = _count(config, data)
    forward = 2.0 * multiplications
    iterations = budget(config, data.train)
    seen = PASSES * config.batch_size * iterations
    if config.probe.every:
        # The gradient is that of one batch.
        probed = PROBE_PASSES * min(config.probe.images, data.train) + PASSES * config.batch_size
        seen += (iterations // config.probe.every + 1) * probed
    between = evaluation_interval(config, data.train)
    if between:
        sample = min(config.evaluate.train_images or data.train, data.train)
        seen += (iterations // between + 1) * (sample + max(data.total - data.train, 0) // 2)

    return Estimate(iterations, forward * seen, sum(_memory(config, data)))


def memory_problem(config: RunConfig) -> str | None:
    """Say that a run needs more memory than this machine has; None if it does not.

    The files of an image folder are not counted. On another device than the processor, only the
    weights and the images count.
    """
    dataset, model = config.dataset, config.model
    if dataset.name == "image_folder":
        data = DatasetFacts(3, dataset.size or _SIDE, 2, config.batch_size, 0)
    else:
        data = dataset_facts(dataset)
    lists = (("model.channels", model.channels), ("model.hidden", model.hidden))
    network = " ".join(f"{key}=[{','.join(map(str, value))}]" for key, value in lists)
    if model.width != 1:
        network += f" model.width={model.width:g}"
    memory = machine_memory()
    try:
        weights, layers = _memory(config, data)
    except OverflowError:  # beyond any float
        return f"{network}: no machine has the memory for this network"
    parts = {
        network: weights,
        f"dataset.images={dataset.images}": data.bytes,
        f"batch_size={config.batch_size}": layers if config.device == "cpu" else 0,
    }
    needed = sum(parts.values())
    if memory is None or needed <= memory:
        return None
    return (
        f"{max(parts, key=lambda part: parts[part])}: a run needs about {needed // 10**9:,} GB of "
        f"memory; this machine has {memory / 1e9:,.0f} GB"
    )


def _memory(config: RunConfig, data: DatasetFacts) -> tuple[int, int]:
    """Bytes of a run's weights with all that belongs to them, and of the values of its layers."""
    parameters, _, values = _count(config, data)
    kind = OPTIMIZERS[config.optimizer.name]
    settings = config.optimizer.parameters
    state = sum(
        not buffer.per_run and (buffer.only_with is None or bool(settings[buffer.only_with]))
        for buffer in kind.buffers
    )
    weights = (8 if config.precision == "float64" else 4) * parameters * (3 + state)
    layers = COPIES * _SIZES[config.precision] * config.batch_size * values
    return weights, layers


def _count(config: RunConfig, data: DatasetFacts) -> tuple[int, int, int]:
    """Parameters of a LeNet; multiplications and values put out by its layers for one image."""
    model = config.model
    parameters = multiplications = values = 0
    inputs, side = data.channels, data.size
    for channels in map(model.scaled, model.channels):
        side = side - KERNEL + 1
        weights = inputs * channels * KERNEL**2
        parameters += weights + channels
        multiplications += weights * side**2
        values += channels * side**2
        side //= 2
        values += channels * side**2
        inputs = channels
    inputs *= side**2
    for units in (*map(model.scaled, model.hidden), data.classes):
        parameters += inputs * units + units
        multiplications += inputs * units
        values += units
        inputs = units
    return parameters, multiplications, values


def worker_memory(workers: int, data: Sequence[DatasetFacts]) -> int | None:
    """Bytes that each worker's stack may take on this machine; None where it cannot be told.

    It is a share of the memory that the machine, or the container, has: what happens to be free
    changes from moment to moment, and a plan with it.

    Args:
        workers: Processes that train at the same time.
        data: The data sets, of which all workers share one copy.
    """
    memory = machine_memory()
    if memory is None:
        return None
    left = SHARE * memory - sum(each.bytes for each in data)
    return max(int(left / workers) - PROCESS_BYTES, 0)


def machine_memory() -> int | None:
    """Bytes of memory that the machine, or the container, has; None where it cannot be told."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory if memory > 0 else None
