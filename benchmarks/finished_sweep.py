"""Measures how long a finished sweep takes to say that nothing is left to train.

    python -m benchmarks.finished_sweep                  # 1,000 runs of two iterations
    python -m benchmarks.finished_sweep --runs 100

In: nothing but the command. Out: text on the terminal: the seconds of the first command, and
those of the same command repeated, of `resume=DIR`, and of `--help`, in turns (median over the
rounds).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from benchmarks.rounds import scratch_folder

ANSWER = "nothing is left to train"
BUDGET = ("iterations=2", "batch_size=16", "probe.every=0", "evaluate.every=0", "dataset=digits")


def read_options(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finished_sweep",
        description="Seconds until a finished sweep says so.",
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(command_line)


def main(command_line: Sequence[str] | None = None) -> None:
    """Train a sweep, ask for it again, and print what was found."""
    options = read_options(command_line)
    console = Console()
    with scratch_folder() as scratch:
        sweep = scratch / "sweep"
        command = (f"seed=range({options.runs})", *BUDGET, f"hydra.sweep.dir={sweep}")
        first, _ = timed(command)
        console.print(f"{options.runs:,} runs trained in {first:.0f} s")
        asked = {
            "the same command": command,
            "resume=DIR": (f"resume={sweep}",),
            "--help, for comparison": ("--help",),
        }
        seconds: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(options.rounds):
            for name, arguments in asked.items():
                took, output = timed(arguments)
                if arguments != ("--help",) and ANSWER not in output:
                    raise SystemExit(f"{name} trained again:\n{output}")
                seconds[name].append(took)
        for name, values in seconds.items():
            console.print(
                f"{name}: {statistics.median(values):.2f} s [{min(values):.2f}, {max(values):.2f}]"
            )


def timed(arguments: Sequence[str]) -> tuple[float, str]:
    """Run a command to its end; the seconds it took, and what it said."""
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603  this program itself
        [sys.executable, "-m", "lenet_bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began, done.stdout + done.stderr


if __name__ == "__main__":
    main()
