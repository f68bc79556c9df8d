"""Measures how fast lenet-bench trains, beside its alternatives and the bare arithmetic.

    python -m benchmarks.throughput --root cifar10-images    # images in train/<class>/*
    python -m benchmarks.throughput                          # noise instead: nothing to download

In: images. All methods train on the processor in one invocation, in turns; what counts is
milliseconds per model and iteration. Out: a table on the terminal; `rounds.csv` (a row per method
and round), `throughput.csv` (a row per method), `machine.json`, `throughput.png` and `.svg` in a
new folder. It takes about 25 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import floor
from benchmarks.contender import Contender
from benchmarks.pace import Pace, Peer
from benchmarks.rounds import measure, output_folder, scratch_folder, use_cores
from benchmarks.sweeps import Sweep
from benchmarks.workload import BATCH, FAKE_IMAGES, Workload, prepare
from lenet_bench.common.machine import available_cores
from lenet_bench.config.budget import SHORTEST_AUTO_INTERVAL

METHODS = (
    *("ours", "tutorial", "lightning", "in_memory", "pinned", "torch_func", "jax", "joblib"),
)
NEEDS = {
    "lightning": "lightning",
    "jax": "jax",
    "joblib": "hydra_plugins.hydra_joblib_launcher",
}
INSTALL = "not installed: pip install lenet-bench[benchmark]"
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu")
SMALLEST_BUDGET = 200  # iterations of a sweep: records are written in blocks
BLOCK = 50  # iterations of a sweep's first stacks that are not counted
QUIET = ("probe.every=0", "evaluate.every=0")


def read_options(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description="Milliseconds per model and iteration of lenet-bench and of its alternatives.",
    )
    add_common_options(parser, iterations=100)
    parser.add_argument(
        "--runs", type=int, nargs="+", default=[1, 4, 16, 64], help="runs in a sweep of lenet-bench"
    )
    parser.add_argument("--batch", type=int, default=BATCH, help="images in a mini-batch")
    parser.add_argument(
        "--images", type=int, default=FAKE_IMAGES, help="of the noise that serves without --root"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    return parser.parse_args(command_line)


def add_common_options(parser: argparse.ArgumentParser, iterations: int) -> None:
    """Add the options that all benchmarks have."""
    parser.add_argument(
        "--root", type=Path, help="a folder with train/<class>/* images; noise without it"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--iterations", type=int, default=iterations, help="timed iterations in a round"
    )
    parser.add_argument("--threads", type=int, help="cores that every method may use; all of them")
    parser.add_argument(
        "--output", type=Path, help="a new folder for the results; runs/benchmark-<time>"
    )


def mixed(runs: int) -> tuple[str, ...]:
    """Make the arguments of a sweep of activations and learning rates with this many runs.

    All runs have one seed. One of them is ReLU at a learning rate of 0.01, which all peers train.
    """
    if runs == 1:
        return ("activation=relu", "lr=0.01", "seed=0")
    if runs % len(ACTIVATIONS):
        raise SystemExit(f"--runs {runs}: must be 1 or a multiple of {len(ACTIVATIONS)}")
    return (f"activation={','.join(ACTIVATIONS)}", rates(runs // len(ACTIVATIONS)), "seed=0")


def rates(count: int) -> str:
    """Make the argument for this many learning rates: 0.01 and others that can be trained."""
    highest = 2.0  # times 0.01
    lowest = 0.1
    if count == 1:
        return "lr=0.01"
    below = -(-3 * (count - 1) // 4)
    above = count - 1 - below
    factors = [lowest ** (k / below) for k in range(below, 0, -1)] + [1.0]
    factors += [highest ** ((k + 1) / above) for k in range(above)]
    return "lr=" + ",".join(f"{0.01 * factor:.5g}" for factor in factors)


def lenet_bench_sweeps(
    workload: Workload, runs: Sequence[int], iterations: int, folder: Path
) -> list[Contender]:
    """Sweeps of lenet-bench; for 16 runs, also one with the default probes and evaluations."""
    budget = max(2 * iterations, SMALLEST_BUDGET)
    batch = f"batch_size={workload.batch}"
    sweeps: list[Contender] = [
        Sweep(
            "ours",
            f"lenet-bench, {count} run{'s' if count > 1 else ''}",
            (*workload.arguments, *mixed(count), batch, *QUIET),
            runs=count,
            iterations=budget,
            skip=BLOCK,
            folder=folder / f"ours-{count}",
        )
        for count in runs
    ]
    if 16 in runs:
        # From one evaluation to the next, so that each cost is counted as often as it occurs.
        period = max(workload.per_epoch, SHORTEST_AUTO_INTERVAL)
        sweeps.append(
            Sweep(
                "ours_observed",
                "lenet-bench, 16 runs, probed and evaluated",
                (*workload.arguments, *mixed(16), batch),
                runs=16,
                iterations=2 * period,
                skip=period,
                folder=folder / "ours-observed",
            )
        )
    return sweeps


def joblib(workload: Workload, iterations: int, folder: Path) -> Sweep:
    """Hydra's joblib launcher: a job for each core, with one run each."""
    jobs = len(available_cores())
    return Sweep(
        "joblib",
        f"lenet-bench by Hydra's joblib launcher, {jobs} jobs",
        (
            *("hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"),
            *workload.arguments,
            *("activation=relu", "lr=0.01", f"seed=range({jobs})"),
            *(f"batch_size={workload.batch}", *QUIET),
        ),
        runs=jobs,
        iterations=max(2 * iterations, SMALLEST_BUDGET),
        skip=BLOCK,
        folder=folder / "joblib",
        reports=True,  # joblib's workers leave shared memory behind if they are killed
    )


def peers(workload: Workload, iterations: int) -> list[Peer]:
    """All peers that run in Python processes of their own, with their variants."""
    pace = Pace(warmup=20, settle=5, timed=iterations)
    cores = len(available_cores())
    contenders = []
    for method, name, module in (
        ("tutorial", "tutorial loop", "benchmarks.peers.tutorial"),
        ("lightning", "PyTorch Lightning", "benchmarks.peers.lightning_trainer"),
    ):
        for loaders in (0, 2):
            label = f"{name}, num_workers={loaders}"
            contenders.append(Peer(method, label, module, workload, pace, loaders=loaders))
    memory = "benchmarks.peers.in_memory"
    contenders += [
        Peer("in_memory", f"tensors in memory, {cores} threads", memory, workload, pace),
        Peer(
            *("pinned", f"tensors in memory, {cores} pinned processes", memory, workload, pace),
            pinned=True,
        ),
    ]
    for models in (8, 16):
        label, module = f"torch.func, vmap of {models}", "benchmarks.peers.torch_func"
        contenders.append(Peer("torch_func", label, module, workload, pace, models=models))
    module = "benchmarks.peers.jax_vmap"
    contenders.append(Peer("jax", "JAX, jitted vmap of 8", module, workload, pace, models=8))
    return contenders


def sgemm(workload: Workload, iterations: int) -> list[Peer]:
    """Matrix products, with a thread for each core and with a pinned process for each core."""
    cores = len(available_cores())
    pace = Pace(warmup=2, settle=1, timed=max(2, iterations // 10))
    variants = [(f"1 process with {cores} threads", False)] if cores > 1 else []
    variants.append((f"{cores} processes with 1 thread", True))
    return [
        Peer(
            *("floor", f"sgemm, {label}", "benchmarks.floor", workload, pace),
            pinned=pinned,
            operations=floor.PRODUCT_FLOPS,
            model_operations=floor.step_flops(workload),
        )
        for label, pinned in variants
    ]


def main() -> None:
    """Measure, write the files and print the table."""
    arguments = read_options()
    progress = Console(stderr=True, highlight=False)
    use_cores(arguments.threads)
    wanted = set(arguments.methods)
    missing = {
        method: INSTALL
        for method in METHODS
        if method in wanted and method in NEEDS and not installed(NEEDS[method])
    }
    with output_folder(arguments.output) as output, scratch_folder() as scratch:
        workload = prepare(arguments.root, scratch, images=arguments.images, batch=arguments.batch)
        contenders: list[Contender] = [
            *lenet_bench_sweeps(workload, arguments.runs, arguments.iterations, scratch),
            *peers(workload, arguments.iterations),
            joblib(workload, arguments.iterations, scratch),
        ]
        contenders = [
            contender
            for contender in contenders
            if (method := contender.method.removesuffix("_observed")) in wanted
            and method not in missing
        ]
        contenders += sgemm(workload, arguments.iterations)

        from benchmarks import machine_facts, plots, throughput_table

        facts = machine_facts.facts()
        try:
            rounds, failed = measure(contenders, arguments.rounds, progress)
        finally:
            for contender in contenders:
                contender.stop()
        by_label = {contender.label: contender for contender in contenders}
        trained = [one for one in contenders if one.label not in failed]
        losses = throughput_table.compare_losses(trained)
        frame = throughput_table.rounds_frame(rounds, by_label)
        summary = throughput_table.summarise(frame, losses)
        frame.to_csv(output / "rounds.csv", index=False)
        summary.to_csv(output / "throughput.csv", index=False)
        facts |= {
            "data": " ".join(workload.arguments[:1]),
            "training_images": workload.images,
            "batch_size": workload.batch,
            "flops_per_model_iteration": floor.step_flops(workload),
            "timed_iterations": arguments.iterations,
            "rounds": arguments.rounds,
            "final_loss_at_iteration": losses.iteration if losses else None,
            "final_loss_tolerance": losses.tolerance if losses else None,
            "left_out": missing | failed,
        }
        (output / "machine.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        caption = (
            f"Training LeNet-5 on {facts['cores']} cores ({facts['cpu']}), "
            f"batch {workload.batch}, {workload.channels}x{workload.size}x{workload.size}, float32"
        )
        plots.save(plots.throughput(summary, caption), output, "throughput")
        throughput_table.print_table(summary, frame, losses, missing | failed, Console(width=120))
        print(f"wrote {output}")


def installed(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    main()
