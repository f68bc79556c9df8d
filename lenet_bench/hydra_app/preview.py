"""`plan=true`: what a sweep would train, in which stacks, how long and in how much memory.

In: the configuration of a sweep as Hydra composed it. Out: a table on standard output; nothing is
trained, and no file is written. The time is the operations of the plan divided by the rate that
training reaches: a fixed share of the rate of a matrix product, which is measured on the spot.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from lenet_bench.common.errors import UserError
from lenet_bench.common.machine import available_cores
from lenet_bench.config.schema import RunConfig
from lenet_bench.execution import sweep
from lenet_bench.execution.options import EngineOptions, parse_engine_options
from lenet_bench.execution.progress import count, duration
from lenet_bench.hydra_app.fast_composition import COMPOSED, compose_fast
from lenet_bench.hydra_app.names import naming_by_what_varies
from lenet_bench.hydra_app.plain import plain
from lenet_bench.hydra_app.session import current
from lenet_bench.hydra_app.task import repetitions
from lenet_bench.planning.estimates import MAIN_BYTES, PROCESS_BYTES, dataset_facts
from lenet_bench.planning.stacks import SweepPlan, makespan
from lenet_bench.records.run_directory import has_ended

CALIBRATION = 0.2  # seconds
SIDE = 768  # of the matrices of the calibration
SLOWER = {"float64": 2.0}  # a float64 is as large as two float32
EFFICIENCY = 0.8  # share of the rate of a matrix product that training reaches


def compose_jobs(master: DictConfig) -> list[DictConfig]:
    """The configurations of all jobs of a sweep, numbered.

    Raises:
        UserError: The sweeper decides on its jobs only while it runs.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    if not str(master.hydra.sweeper._target_).endswith(".BasicSweeper"):
        raise UserError(
            "plan=true: the sweeper decides on later runs by the results of earlier ones, so there "
            "is no plan beforehand; leave plan=true out, or use hydra/sweeper=basic"
        )
    overrides: Any = OmegaConf.to_container(master.hydra.overrides.task)
    swept = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    compose_fast(hydra, COMPOSED)
    loader = hydra.config_loader
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*swept, *overrides])
    (combinations,) = BasicSweeper.split_arguments(parsed, None)
    jobs = []
    for number, combination in enumerate(combinations):
        job = loader.load_sweep_config(master, list(combination))
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        jobs.append(job)
    return jobs


def show(jobs: Sequence[DictConfig], directory: Path, config: DictConfig, *, given: bool) -> None:
    """Print the plan of some jobs.

    Args:
        jobs: Their configurations.
        directory: The sweep directory, whether it exists or not.
        config: That of the sweep.
        given: Whether the user named the sweep directory, so that it may hold finished runs.

    Raises:
        UserError: A configuration is wrong, or a device is not there.
    """
    options, note = _options(config)
    runs = _runs(jobs, directory, stacked=not note)
    known = given and options.skip_finished
    finished = {run for run in runs if known and has_ended(run)}
    plan = sweep.make_plan(runs, options)
    on_cpu = sweep.trains_on_cpu(runs.values())
    threads = min(stack.threads for stack in plan.stacks)
    # As many as would use all cores, even where fewer stacks are trained.
    at_once = max(min(plan.workers, len(plan.stacks)), len(available_cores()) // threads)
    rate = measured_rate(at_once) / at_once * EFFICIENCY if on_cpu else None  # of each worker

    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("stack", "runs", "activations", "seeds", "iterations", "time", "memory"):
        table.add_column(header, justify="left" if header in ("activations", "seeds") else "right")
    lengths, sizes = [], []
    for stack in plan.stacks:
        left = [run for run in stack.runs if run not in finished]
        configs = [runs[run] for run in stack.runs]
        seconds = None
        if rate is not None:
            share = len(left) / len(stack.runs)
            seconds = stack.operations * share / rate
            seconds *= SLOWER.get(configs[0].precision, 1.0)
            lengths.append(seconds)
        if left:
            sizes.append(stack.bytes)
        table.add_row(
            str(stack.index), f"{len(configs):,}", _activations(configs), _seeds(configs),
            f"{stack.iterations:,}", _time(seconds) if left else "finished", memory(stack.bytes),
        )  # fmt: skip
    console.print(table)
    if len(runs) < len(jobs):
        console.print(repetitions(len(jobs), len(runs)), soft_wrap=True)
    for line in _totals(plan, runs, finished, lengths, sizes, known):
        console.print(line, soft_wrap=True)
    if note:
        console.print(note, soft_wrap=True)


def _options(config: DictConfig) -> tuple[EngineOptions, str]:
    """How the launcher trains, and a note for the user if it is not the one that makes stacks."""
    launcher: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    if str(launcher["_target_"]).endswith(".StackedLauncher"):
        return parse_engine_options(launcher), ""
    name = config.hydra.runtime.choices["hydra/launcher"]
    return EngineOptions(workers=1, stack_size=1), (
        f"hydra/launcher={name} trains each run by itself; the time is that of one after another."
    )


def _runs(jobs: Iterable[DictConfig], directory: Path, *, stacked: bool) -> dict[Path, RunConfig]:
    """The configurations of jobs by the directories that their runs would have."""
    jobs = list(jobs)
    overrides: list[list[str]] = [
        OmegaConf.to_container(job.hydra.overrides.task)  # type: ignore[misc]
        for job in jobs
    ]
    before = HydraConfig.instance().cfg
    runs = {}
    try:
        # A launcher that runs job by job does not know what varies.
        with naming_by_what_varies(overrides) if stacked else contextlib.nullcontext():
            for job in jobs:
                HydraConfig.instance().set_config(job)
                name = str(OmegaConf.select(job, "hydra.sweep.subdir"))
                runs[directory / name] = current().parser.parse(plain(job))
    finally:
        HydraConfig.instance().cfg = before
    return runs


def measured_rate(at_once: int) -> float:
    """Measure the floating-point operations per second of several float32 matrix products.

    Args:
        at_once: How many products are computed at the same time.
    """

    def multiply(_: int) -> float:
        matrix = np.ones((SIDE, SIDE), dtype=np.float32)
        product = matrix @ matrix  # the first product starts threads and is not measured
        shortest, end = math.inf, time.perf_counter() + CALIBRATION
        while (start := time.perf_counter()) < end:
            np.matmul(matrix, matrix, out=product)
            # The shortest time counts: other programs may use the machine meanwhile.
            shortest = min(shortest, time.perf_counter() - start)
        return 2.0 * SIDE**3 / shortest

    with ThreadPoolExecutor(at_once) as pool:
        return sum(pool.map(multiply, range(at_once)))


def _totals(
    plan: SweepPlan,
    runs: Mapping[Path, RunConfig],
    finished: set[Path],
    lengths: Sequence[float],
    sizes: Sequence[int],
    known: bool,
) -> list[str]:
    """Lines about all stacks together."""
    lines = [
        f"{count(len(runs), 'run')} in {count(len(plan.stacks), 'stack')}, "
        f"{count(min(plan.workers, len(plan.stacks)), 'worker')}; nothing was trained."
    ]
    if alone := sum(config.reproducible for config in runs.values()):
        lines.append(
            f"reproducible=true: a stack of its own and one thread for {count(alone, 'run')}."
        )
    if known:
        verb = "is" if len(finished) == 1 else "are"
        lines.append(f"{count(len(finished), 'run')} {verb} finished and not in the time.")
    at_once = sorted(sizes, reverse=True)[: plan.workers]
    # A single worker is the main process itself.
    workers = len(at_once) if len(at_once) > 1 else 0
    settings = {each.dataset.model_dump_json(): each.dataset for each in runs.values()}
    data = sum(dataset_facts(each).bytes for each in settings.values())
    peak = MAIN_BYTES + workers * PROCESS_BYTES + sum(at_once) + data
    end = makespan(lengths, plan.workers) if lengths else None
    lines.append(
        f"estimated time {_time(end)}, estimated peak memory {memory(peak)} over all processes."
    )
    return lines


def _activations(configs: Sequence[RunConfig]) -> str:
    return ", ".join(dict.fromkeys(config.activation.name for config in configs))


def _seeds(configs: Sequence[RunConfig]) -> str:
    """Seeds as `0-4, 7`."""
    parts: list[list[int]] = []
    for seed in sorted({config.seed for config in configs}):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown on a GPU"
    return "< 1 s" if seconds < 1 else duration(seconds)


def memory(size: int) -> str:
    """Bytes in words, such as `1.2 GiB`."""
    mebibytes = size / 2**20
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:,.0f} MiB"
