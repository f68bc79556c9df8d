"""Measures what `reproducible=true` costs: the same sweep in stacks and run by run, in turns.

    python -m benchmarks.reproducible_cost
    python -m benchmarks.reproducible_cost --runs 4 16 --rounds 9

In: nothing; the images are the included digits. Out: text on the terminal. For each number of runs:
milliseconds per run and iteration, and the ratio, median and range over the rounds. Stacks and
threads are those of the plan for as many workers as there are cores. The stacks are trained one
after another in this process, and the time is divided by the number of workers. Neither probes nor
evaluations are included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.configured import configured
from benchmarks.rounds import scratch_folder
from benchmarks.throughput import QUIET, mixed
from lenet_bench import datasets
from lenet_bench.common.machine import available_cores
from lenet_bench.common.memory import keep_memory
from lenet_bench.config.schema import RunConfig
from lenet_bench.planning.stacks import plan_sweep
from lenet_bench.records.run_directory import Run
from lenet_bench.training.loop import train_stack


def read_options(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproducible_cost",
        description="What reproducible=true costs beside stacks.",
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(command_line)


def configurations(runs: int, iterations: int, batch: int) -> list[RunConfig]:
    """Runs of four activations at several learning rates, with the defaults otherwise."""
    activations, rates, _ = (item.partition("=")[2].split(",") for item in mixed(runs))
    return [
        configured(
            f"activation={name}", f"lr={rate}", f"iterations={iterations}", f"batch_size={batch}",
            "device=cpu", *QUIET,
        )
        for name in activations
        for rate in rates
    ]  # fmt: skip


def train(configs: Mapping[Path, RunConfig], data: datasets.Dataset) -> tuple[float, int]:
    """Train runs as they are planned: the seconds of a worker, and how many stacks there were."""
    cores = len(available_cores())
    stacks = plan_sweep(
        configs, workers=cores, threads=lambda at_once: max(1, cores // at_once)
    ).stacks
    began = time.perf_counter()
    for stack in stacks:
        torch.set_num_threads(stack.threads)
        outcomes = train_stack([Run(configs[run], run) for run in stack.runs], data)
        if not {outcome.status for outcome in outcomes} <= {"finished", "diverged"}:
            raise SystemExit(f"not finished: {outcomes[0].error}")
    return (time.perf_counter() - began) / min(cores, len(stacks)), len(stacks)


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    options = read_options(command_line)
    keep_memory()
    print("runs  stacks  ms per run and iteration: in stacks, reproducible=true  ratio [range]")
    with scratch_folder() as scratch:
        for runs in options.runs:
            configs = configurations(runs, options.iterations, options.batch)
            data = datasets.load(**configs[0].dataset.model_dump(exclude_none=True))
            seconds: dict[bool, list[float]] = {True: [], False: []}
            stacks = 0
            for number in range(options.rounds):
                for alone in (True, False) if number % 2 else (False, True):
                    folder = scratch / f"{runs}-{number}-{alone}"
                    asked = [each.model_copy(update={"reproducible": alone}) for each in configs]
                    took, count = train({folder / str(k): c for k, c in enumerate(asked)}, data)
                    seconds[alone].append(took)
                    stacks = stacks if alone else count
            each = 1000 / (runs * options.iterations)
            stacked, single = (statistics.median(seconds[alone]) * each for alone in (False, True))
            ratios = [a / b for a, b in zip(seconds[True], seconds[False], strict=True)]
            print(
                f"{runs:4}  {stacks:6}  {stacked:.2f}  {single:.2f}  "
                f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()
