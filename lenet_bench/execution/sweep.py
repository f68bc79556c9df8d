"""One sweep: from its configurations to a plan, to loaded data, to trained runs.

In: runs, each a parsed configuration and a directory. Out: trained runs, and the last
validation loss of each. Torch is imported only once there is something to train.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import home_expanded
from lenet_bench.common.lock import FolderLock
from lenet_bench.common.machine import available_cores
from lenet_bench.common.text import printable
from lenet_bench.config.budget import budget, budget_problem
from lenet_bench.config.schema import RunConfig
from lenet_bench.execution.options import EngineOptions
from lenet_bench.planning.plan_file import StoredPlan, read_plan, write_plan
from lenet_bench.planning.stacks import PlannedStack, SweepPlan, plan_sweep
from lenet_bench.records.file_facts import damage
from lenet_bench.records.run_directory import ENDED, Run, read_status

if TYPE_CHECKING:
    import torch

    from lenet_bench.datasets import Dataset
    from lenet_bench.execution.progress import Progress
    from lenet_bench.execution.workers import StackJob


def train(
    runs: Mapping[Path, Run],
    options: EngineOptions,
    plan_file: Path,
    lock: FolderLock | None = None,
    before: Callable[[], None] = lambda: None,
    agreed: Callable[[], None] = lambda: None,
    *,
    elsewhere: bool = False,
) -> dict[Path, float | None]:
    """Train runs in stacks and show the progress.

    Args:
        runs: All runs of the sweep by their directories. Finished runs are included, so that the
            plan does not depend on what was trained before.
        options: How to train.
        plan_file: Where the plan is kept. If it is there, what is left is trained by it.
        lock: Keeps other commands from writing where these runs are; workers hold it too.
        before: Called before anything is trained, if anything is; it may raise a `UserError`.
        agreed: Called once the plan to train by is written, if anything is left to train.
        elsewhere: Whether the sweep was begun in another folder: relative paths may mean other
            images than those of its finished runs.

    Returns:
        The last validation loss of each run directory, None where there is none.

    Raises:
        ChangedSweepError: The sweep was begun otherwise, see `agreement`.
        Interruption: Runs were stopped by a signal; what they measured is written.
        UserError: The data cannot be loaded or the device cannot be used.
    """
    from lenet_bench.execution.progress import Progress

    if elsewhere and options.skip_finished and not options.resume_anyway:
        _refuse_other_images(runs, plan_file)
    finished, damaged = _ended(runs) if options.skip_finished else (set(), [])
    progress = Progress(len(runs), len(finished))
    if len(finished) < len(runs):
        before()

        def begin() -> None:
            agreed()
            for line in damaged:
                print(line, file=sys.stderr)

        _train_unfinished(runs, finished, options, plan_file, progress, lock, begin)
    return {run: (read_status(run).get("metrics") or {}).get("validation_loss") for run in runs}


def _ended(runs: Iterable[Path]) -> tuple[set[Path], list[str]]:
    """The runs that finished or diverged, and a line about each whose files are damaged."""
    ended, damaged = set(), []
    for run in runs:
        status = read_status(run)
        if status.get("status") in ENDED:
            if problem := damage(run, status):
                damaged.append(printable(f"{run.name} is trained again: {problem}."))
            else:
                ended.add(run)
    return ended, damaged


def make_plan(runs: Mapping[Path, RunConfig], options: EngineOptions) -> SweepPlan:
    """Plan a sweep on this machine.

    Raises:
        UserError: The machine lacks a device.
    """
    from lenet_bench.training.devices import gpu_memory

    on_cpu = trains_on_cpu(runs.values())
    workers = options.workers or (len(available_cores()) if on_cpu else 1)  # a GPU serves one
    memory = None if on_cpu else gpu_memory(_devices(runs.values())) // workers
    return plan_sweep(
        runs,
        workers=workers,
        stack_size=options.stack_size,
        gpu_memory=memory,
        threads=_threads,
    )


def _threads(at_once: int) -> int:
    """How many threads compute a stack, by the number of stacks that are trained at once."""
    import torch

    # A single stack is trained in this process; OMP_NUM_THREADS may have set its threads.
    alone = torch.get_num_threads()
    return alone if at_once == 1 else max(1, len(available_cores()) // at_once)


def trains_on_cpu(configs: Iterable[RunConfig]) -> bool:
    """Whether none of these runs needs a GPU.

    Raises:
        UserError: The machine lacks a device.
    """
    return {device.type for device in _devices(configs)} == {"cpu"}


def _devices(configs: Iterable[RunConfig]) -> set[torch.device]:
    from lenet_bench.training.devices import find_device

    return {find_device(config) for config in configs}


def _train_unfinished(
    asked: Mapping[Path, Run],
    finished: Set[Path],
    options: EngineOptions,
    plan_file: Path,
    progress: Progress,
    lock: FolderLock | None,
    agreed: Callable[[], None],
) -> None:
    from lenet_bench.execution import workers
    from lenet_bench.execution.agreement import neighbours
    from lenet_bench.execution.signals import Interruption, StopRequest
    from lenet_bench.training.build import check_on_this_machine

    unfinished = [run.config for path, run in asked.items() if path not in finished]
    workers.try_out_foreign([config for config in unfinished if workers.is_foreign(config)])
    check_on_this_machine([config for config in unfinished if not workers.is_foreign(config)])
    others = neighbours(plan_file, asked, ended=True) if options.skip_finished else {}
    runs, finished = {**asked, **others}, {*finished, *others}
    stored, data = _agreed_plan(asked, runs, finished, options, plan_file)
    agreed()
    jobs = _jobs(stored, runs, finished, options, plan_file)
    iterations = sum(_budget(run.config, data[job.dataset]) for job in jobs for run in job.runs)
    count = min(stored.plan.workers, len(jobs))
    stop = StopRequest()
    with progress.training(iterations, len(jobs), count):
        workers.train(
            jobs,
            data,
            workers=count,
            timeout=options.timeout,
            reports=workers.Reports(progress.advance, progress.finished),
            stop=stop,
            inherited=[] if lock is None else [lock.descriptor],
        )
    if progress.stopped:
        progress.interrupted()
    progress.check_that_failures_are_recorded()
    if progress.stopped:
        raise Interruption  # the next batch of a sweeper must not begin


def _agreed_plan(
    asked: Mapping[Path, Run],
    runs: Mapping[Path, Run],
    finished: Set[Path],
    options: EngineOptions,
    plan_file: Path,
) -> tuple[StoredPlan, dict[str, Dataset]]:
    """Find and write the plan to train by, and load the data of the runs that are left.

    Args:
        asked: The runs that are asked for.
        runs: Those, and others of their stacks that have ended.
        finished: Those of all of them that are finished.
        options: How to train.
        plan_file: Where the plan is kept.

    Raises:
        ChangedSweepError: The sweep was begun otherwise.
    """
    from lenet_bench.execution.agreement import (
        ChangedSweepError,
        agree,
        agree_to_train_again,
        conditions_now,
        note,
        with_data,
    )

    configs = {directory: run.config for directory, run in asked.items()}
    conditions = conditions_now(_devices(configs.values()))
    fresh = make_plan(configs, options)
    if options.skip_finished:
        stored, differences = agree(plan_file, runs, finished, fresh, conditions)
    else:
        stored, differences = agree_to_train_again(plan_file, fresh, conditions)
    if differences and not options.resume_anyway:
        raise ChangedSweepError(differences)
    data = _load(stored.plan, runs, finished)
    fingerprints = {key: dataset.fingerprint for key, dataset in data.items()}
    stored, differing_data = with_data(stored, fingerprints)
    if differing_data and not options.resume_anyway:
        raise ChangedSweepError(differing_data)
    if differences or differing_data:
        stored = note(stored, [*differences, *differing_data])
    if not options.skip_finished:
        _remove_checkpoints(stored.plan, runs, plan_file)
    write_plan(stored, plan_file)
    return stored, data


def _load(plan: SweepPlan, runs: Mapping[Path, Run], finished: Set[Path]) -> dict[str, Dataset]:
    """The data sets of the stacks that have unfinished runs, by their settings, loaded once."""
    from lenet_bench import datasets

    loaded: dict[str, Dataset] = {}
    for stack in _unfinished_stacks(plan, runs, finished):
        settings = runs[stack.runs[0]].config.dataset
        key = settings.model_dump_json()
        if key not in loaded:
            loaded[key] = datasets.load(**settings.model_dump(exclude_none=True))
    return loaded


def _refuse_other_images(runs: Mapping[Path, Run], plan_file: Path) -> None:
    """Load the images that relative paths lead to, and compare them with those of the beginning.

    Raises:
        ChangedSweepError: They are others.
    """
    from lenet_bench import datasets
    from lenet_bench.execution.agreement import ChangedSweepError, with_data

    relative = {
        run.config.dataset.model_dump_json(): run.config.dataset
        for run in runs.values()
        if run.config.dataset.name == "image_folder"
        and not home_expanded(Path(str(run.config.dataset.root))).is_absolute()
    }
    stored = read_plan(plan_file) if relative else None
    if stored is None:
        return
    fingerprints = {
        key: datasets.load(**settings.model_dump(exclude_none=True)).fingerprint
        for key, settings in relative.items()
    }
    _, differences = with_data(stored, fingerprints)
    if differences:
        raise ChangedSweepError(differences)


def _unfinished_stacks(
    plan: SweepPlan, runs: Mapping[Path, Run], finished: Set[Path]
) -> list[PlannedStack]:
    """The stacks that are left to train; those of other commands stay as they are."""
    return [
        stack
        for stack in plan.stacks
        if runs.keys() >= set(stack.runs) and not finished >= set(stack.runs)
    ]


def _jobs(
    stored: StoredPlan,
    runs: Mapping[Path, Run],
    finished: Set[Path],
    options: EngineOptions,
    plan_file: Path,
) -> list[StackJob]:
    """The stacks that have unfinished runs."""
    from lenet_bench.execution.workers import StackJob

    conditions = stored.conditions or {}
    facts = {key: conditions[key] for key in ("processor", "instruction_set", "source")}
    if stored.resumed_anyway:
        facts["resumed_anyway"] = stored.resumed_anyway
    return [
        StackJob(
            stack.index,
            tuple(runs[run] for run in stack.runs),
            runs[stack.runs[0]].config.dataset.model_dump_json(),
            checkpoint=_checkpoints(plan_file) / f"stack-{stack.index}.ckpt",
            threads=stack.threads,
            facts={**facts, "workers": stored.plan.workers},
            anew=not options.skip_finished,
        )
        for stack in _unfinished_stacks(stored.plan, runs, finished)
    ]


def _checkpoints(plan_file: Path) -> Path:
    """The folder beside a plan where the states of its stacks are kept."""
    return plan_file.with_name(plan_file.stem.replace("plan", "checkpoints", 1))


def _remove_checkpoints(plan: SweepPlan, runs: Mapping[Path, Run], plan_file: Path) -> None:
    """Remove the states of all stacks but those in which nothing is trained again."""
    others = tuple(f"stack-{stack.index}." for stack in plan.stacks if stack.runs[0] not in runs)
    for file in _checkpoints(plan_file).glob("*"):
        if not file.name.startswith(others):
            with contextlib.suppress(OSError):
                file.unlink()


def _budget(config: RunConfig, dataset: Dataset) -> int:
    images = len(dataset.train)
    if problem := budget_problem(config, images):
        raise UserError(problem)  # known beforehand but for the images of a folder
    return budget(config, images)
