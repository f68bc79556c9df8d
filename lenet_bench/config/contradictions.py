"""Values that are each allowed but do not go together.

In: a `RunConfig`, every value of which is allowed by itself. Out: a line for each contradiction.
The files of an image folder are looked for here, too, but not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.image_files import find_root_problem
from lenet_bench.choices.split_sizes import KNOWN, Facts, check_train_size, validation_images
from lenet_bench.common.errors import DatasetError
from lenet_bench.config.budget import budget_problem
from lenet_bench.config.schema import RunConfig

# Keys, or beginnings of keys, whose values `find_contradictions` holds against others.
INTERPLAY = (
    "activation.", "optimizer.", "schedule.", "dataset.", "model.", "probe.", "batch_size",
    "iterations", "epochs", "precision", "device",
    "reproducible",
)  # fmt: skip


def find_contradictions(config: RunConfig) -> Iterator[str]:
    """What no single key can show: values that are each allowed but not together."""
    optimizer = config.optimizer.parameters
    if optimizer.get("nesterov") and not optimizer["momentum"]:
        yield "optimizer.nesterov=true: needs optimizer.momentum > 0"
    if config.activation.name != "custom":
        entry = ACTIVATIONS[config.activation.name]
        if conflict := entry.conflict(**config.activation.parameters):
            yield f"activation={entry.name}: {conflict}"
    if config.reproducible and config.device not in ("auto", "cpu"):
        yield (
            f"device={config.device}: reproducible=true needs a processor; "
            "a GPU makes some sums in no fixed order"
        )
    yield from _lone_images(config)
    images, problems = _training_images(config)
    yield from problems
    if problem := budget_problem(config, images):
        yield problem
    dataset = config.dataset
    if dataset.name == "image_folder" and dataset.root is None:
        yield "dataset.root=null: must be given, as in dataset.root=FOLDER"
    elif dataset.name == "image_folder" and (
        problem := find_root_problem(str(dataset.root), dataset.validation_size)
    ):
        yield problem


def _lone_images(config: RunConfig) -> Iterator[str]:
    """What to say where a batch of one image would be normalised: a neuron has one value then."""
    norm = config.model.batch_norm
    if norm == "none" or not config.model.hidden:
        return
    if config.batch_size == 1:
        yield f"batch_size=1: model.batch_norm={norm} needs at least 2 images in a batch"
    if config.probe.every and config.probe.images == 1:
        yield f"probe.images=1: model.batch_norm={norm} needs at least 2 images"


def _training_images(config: RunConfig) -> tuple[int | None, list[str]]:
    """How many images will be trained on, None where only reading the data would tell.

    Returns:
        The number, and what is wrong with the sizes of splits and batch.
    """
    dataset = config.dataset
    known = KNOWN.get(dataset.name)
    if dataset.name == "fake":
        images, classes = dataset.images or 1000, dataset.classes or 10
        known = Facts(images, images // 5, classes, dataset.channels or 3)
        if images < 2 * classes:
            return None, [
                f"dataset.images={images}: must be at least 2 for each of {classes} classes"
            ]
    training, problems = dataset.train_size, []
    if known is not None:
        available, classes = known.train, known.classes
        try:
            available -= validation_images(dataset.validation_size, available, classes)
            if dataset.train_size is not None:
                check_train_size(dataset.train_size, available, classes)
            training = training or available
        except DatasetError as error:
            problems.append(str(error))
    if training is not None and training < config.batch_size:
        most = (
            f"dataset.train_size={training}"
            if dataset.train_size is not None
            else f"the {training:,} training images of dataset={dataset.name}"
        )
        problems.append(f"batch_size={config.batch_size}: must not exceed {most}")
    return training, problems
