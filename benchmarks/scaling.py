"""How the cost of a run grows: with the stack, the batch, the image, the data set, and observation.

    python -m benchmarks.scaling --root cifar10-images
    python -m benchmarks.scaling --panels mixture memory --rounds 3

Whole sweeps of lenet-bench, timed as in `benchmarks.throughput`, in turns. Out: `scaling.csv` (a
row per setting and round), `scaling.json` (the checks, and facts of the machine), `scaling.png` and
`.svg` in a new folder. Some 90 minutes on 2 cores, most of it start-up.
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

RUNS = 16  # of the sweeps that ask about something else
SMALLEST_WINDOW = 100  # iterations: records are written in blocks
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
    """A sweep of a panel: its name there, its place on the axis if that is a number."""

    sweep: Sweep
    name: str
    value: float | None = None


@dataclass(frozen=True)
class Common:
    """What all panels are made from.

    Attributes:
        data: The data set as arguments.
        train_images: In it.
        window: Iterations that are timed.
        folder: For sweep directories.
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
        """A sweep that is timed for `window` iterations after the first `skip`."""
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


def runs_panel(common: Common) -> list[Setting]:
    """Stacks of so many runs, one on every core at the same time."""
    cores = len(available_cores())
    found = []
    for size in (1, 2, 4, 8, 16, 32, 64):
        if size < len(ACTIVATIONS):
            sweep: tuple[str, ...] = (f"activation={','.join(ACTIVATIONS[-size:])}", "lr=0.01")
        else:
            sweep = mixed(size)[:2]
        arguments = (*sweep, f"seed=range({cores})", f"hydra.launcher.stack_size={size}", *QUIET)
        found.append(common.setting(f"stacks of {size}", arguments, runs=size * cores, value=size))
    return found


def batch_panel(common: Common) -> list[Setting]:
    """Batches of all sizes."""
    return [
        common.setting(
            f"batch {size}", (*mixed(RUNS), f"batch_size={size}", *QUIET), value=size
        )
        for size in (16, 32, 64, 128, 256, 512)
        if size <= common.train_images
    ]  # fmt: skip


def image_panel(common: Common) -> list[Setting]:
    """Images of all sizes; noise, since what is on them costs nothing."""
    return [
        common.setting(
            f"{side}x{side}", (*mixed(RUNS), *QUIET), value=side, data=data_arguments(None, side)
        )
        for side in (16, 24, 32, 48, 64)
    ]


def dataset_panel(common: Common) -> list[Setting]:
    """Subsets of the training images, and all of them."""
    sizes = [size for size in (1_000, 4_000, 16_000) if size < common.train_images]
    return [
        common.setting(
            f"{size} images", (*mixed(RUNS), f"dataset.train_size={size}", *QUIET), value=size
        )
        for size in (*sizes, common.train_images)
    ]


def observation_panel(common: Common) -> list[Setting]:
    """Records, probes and evaluations on and off, from one evaluation to the next."""
    period = max(common.train_images // BATCH, SHORTEST_AUTO_INTERVAL)
    unprobed, unevaluated = QUIET
    sweep = mixed(RUNS)
    return [
        common.setting(name, (*sweep, *off), skip=period, window=period, module=module)
        for name, off, module in (
            (UNRECORDED, QUIET, "benchmarks.unrecorded"),
            (BARE, QUIET, "lenet_bench"),
            (PROBED, (unevaluated,), "lenet_bench"),
            (EVALUATED, (unprobed,), "lenet_bench"),
            (DEFAULT, (), "lenet_bench"),
        )
    ]


def mixture_panel(common: Common) -> list[Setting]:
    """Stacks of 16 runs, one on every core: of four activations, and of each alone."""
    cores = len(available_cores())
    every = (f"seed=range({cores})", f"hydra.launcher.stack_size={RUNS}", *QUIET)
    sweeps = {MIXED: mixed(RUNS)[:2]}
    sweeps |= {name: (f"activation={name}", rates(RUNS)) for name in ACTIVATIONS}
    return [
        common.setting(name, (*sweep, *every), runs=RUNS * cores) for name, sweep in sweeps.items()
    ]


BUILDERS: dict[str, Callable[[Common], list[Setting]]] = {
    "runs": runs_panel,
    "batch": batch_panel,
    "image": image_panel,
    "dataset": dataset_panel,
    "observation": observation_panel,
    "mixture": mixture_panel,
}


def checks(frame: pd.DataFrame) -> dict[str, float]:
    """Ratios within each round, then the median over rounds.

    Shares are of the time per iteration with default observation.
    """
    found = {}
    times = {
        (panel, setting): part.set_index("round")["ms_per_model_iteration"]
        for (panel, setting), part in frame.groupby(["panel", "setting"])
    }
    if all(("mixture", name) in times for name in (MIXED, *ACTIVATIONS)):
        equal = sum(times["mixture", name] for name in ACTIVATIONS) / len(ACTIVATIONS)
        found["mixed_to_equal_ratio"] = float((times["mixture", MIXED] / equal).median())
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
            found[f"{name}_share"] = float(((with_it - without) / default).median())
    return found


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description="How the cost of a run of lenet-bench grows.",
    )
    add_common_options(parser, iterations=SMALLEST_WINDOW)
    parser.add_argument("--panels", nargs="+", choices=list(PANELS), default=list(PANELS))
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, write, print."""
    given = options()
    progress = Console(stderr=True, highlight=False)
    use_cores(given.threads)
    with output_folder(given.output) as output, scratch_folder() as scratch:
        import pandas as pd

        from benchmarks import figure, machine, memory

        facts = machine.facts()
        dataset = load(given.root)
        common = Common(
            data=data_arguments(given.root, SIZE),
            train_images=len(dataset.train),
            window=max(given.iterations, SMALLEST_WINDOW),
            folder=scratch,
        )
        del dataset
        rows = []
        for panel in given.panels:
            if panel not in BUILDERS:
                continue
            progress.print(f"{PANELS[panel]}:")
            settings = BUILDERS[panel](common)
            contenders: list[Contender] = [setting.sweep for setting in settings]
            rounds, failed = measure(contenders, given.rounds, progress)
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
            figure.save(figure.scaling(frame, PANELS, caption), output, "scaling")
            medians = frame.groupby(["panel", "setting"], sort=False)["ms_per_model_iteration"]
            print(medians.agg(["median", "min", "max"]).round(3).to_string())
        if "memory" in given.panels:
            progress.print("peak memory of 64 runs")
            sweep = common.setting("64 runs", mixed(64), runs=64).sweep
            facts.setdefault("checks", {})["peak_memory_of_64_runs_gib"] = (
                memory.peak(sweep, scratch / "sweep") / 2**30
            )
        text = json.dumps(facts, indent=2)
        (output / "scaling.json").write_text(text + "\n", encoding="utf-8")
        for name, value in facts.get("checks", {}).items():
            print(f"{name}: {value:.3f}")
        print(f"wrote {output}")


if __name__ == "__main__":
    main()
