"""How long a run trains and how often it is evaluated, once the number of training images is known.

In: a `RunConfig` and the number of training images. Out: iterations. Checks, estimates and training
all ask here, so that they cannot disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_bench.common.errors import UserError

if TYPE_CHECKING:
    from lenet_bench.config.schema import RunConfig

MOST_ITERATIONS = 10_000_000  # of a run; its train.csv has a row for each
BYTES_OF_A_ROW = 70  # of train.csv
SHORTEST_AUTO_INTERVAL = 200  # iterations: epochs of small data sets are not evaluated each


def iterations_per_epoch(config: RunConfig, training_images: int) -> int:
    """Whole batches in the training split; the last, smaller one is dropped.

    Raises:
        UserError: The batch is larger than the training split.
    """
    if config.batch_size > training_images:
        raise UserError(
            f"batch_size={config.batch_size}: the training split of dataset={config.dataset.name} "
            f"has {training_images} images; use that many or fewer"
        )
    return training_images // config.batch_size


def budget(config: RunConfig, training_images: int) -> int:
    """Iterations to train for: `epochs` where it is set, `iterations` otherwise."""
    per_epoch = iterations_per_epoch(config, training_images)
    return config.iterations if config.epochs is None else config.epochs * per_epoch


def evaluation_interval(config: RunConfig, training_images: int) -> int:
    """Iterations between evaluations; 0 for none."""
    if config.evaluate.every == "auto":
        return max(iterations_per_epoch(config, training_images), SHORTEST_AUTO_INTERVAL)
    return config.evaluate.every


def budget_problem(config: RunConfig, training_images: int | None) -> str | None:
    """Say what is wrong with a budget that is too long, or that a warm-up uses up; None if it fits.

    Args:
        config: The run.
        training_images: Their number; None where only reading the data would tell. A budget in
            epochs is then not judged.
    """
    warmup = config.schedule.parameters["warmup"]
    if config.epochs is None:
        iterations, origin = config.iterations, f"iterations={config.iterations}"
    elif training_images is None or training_images < config.batch_size:
        return None
    else:
        iterations = budget(config, training_images)
        origin = f"the {iterations:,} iterations of epochs={config.epochs}"
    if iterations > MOST_ITERATIONS:
        size = iterations * BYTES_OF_A_ROW // 10**9
        return (
            f"{origin}: a run has at most {MOST_ITERATIONS:,} iterations; "
            f"the train.csv of this one would take about {size:,} GB"
        )
    if warmup < iterations:
        return None
    return f"schedule.warmup={warmup}: must be less than the budget, {origin}"
