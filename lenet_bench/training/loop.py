"""The training loop: one stack of runs, from initial weights to closed run directories.

In: the runs of a stack and a data set. Out: for each run a directory that tells everything, and an
`Outcome`. The loop never waits for the device: losses stay there and are written in blocks.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from lenet_bench.common.surroundings import is_out_of_memory
from lenet_bench.config.budget import budget
from lenet_bench.datasets import Dataset
from lenet_bench.model.convolutional import Batch
from lenet_bench.records.checkpoint import CheckpointFile
from lenet_bench.records.provenance import digest_of_module
from lenet_bench.records.run_directory import ENDED, Run, has_ended
from lenet_bench.training.build import plain_model
from lenet_bench.training.checkpoints import Checkpoints
from lenet_bench.training.evaluation import evaluate, evaluate_model
from lenet_bench.training.recording import Outcome, StackRecording
from lenet_bench.training.setup import Setup, facts_of, set_up
from lenet_bench.training.step import TrainingStep, batches_of_each_iteration

_log = logging.getLogger(__name__)


def train_stack(
    runs: Sequence[Run],
    dataset: Dataset,
    *,
    index: int = 0,
    checkpoint: Path | None = None,
    facts: Mapping[str, Any] = MappingProxyType({}),
    anew: bool = False,
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
        checkpoint: Where the state of the stack is kept while it trains; None keeps none.
        facts: What `status.json` says of each run besides.
        anew: Train all runs from the beginning. Otherwise those that have ended are only computed,
            because the bits of the others depend on them; their directories are left alone.
        progress: Called with the number of run-iterations that are done, first at the start.
        stopped: Asked at every iteration; once true, everything so far is written and the runs
            end as interrupted.

    Returns:
        An outcome per run. An error while training is no exception but the outcome `failed`. A
        stack that does not fit the device's memory is trained as two of half the size.

    Raises:
        UserError: Before anything is written: the device, the activation or the batch size cannot
            be used.
    """
    file = CheckpointFile(checkpoint) if checkpoint is not None else None
    if file is not None and anew:
        _remove(file)
    job = _Job(runs, dataset, index, file, facts, anew, progress, stopped)
    return _train_or_halve(job)


@dataclass(frozen=True)
class _Job:
    """The arguments of `train_stack`."""

    runs: Sequence[Run]
    dataset: Dataset
    index: int
    checkpoint: CheckpointFile | None
    facts: Mapping[str, Any]
    anew: bool
    progress: Callable[[int], None]
    stopped: Callable[[], bool]

    @property
    def iterations(self) -> int:
        """Iterations of all runs together."""
        return sum(budget(run.config, len(self.dataset.train)) for run in self.runs)


def _train_or_halve(job: _Job) -> list[Outcome]:
    ended = [n for n, run in enumerate(job.runs) if not job.anew and has_ended(run.directory)]
    if len(ended) == len(job.runs):
        job.progress(job.iterations)
        if job.checkpoint is not None:
            _remove(job.checkpoint)
        return []
    halves = _halves(job) if len(job.runs) > 1 else []
    if not any(half.checkpoint is not None and half.checkpoint.exists for half in halves):
        try:
            return _train_whole(job, ended)
        except torch.OutOfMemoryError:
            if not halves:
                raise
        # Only now, with the exception gone, is the memory free again.
        torch.cuda.empty_cache()
        if job.checkpoint is not None:
            job.checkpoint.remove()  # it is of no use to a half
    return [outcome for half in halves for outcome in _train_or_halve(half)]


def _remove(checkpoint: CheckpointFile) -> None:
    """Remove a checkpoint, and those of the halves of its stack."""
    for half in (checkpoint.half(0), checkpoint.half(1)):
        if half.exists:
            _remove(half)
    checkpoint.remove()


def _halves(job: _Job) -> list[_Job]:
    """A stack as two of half the size, whose iterations add up."""
    middle = len(job.runs) // 2
    file = job.checkpoint
    first = replace(job, runs=job.runs[:middle], checkpoint=file and file.half(0))
    before = first.iterations
    second = replace(
        job,
        runs=job.runs[middle:],
        checkpoint=file and file.half(1),
        progress=lambda done: job.progress(before + done),
    )
    return [first, second]


def _train_whole(job: _Job, ended: Collection[int]) -> list[Outcome]:
    """Train all of the runs together, or raise `OutOfMemoryError` if fewer may fit."""
    setup = set_up([run.config for run in job.runs], job.dataset)
    facts = {**facts_of(setup, job.dataset), **job.facts}
    size = len(job.runs)
    stack = {
        "index": job.index,
        "size": size,
        "runs": [run.directory.name for run in job.runs],
    }
    each = [
        {
            **facts,
            "seed": run.config.seed,
            "stack": {**stack, "position": n},
            **digest_of_module(run.config),
        }
        for n, run in enumerate(job.runs)
    ]
    recording = StackRecording(job.runs, ended, setup, each, job.progress)
    fingerprint = job.dataset.fingerprint
    checkpoints = Checkpoints(job.checkpoint, setup, job.runs, fingerprint, recording)
    devices = [setup.device] if setup.device.type == "cuda" else []
    try:
        # What a user's own module draws must not depend on what was trained before.
        with torch.random.fork_rng(devices, enabled=setup.stack.activations.hold_foreign_code):
            _train(setup, recording, checkpoints, job.stopped)
    except KeyboardInterrupt:
        if job.stopped():
            raise  # asked for a second time: leave at once
        recording.interrupt()  # where nobody handles the signal, as in a notebook
    except torch.OutOfMemoryError as error:
        if size > 1:
            raise  # half as many may fit
        recording.fail(error)
    except Exception as error:  # one stack's failure must not end the sweep
        _log.debug("Training failed", exc_info=True)
        recording.fail(error)
        if setup.stack.activations.hold_foreign_code and not _comes_from_surroundings(error):
            checkpoints.remove()  # a mended module is to be trained from the beginning
    if all(outcome.status in ENDED for outcome in recording.outcomes):
        with contextlib.suppress(OSError):  # nobody needs it any more, and it does no harm
            checkpoints.remove()
    return recording.outcomes


def _comes_from_surroundings(error: Exception) -> bool:
    """Whether training may succeed from the same state once there is space or memory again."""
    return isinstance(error, OSError) or is_out_of_memory(error)


def _train(
    setup: Setup,
    recording: StackRecording,
    checkpoints: Checkpoints,
    stopped: Callable[[], bool],
) -> None:
    if setup.stack.activations.hold_foreign_code:
        torch.manual_seed(setup.common.seed)
    step = TrainingStep(setup)
    if not checkpoints.go_on():
        recording.begin()
        _look(setup, recording, force=True)
    left = batches_of_each_iteration(setup, recording.iteration)
    for iteration, chosen in enumerate(left, recording.iteration + 1):
        if stopped():
            checkpoints.save(sync=True)
            recording.interrupt()
            return
        step(chosen, iteration)
        recording.add_step(step.row)
        _look(setup, recording, force=iteration == setup.iterations)
        if not recording.training:
            return
        checkpoints.save_if_due()
    _finish(setup, recording)


def _look(setup: Setup, recording: StackRecording, *, force: bool) -> None:
    """Probe, evaluate and save where the iteration asks for it.

    Args:
        setup: What is trained.
        recording: Where it is written.
        force: Probe and evaluate in any case, unless they are turned off, but do not save.
    """

    def due(every: int) -> bool:
        return bool(every) and (force or recording.iteration % every == 0)

    probe = setup.probe if due(setup.common.probe.every) else None
    evaluates = due(setup.evaluate_every)
    saves = not force and recording.iteration > 0 and due(setup.common.checkpoint.every)
    if not (probe or evaluates or saves):
        return
    recording.write_block()
    if not recording.training:
        return
    if probe:
        recording.write_layers(probe.measure(recording.iteration))
    if evaluates:
        _evaluate(setup, recording)
    if saves:
        recording.write_all_weights()


def _evaluate(setup: Setup, recording: StackRecording) -> None:
    everyone = range(setup.stack.runs)
    for name, split in setup.evaluated.items():
        losses, accuracies = evaluate(
            lambda images: setup.stack.forward([Batch(images, everyone)], training=False),
            split,
            setup.common.batch_size,
        )
        for position in recording.training:
            recording.write_evaluation(position, name, losses[position], accuracies[position])


def _finish(setup: Setup, recording: StackRecording) -> None:
    """Save the weights of the runs that made it to the end, and test them."""
    recording.write_block()
    for position in recording.training:
        state = setup.stack.state_dict(position)
        if not all(bool(value.isfinite().all()) for value in state.values()):
            error = f"weights not finite after iteration {recording.iteration}"
            recording.end(position, "diverged", error)
            continue
        recording.write_weights(position, state)
        if setup.test and setup.evaluate_every:
            model = plain_model(setup.configs[position], setup.shape)
            model.load_state_dict(state)
            loss, accuracy = evaluate_model(model.to(setup.device), setup.test)
            recording.write_evaluation(position, "test", loss, accuracy)
        recording.end(position, "finished")
