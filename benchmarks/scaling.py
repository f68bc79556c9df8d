"""Measures how the cost of a run grows with stack, batch, image, data set, records and probes.

    python -m benchmarks.scaling --root cifar10-images
    python -m benchmarks.scaling --panels mixture memory --rounds 3

In: images. Whole sweeps of lenet-bench take turns and are timed as in `benchmarks.throughput`. Out:
`scaling.csv` (a row per setting and round), `scaling.json` (the checks, and facts of the machine),
`scaling.png` and `.svg` in a new folder. It takes about 90 minutes on 2 cores, most of it to start
sweeps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.contender import Contender
from benchmarks.rounds import measure, output_folder, scratch_folder, use_cores
from benchmarks.sweeps import Sweep
from benchmarks.throughput import ACTIVATIONS, BLOCK, QUIET, add_common_options, mixed, rates
from benchmarks.workload import BATCH, SIZE, data_arguments, load
from lenet_bench.common.machine import available_cores
from lenet_bench.config.budget import SHORTEST_AUTO_INTERVAL

if TYPE_CHECKING:
    import pandas as pd

RUNS = 16  # in sweeps whose question is not the number of runs
SMALLEST_WINDOW = 100  # iterations; records are written in blocks, so fewer cannot be timed
PANELS = {
    "runs": "runs in a stack",
    "batch": "images in a batch",
    "image": "image side (pixels)",
    "dataset": "training images",
    "observation": "records, probes, evaluation",
    "mixture": "16 runs in a stack",
    "memory": "peak memory",
}
UNRECORDED, BARE, PROBED, EVALUATED, DEFAULT = (
    *("no rows written", "rows written", "and probed"),
    *("and evaluated", "and both, the default"),
)
MIXED = "4 activations"


@dataclass(frozen=True)
class Setting:
    """One sweep of a panel.

    Attributes:
        sweep: What is measured.
        name: What the panel calls it.
        value: Its place on the axis; None if the panel shows bars.
    """

    sweep: Sweep
    name: str
    value: float | None = None


@dataclass(frozen=True)
class SweepDefaults:
    """What the sweeps of all panels have in common.

    Attributes:
        data: The data set, as arguments of the command.
        train_images: How many training images it has.
        window: How many iterations are timed.
        folder: Where sweep directories are made.
    """

    data: tuple[str, ...]
    train_images: int
    window: int
    folder: Path

    def setting(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        runs: int = RUNS,
        value: float | None = None,
        skip: int = BLOCK,
        window: int | None = None,
        data: tuple[str, ...] | None = None,
        module: str = "lenet_bench",
    ) -> Setting:
        """Make a sweep that is timed for `window` iterations after the first `skip`."""
        sweep = Sweep(
            "scaling",
            name,
            (*(self.data if data is None else data), *arguments),
            runs=runs,
            iterations=skip + (window or self.window),
            skip=skip,
            folder=self.folder,
            module=module,
        )
        return Setting(sweep, name, value)


def runs_panel(defaults: SweepDefaults) -> list[Setting]:
    """Stacks of 1 to 64 runs, one on each core at the same time."""
    cores = len(available_cores())
    settings = []
    for size in (1, 2, 4, 8, 16, 32, 64):
        if size < len(ACTIVATIONS):
            sweep: tuple[str, ...] = (f"activation={','.join(ACTIVATIONS[-size:])}", "lr=0.01")
        else:
            sweep = mixed(size)[:2]
        arguments = (*sweep, f"seed=range({cores})", f"hydra.launcher.stack_size={size}", *QUIET)
        settings.append(
            defaults.setting(f"stacks of {size}", arguments, runs=size * cores, value=size)
        )
    return settings


def batch_panel(defaults: SweepDefaults) -> list[Setting]:
    """Batches of 16 to 512 images."""
    return [
        defaults.setting(
            f"batch {size}", (*mixed(RUNS), f"batch_size={size}", *QUIET), value=size
        )
        for size in (16, 32, 64, 128, 256, 512)
        if size <= defaults.train_images
    ]  # fmt: skip


def image_panel(defaults: SweepDefaults) -> list[Setting]:
    """Images of 16 to 64 pixels a side. They are noise: the content does not change the cost."""
    return [
        defaults.setting(
            f"{side}x{side}", (*mixed(RUNS), *QUIET), value=side, data=data_arguments(None, side)
        )
        for side in (16, 24, 32, 48, 64)
    ]


def dataset_panel(defaults: SweepDefaults) -> list[Setting]:
    """Subsets of the training images, and all of them."""
    sizes = [size for size in (1_000, 4_000, 16_000) if size < defaults.train_images]
    return [
        defaults.setting(
            f"{size} images", (*mixed(RUNS), f"dataset.train_size={size}", *QUIET), value=size
        )
        for size in (*sizes, defaults.train_images)
    ]


def observation_panel(defaults: SweepDefaults) -> list[Setting]:
    """Records, probes and evaluations on and off, from one evaluation to the next."""
    period = max(defaults.train_images // BATCH, SHORTEST_AUTO_INTERVAL)
    unprobed, unevaluated = QUIET
    sweep = mixed(RUNS)
    return [
        defaults.setting(name, (*sweep, *off), skip=period, window=period, module=module)
        for name, off, module in (
            (UNRECORDED, QUIET, "benchmarks.unrecorded"),
            (BARE, QUIET, "lenet_bench"),
            (PROBED, (unevaluated,), "lenet_bench"),
            (EVALUATED, (unprobed,), "lenet_bench"),
            (DEFAULT, (), "lenet_bench"),
        )
    ]


def mixture_panel(defaults: SweepDefaults) -> list[Setting]:
    """Stacks of 16 runs, one on each core: of four activations, and of each one alone."""
    cores = len(available_cores())
    every = (f"seed=range({cores})", f"hydra.launcher.stack_size={RUNS}", *QUIET)
    sweeps = {MIXED: mixed(RUNS)[:2]}
    sweeps |= {name: (f"activation={name}", rates(RUNS)) for name in ACTIVATIONS}
    return [
        defaults.setting(name, (*sweep, *every), runs=RUNS * cores)
        for name, sweep in sweeps.items()
    ]


BUILDERS: dict[str, Callable[[SweepDefaults], list[Setting]]] = {
    "runs": runs_panel,
    "batch": batch_panel,
    "image": image_panel,
    "dataset": dataset_panel,
    "observation": observation_panel,
    "mixture": mixture_panel,
}


def checks(frame: pd.DataFrame) -> dict[str, float]:
    """Compute the median over rounds of ratios within a round.

    A share is a part of the time per iteration with the default records, probes and evaluations.
    """
    ratios = {}
    times = {
        (panel, setting): part.set_index("round")["ms_per_model_iteration"]
        for (panel, setting), part in frame.groupby(["panel", "setting"])
    }
    if all(("mixture", name) in times for name in (MIXED, *ACTIVATIONS)):
        equal = sum(times["mixture", name] for name in ACTIVATIONS) / len(ACTIVATIONS)
        ratios["mixed_to_equal_ratio"] = float((times["mixture", MIXED] / equal).median())
    for name, more, less in (
        ("logging", BARE, UNRECORDED),
        ("probing", PROBED, BARE),
        ("evaluation", EVALUATED, BARE),
        ("together", DEFAULT, UNRECORDED),
    ):
        with_it, without, default = (
            times.get(("observation", setting)) for setting in (more, less, DEFAULT)
        )
        if with_it is not None and without is not None and default is not None:
            ratios[f"{name}_share"] = float(((with_it - without) / default).median())
    return ratios


def read_options(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description="How the cost of a run of lenet-bench grows.",
    )
    add_common_options(parser, iterations=SMALLEST_WINDOW)
    parser.add_argument("--panels", nargs="+", choices=list(PANELS), default=list(PANELS))
    return parser.parse_args(command_line)


def main() -> None:
    """Measure, write the files and print the table."""
    arguments = read_options()
    progress = Console(stderr=True, highlight=False)
    use_cores(arguments.threads)
    with output_folder(arguments.output) as output, scratch_folder() as scratch:
        import pandas as pd

        from benchmarks import machine_facts, peak_memory, plots

        facts = machine_facts.facts()
        dataset = load(arguments.root)
        defaults = SweepDefaults(
            data=data_arguments(arguments.root, SIZE),
            train_images=len(dataset.train),
            window=max(arguments.iterations, SMALLEST_WINDOW),
            folder=scratch,
        )
        del dataset
        rows = []
        for panel in arguments.panels:
            if panel not in BUILDERS:
                continue
            progress.print(f"{PANELS[panel]}:")
            settings = BUILDERS[panel](defaults)
            contenders: list[Contender] = [setting.sweep for setting in settings]
            rounds, failed = measure(contenders, arguments.rounds, progress)
            facts.setdefault("left_out", {}).update(failed)
            rows += [
                {
                    "panel": panel,
                    "setting": setting.name,
                    "value": setting.value,
                    "models": setting.sweep.models,
                    "round": number,
                    "ms_per_model_iteration": measured[setting.name].milliseconds,
                    "other_load": measured[setting.name].other_load,
                }
                for number, measured in enumerate(rounds, 1)
                for setting in settings
                if setting.name in measured
            ]
        if rows:
            frame = pd.DataFrame(rows)
            frame.to_csv(output / "scaling.csv", index=False)
            facts["checks"] = checks(frame)
            caption = (
                "ms per model and iteration, median and range over rounds; "
                f"{facts['cores']} cores ({facts['cpu']})"
            )
            plots.save(plots.scaling(frame, PANELS, caption), output, "scaling")
            medians = frame.groupby(["panel", "setting"], sort=False)["ms_per_model_iteration"]
            print(medians.agg(["median", "min", "max"]).round(3).to_string())
        if "memory" in arguments.panels:
            progress.print("peak memory of 64 runs")
            sweep = defaults.setting("64 runs", mixed(64), runs=64).sweep
            facts.setdefault("checks", {})["peak_memory_of_64_runs_gib"] = (
                peak_memory.measure_peak(sweep, scratch / "sweep") / 2**30
            )
        text = json.dumps(facts, indent=2)
        (output / "scaling.json").write_text(text + "\n", encoding="utf-8")
        for name, value in facts.get("checks", {}).items():
            print(f"{name}: {value:.3f}")
        print(f"wrote {output}")


if __name__ == "__main__":
    main()
