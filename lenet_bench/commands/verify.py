"""`lenet-bench verify`: trains runs of a finished sweep once more and compares.

In: the arguments behind `verify`. Out: a line per run, a line on the conditions, an exit code. The
sweep directory is only read; what is trained lies in a temporary folder, which is removed.

Exit code 0: every run that was trained again is the same. 1: one differs or cannot be trained
again, or a mistake.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import home_expanded
from lenet_bench.common.surroundings import explain_surroundings
from lenet_bench.common.text import printable

DEFAULT_RUNS = 3


def main(arguments: Sequence[str]) -> int:
    """Verify what the arguments ask for; return the exit code."""
    try:
        given = _parser().parse_args(arguments)
        return _verify(given.sweep, given.runs)
    except UserError as error:
        print(f"lenet-bench verify: {error}", file=sys.stderr)
    except (ImportError, MemoryError, OSError) as error:
        print(f"lenet-bench verify: {explain_surroundings(error)}", file=sys.stderr)
    return 1


class _Parser(argparse.ArgumentParser):
    """Raises mistakes, so that they are answered as all others are."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        raise UserError(f"{message}; {self.format_usage().strip()}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lenet-bench verify",
        description="Train some runs of a finished sweep once more, in a temporary folder, and "
        "compare every CSV byte for byte and every weight. Stacks are trained whole, because the "
        "bits of a run depend on its neighbours. The sweep directory is only read.",
        epilog="example: lenet-bench verify runs/sweep-2025-01-31 --runs all",
    )
    parser.add_argument("sweep", type=Path, metavar="DIR", help="a sweep directory, e.g. runs/NAME")
    parser.add_argument(
        "--runs",
        type=_runs,
        default=DEFAULT_RUNS,
        metavar="K",
        help="how many runs at least, spread evenly over as few stacks as hold them, or `all` "
        f"(default: {DEFAULT_RUNS})",
    )
    return parser


def _runs(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of runs >= 1, or all")
    return int(text[:9])


def _verify(given: Path, wanted: int | None) -> int:
    from lenet_bench.execution.progress import count, duration
    from lenet_bench.execution.verification import (
        Repetition,
        choose_stacks,
        read_stacks,
        runs_of,
        state_of_files,
    )
    from lenet_bench.hydra_app.stored_command import enter_folder, read_command

    sweep = home_expanded(given).absolute()
    if not sweep.is_dir():
        raise UserError(f"{given}: there is no such directory; give a sweep directory")
    if (sweep / "status.json").exists():
        raise UserError(f"{given}: is a run; give the sweep directory, {given.absolute().parent}")
    before = state_of_files(sweep)
    stored = read_stacks(sweep)
    if not stored.stacks:
        reason = next(iter(stored.others.values()), "none of its runs has finished")
        raise UserError(f"{given}: holds no run that can be trained again: {reason}")
    chosen = choose_stacks(stored.stacks, wanted)
    if (command := read_command(sweep)) is not None:
        enter_folder(command)

    def check_that_nobody_writes() -> None:
        if state_of_files(sweep) != before:
            raise UserError(
                f"{given}: its files have changed meanwhile; another command writes there. Wait "
                "until it ends"
            )

    with tempfile.TemporaryDirectory(prefix="lenet-bench-verify-") as folder:
        again = Repetition(chosen, Path(folder))
        print(
            f"Stacks are trained whole: {count(runs_of(chosen), 'run')} in {len(chosen)} of "
            f"{count(len(stored.stacks), 'stack')}, which took "
            f"{duration(sum(stack.seconds for stack in chosen))}.",
            file=sys.stderr,
        )
        again.prepare()
        check_that_nobody_writes()
        again.train()
        check_that_nobody_writes()
        differences = again.differences()
        conditions = again.differing_conditions()
    for run, difference in differences.items():
        found = f"differs: {difference}" if difference else "same"
        print(printable(f"{run.name}: {found}"))
    unverified = stored.others if wanted is None else {}
    for run, reason in unverified.items():
        print(printable(f"{run.name}: not trained again: {reason}"))
    other = f"Conditions that differ: {'; '.join(conditions)}"
    print(printable(other) if conditions else "Same conditions.")
    differ = sum(difference is not None for difference in differences.values())
    same = len(differences) - differ
    print(f"{same} of {count(len(differences), 'run')} {'is' if same == 1 else 'are'} the same.")
    return 1 if differ or unverified else 0
