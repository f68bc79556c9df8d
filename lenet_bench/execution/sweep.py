"""One sweep: from its configurations to a plan, to loaded data, to trained runs.

In: runs, each a parsed configuration and a directory. Out: trained runs, and the last
validation loss of each. Torch is imported only once there is something to train.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_bench.common.errors import UserError
from lenet_bench.common.lock import FolderLock
from lenet_bench.common.machine import available_cores
from lenet_bench.config.budget import budget, warmup_problem
from lenet_bench.config.schema import RunConfig
from lenet_bench.execution.options import EngineOptions
from lenet_bench.planning.stacks import PlannedStack, SweepPlan, plan_sweep
from lenet_bench.records.run_directory import Run, has_ended, read_status

if TYPE_CHECKING:
    import torch

    from lenet_bench.datasets import Dataset
    from lenet_bench.execution.progress import Progress
    from lenet_bench.execution.workers import StackJob


def train(
    runs: Mapping[Path, Run],
    options: EngineOptions,
    plan_file: Path | None = None,
    lock: FolderLock | None = None,
) -> dict[Path, float | None]:
    """Train runs in stacks and show the progress.

    Args:
        runs: All runs of the sweep by their directories. Finished runs are included, so that the
            plan does not depend on what was trained before.
        options: How to train.
        plan_file: Where to keep the plan.
        lock: Keeps other commands from writing where these runs are; workers hold it too.

    Returns:
        The last validation loss of each run directory, None where there is none.

    Raises:
        UserError: The data cannot be loaded or the device cannot be used.
    """
    from lenet_bench.execution.progress import Progress

    finished = {run for run in runs if options.skip_finished and is_finished(run)}
    progress = Progress(len(runs), len(finished))
    if len(finished) < len(runs):
        _train_unfinished(runs, finished, options, plan_file, progress, lock)
    return {run: read_status(run).get("metrics", {}).get("validation_loss") for run in runs}


def is_finished(directory: Path) -> bool:
    """Whether a run directory holds a run that was trained to its end or diverged."""
    return has_ended(directory)


def make_plan(runs: Mapping[Path, RunConfig], options: EngineOptions) -> SweepPlan:
    """Plan a sweep on this machine.

    Raises:
        UserError: The machine lacks a device.
    """
    from lenet_bench.training.devices import gpu_memory

    on_cpu = trains_on_cpu(runs.values())
    workers = options.workers or (len(available_cores()) if on_cpu else 1)  # a GPU serves one
    memory = None if on_cpu else gpu_memory(_devices(runs.values())) // workers
    return plan_sweep(runs, workers=workers, stack_size=options.stack_size, gpu_memory=memory)


def trains_on_cpu(configs: Iterable[RunConfig]) -> bool:
    """Whether none of these runs needs a GPU.

    Raises:
        UserError: The machine lacks a device.
    """
    return {device.type for device in _devices(configs)} == {"cpu"}


def _devices(configs: Iterable[RunConfig]) -> set[torch.device]:
    from lenet_bench.training.devices import find_device

    wanted = {(config.device, config.precision) for config in configs}
    return {find_device(name, precision) for name, precision in wanted}


def _train_unfinished(
    runs: Mapping[Path, Run],
    finished: Set[Path],
    options: EngineOptions,
    plan_file: Path | None,
    progress: Progress,
    lock: FolderLock | None,
) -> None:
    from lenet_bench.execution import workers
    from lenet_bench.execution.signals import StopRequest
    from lenet_bench.training.build import check_on_this_machine

    configs = {directory: run.config for directory, run in runs.items()}
    unfinished = [config for run, config in configs.items() if run not in finished]
    workers.try_out_foreign([config for config in unfinished if workers.is_foreign(config)])
    check_on_this_machine([config for config in unfinished if not workers.is_foreign(config)])
    plan = make_plan(configs, options)
    if plan_file is not None:
        plan.write(plan_file)
    jobs, data = _load(plan, runs, finished, options, plan_file)
    iterations = sum(_budget(run.config, data[job.dataset]) for job in jobs for run in job.runs)
    count = min(plan.workers, len(jobs))
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
    if stop():
        progress.interrupted()


def _load(
    plan: SweepPlan,
    runs: Mapping[Path, Run],
    finished: Set[Path],
    options: EngineOptions,
    plan_file: Path | None,
) -> tuple[list[StackJob], dict[str, Dataset]]:
    """The stacks that have unfinished runs, and the data sets of these, each loaded once."""
    import torch

    from lenet_bench import datasets
    from lenet_bench.execution.workers import StackJob

    loaded: dict[str, Dataset] = {}
    unfinished = [stack for stack in plan.stacks if not finished >= set(stack.runs)]
    one = min(plan.workers, len(unfinished)) == 1
    threads = torch.get_num_threads() if one else max(1, len(available_cores()) // plan.workers)
    jobs = []
    for stack in unfinished:
        settings = runs[stack.runs[0]].config.dataset
        key = settings.model_dump_json()
        if key not in loaded:
            loaded[key] = datasets.load(**settings.model_dump(exclude_none=True))
        jobs.append(
            StackJob(
                stack.index,
                tuple(runs[run] for run in stack.runs),
                key,
                checkpoint=_checkpoint(stack, plan_file),
                threads=threads,
                facts={},
                anew=not options.skip_finished,
            )
        )
    return jobs, loaded


def _checkpoint(stack: PlannedStack, plan_file: Path | None) -> Path:
    """Where the state of a stack is kept: beside the plan, or in the directory of a single job."""
    if plan_file is None:
        folder = stack.runs[0] / "checkpoints"
    else:
        folder = plan_file.with_name(plan_file.stem.replace("plan", "checkpoints", 1))
    return folder / f"stack-{stack.index}.ckpt"


def _budget(config: RunConfig, dataset: Dataset) -> int:
    images = len(dataset.train)
    if problem := warmup_problem(config, images):
        raise UserError(problem)  # known beforehand but for the images of a folder
    return budget(config, images)
