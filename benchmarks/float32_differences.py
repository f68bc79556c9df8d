"""Measures by how much the same run differs if it is computed in another way.

    python -m benchmarks.float32_differences

In: nothing; the images are the included digits. Out: a table on the terminal. Each of four runs is
trained alone on one thread, and then in other stacks, on other threads, with other instructions of
the processor, and in other precisions. A row says how far the losses of `train.csv` were apart at
most up to an iteration, and the mean losses and test accuracies at the end; the largest of the four
runs counts. All ways are exact up to rounding. It takes about ten minutes on 2 cores; other
programs on the machine change the time and no number.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.configured import configured
from benchmarks.machine_facts import processor, version
from benchmarks.rounds import scratch_folder
from lenet_bench import datasets
from lenet_bench.planning.stacks import plan_sweep
from lenet_bench.records.run_directory import Run
from lenet_bench.training.loop import train_stack

ACTIVATIONS = ("relu", "tanh")
BATCH = 16  # images
SEEDS = 2  # of each activation that are compared
UP_TO = (1, 10, 100, 1000)  # iterations


@dataclass(frozen=True)
class Way:
    """A way to compute the same runs.

    Attributes:
        label: What the table calls it.
        stack: Runs in a stack. Those that are compared are filled up by other seeds.
        threads: That compute a stack.
        override: Of the configuration.
        environment: Variables that torch reads when it is loaded.
    """

    label: str
    stack: int = 1
    threads: int = 1
    override: str = "precision=float32"
    environment: Mapping[str, str] = field(default_factory=dict)


# Of torch's own code and of the two libraries that it calls.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
REFERENCE = Way("alone, 1 thread")
WAYS = (
    REFERENCE,
    Way("the same again"),
    Way("in a stack of 4", stack=4),
    Way("in a stack of 16", stack=16),
    Way("2 threads", threads=2),
    Way("in a stack of 16, 2 threads", stack=16, threads=2),
    Way("as on a processor with AVX2", environment=AVX2),
    Way("torch without vector code", environment={"ATEN_CPU_CAPABILITY": "default"}),
    Way("precision=float64", override="precision=float64"),
    Way("precision=bfloat16", override="precision=bfloat16"),
    *([Way("on the GPU", override="device=cuda")] if torch.cuda.is_available() else []),
)


def read_options(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.float32_differences",
        description="By how much a run differs if it is computed in another way.",
    )
    parser.add_argument("--iterations", type=int, default=UP_TO[-1])
    # This program starts itself with the next two: torch reads its environment only once.
    parser.add_argument("--way", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(command_line)


def train(way: Way, iterations: int, folder: Path) -> None:
    """Train the runs in one way, each into a directory of the folder."""
    torch.set_num_threads(way.threads)
    seeds = max(SEEDS, way.stack // len(ACTIVATIONS))
    common = (
        *("device=cpu", way.override, f"iterations={iterations}", f"batch_size={BATCH}"),
        "probe.every=0",
    )
    configs = {
        folder / f"{activation}-{seed}": configured(*common, f"activation={activation}").model_copy(
            update={"seed": seed}
        )
        for activation in ACTIVATIONS
        for seed in range(seeds)
    }
    first = next(iter(configs.values()))
    data = datasets.load(**first.dataset.model_dump(exclude_none=True))
    for stack in plan_sweep(configs, workers=1, stack_size=way.stack).stacks:
        if len(stack.runs) != way.stack:
            raise SystemExit(f"{way.label}: a stack has {len(stack.runs)} runs")
        outcomes = train_stack([Run(configs[run], run) for run in stack.runs], data)
        if {outcome.status for outcome in outcomes} != {"finished"}:
            raise SystemExit(f"{way.label}: {outcomes[0].error}")


def start(number: int, iterations: int, folder: Path) -> None:
    """Train the runs in one way, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.float32_differences", "--way", str(number)]
    subprocess.run(  # noqa: S603  this program, no shell
        [*command, "--iterations", str(iterations), "--folder", str(folder)],
        # Threads that wait spin otherwise, and crawl where other programs take the cores.
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **WAYS[number].environment},
        check=True,
    )


def differences(folder: Path, reference: Path, iterations: int) -> list[float]:
    """The largest differences of losses up to each of `UP_TO`, mean losses, test accuracies."""
    largest: list[list[float]] = []
    for run in (f"{name}-{seed}" for name in ACTIVATIONS for seed in range(SEEDS)):
        losses, tests = [], []
        for each in (folder, reference):
            losses.append(pd.read_csv(each / run / "train.csv")["loss"].to_numpy())
            evaluation = pd.read_csv(each / run / "evaluation.csv")
            tests.append(float(evaluation.loc[evaluation["split"] == "test", "accuracy"].iloc[-1]))
        apart = np.maximum.accumulate(np.abs(losses[0] - losses[1]))
        ends = [number for number in UP_TO if number <= iterations]
        means = abs(float(losses[0].mean() - losses[1].mean()))
        tested = abs(tests[0] - tests[1])
        largest.append([*(float(apart[end - 1]) for end in ends), means, tested])
    return [max(values) for values in zip(*largest, strict=True)]


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    options = read_options(command_line)
    if options.way is not None:
        train(WAYS[options.way], options.iterations, options.folder)
        return
    print(f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, torch {version('torch')}")
    print(f"Beside: {REFERENCE.label}. Largest difference of the loss in nats up to iteration")
    ends = [f"{number:,}" for number in UP_TO if number <= options.iterations]
    print(f"{'':32}" + "".join(f"{end:>10}" for end in ends) + "  mean loss  test accuracy")
    with scratch_folder() as scratch:
        for number, way in enumerate(WAYS):
            folder = scratch / str(number)
            start(number, options.iterations, folder)
            if way is REFERENCE:
                continue
            *losses, mean, accuracy = differences(folder, scratch / "0", options.iterations)
            numbers = "".join(f"{loss:>10.1e}" if loss else f"{'0':>10}" for loss in losses)
            print(f"{way.label:32}{numbers}  {mean:9.1e}  {100 * accuracy:.2f} points", flush=True)


if __name__ == "__main__":
    main()
