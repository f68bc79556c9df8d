"""Measures what checkpoints cost: the same stack trained with and without them, in turns.

    python -m benchmarks.checkpoint_cost --root cifar10-images
    python -m benchmarks.checkpoint_cost --runs 4 16 --optimizer adam    # noise instead of images

In: images. Out: text on the terminal. For each number of runs: the seconds of a stack with and
without checkpoints (median over the rounds) and their ratio; and the share of the training that
was spent in writing checkpoints, which a noisy machine blurs less. Everything happens in this
process, with its threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from rich.console import Console

from benchmarks.rounds import scratch_folder
from lenet_bench import datasets
from lenet_bench.common.memory import keep_memory
from lenet_bench.config.parse import parse
from lenet_bench.config.schema import RunConfig
from lenet_bench.hydra_app.groups import CONF, VERSION_BASE
from lenet_bench.hydra_app.names import register_resolvers
from lenet_bench.hydra_app.plain import plain
from lenet_bench.records.run_directory import Run
from lenet_bench.training.checkpoints import Checkpoints
from lenet_bench.training.loop import train_stack

_spent: list[float] = []  # seconds of each checkpoint
_save = Checkpoints.save


def _timed_save(self: Checkpoints, *, sync: bool) -> None:
    began = time.perf_counter()
    _save(self, sync=sync)
    _spent.append(time.perf_counter() - began)


def read_options(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkpoint_cost",
        description="What checkpoints cost beside training.",
    )
    parser.add_argument("--root", type=Path, help="a folder with train/<class>/* images")
    parser.add_argument("--runs", type=int, nargs="+", default=[4, 16], help="runs of the stack")
    parser.add_argument("--optimizer", default="sgd", help="a choice of optimizer=")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(command_line)


def configurations(options: argparse.Namespace, runs: int) -> list[RunConfig]:
    """Runs that differ in seed, with the defaults of the command otherwise."""
    data = (
        ["dataset=image_folder", f"dataset.root={options.root}"]
        if options.root
        else ["dataset=fake", "dataset.images=10000"]
    )
    common = [*data, f"optimizer={options.optimizer}", f"iterations={options.iterations}"]
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        config = parse(plain(compose("config", [*common, "device=cpu"])))
    return [config.model_copy(update={"seed": seed % 2}) for seed in range(runs)]


def train(configs: Sequence[RunConfig], data: datasets.Dataset, folder: Path, kept: bool) -> float:
    """Train a stack; the seconds it took."""
    folder.mkdir()
    runs = [Run(config, folder / str(number)) for number, config in enumerate(configs)]
    began = time.perf_counter()
    outcomes = train_stack(runs, data, checkpoint=folder / "c" / "stack-0.ckpt" if kept else None)
    if {outcome.status for outcome in outcomes} != {"finished"}:
        raise SystemExit(f"not finished: {outcomes[0].error}")
    return time.perf_counter() - began


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    options = read_options(command_line)
    console = Console()
    keep_memory()
    Checkpoints.save = _timed_save  # type: ignore[method-assign]
    with scratch_folder() as scratch:
        for runs in options.runs:
            configs = configurations(options, runs)
            data = datasets.load(**configs[0].dataset.model_dump(exclude_none=True))
            seconds: dict[bool, list[float]] = {True: [], False: []}
            shares, each = [], []
            for number in range(options.rounds):
                for kept in (True, False) if number % 2 else (False, True):
                    _spent.clear()
                    took = train(configs, data, scratch / f"{runs}-{number}-{kept}", kept)
                    seconds[kept].append(took)
                    if kept:
                        shares.append(sum(_spent) / took)
                        each += _spent
            middle = {kept: statistics.median(values) for kept, values in seconds.items()}
            console.print(
                f"{runs} runs, {options.optimizer}: {middle[True]:.2f} s with checkpoints, "
                f"{middle[False]:.2f} s without, ratio {middle[True] / middle[False]:.4f}; "
                f"{len(each) / options.rounds:.1f} checkpoints a round, "
                f"{statistics.median(each) * 1000:.1f} ms each, "
                f"{statistics.median(shares):.2%} of the time",
                soft_wrap=True,
            )


if __name__ == "__main__":
    main()
