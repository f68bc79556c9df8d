"""`lenet-bench-report`: rebuilds tables and figures from run directories.

Command line in; files and a table in the terminal out. Exit code 1 for a mistake of the user's, or
if runs had to be left out because their files are damaged; 2 for a command line that cannot be
read.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from lenet_bench.common.errors import INTERRUPTED, UserError
from lenet_bench.common.files import new_folder
from lenet_bench.common.streams import forgiving_output
from lenet_bench.common.surroundings import OF_COMMANDS, explain_surroundings, surroundings
from lenet_bench.reporting.rehearsal import libraries_explained


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    with forgiving_output(), surroundings(OF_COMMANDS):
        given = _parser().parse_args(arguments)
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
        try:
            _report(given)
        except UserError as error:
            sys.exit(f"lenet-bench-report: {error}")
        except (ImportError, MemoryError, OSError) as error:
            sys.exit(f"lenet-bench-report: {explain_surroundings(error)}")
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def _report(given: argparse.Namespace) -> None:
    output = given.output or (given.sweeps[0] if len(given.sweeps) == 1 else new_folder("report"))
    if (output / "status.json").is_file():
        raise UserError(
            f"{output}: is a run directory, which a report would be mixed into; give "
            f"the sweep directory, {output.parent}, or another place with --output"
        )
    # pandas and matplotlib take a second to import; --help and mistakes do not wait for them.
    with libraries_explained():
        from lenet_bench.reporting.report import write_report
        from lenet_bench.reporting.terminal import print_report

    report = write_report(given.sweeps, output, given.target_loss)
    print_report(report)
    if report.damaged:
        raise UserError(report.warning)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lenet-bench-report",
        description="Rebuild summary.csv, the figures and report.html from the run directories "
        "of one or several sweeps. Nothing is trained; the runs' own files are not changed.",
        epilog="example: lenet-bench-report runs/sweep-2025-01-31 --target-loss 0.5",
    )
    parser.add_argument(
        "sweeps", nargs="+", type=Path, metavar="SWEEP", help="a sweep directory, e.g. runs/NAME"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write (default: the sweep directory; with several, a new runs/report-TIME)",
    )
    parser.add_argument(
        "--target-loss",
        type=_positive,
        metavar="NATS",
        help="training loss for 'iterations to target' (default: the runs' report.target_loss, "
        "else half of chance, ln(classes)/2)",
    )
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of nats, e.g. 1.15")
    return value


if __name__ == "__main__":
    main()
