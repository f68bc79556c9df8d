"""`lenet-bench`, also `python -m lenet_bench`: from a command line to a trained and reported sweep.

In: the arguments of the command. Out: a sweep directory, a table in the terminal, an exit code.

Exit code 0: every run finished or diverged, which is a result. 1: a mistake, or a run that failed.
130: stopped by Ctrl-C. 141: the reader of the output is gone, as behind `| head`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from lenet_bench.common.errors import INTERRUPTED

try:  # importing takes half a second, in which the user may press Ctrl-C
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from lenet_bench import __version__
    from lenet_bench.common.errors import UserError, reader_may_leave
    from lenet_bench.hydra_app import session
    from lenet_bench.hydra_app.check import check
    from lenet_bench.hydra_app.explain import explain
    from lenet_bench.hydra_app.groups import CONF, VERSION_BASE
    from lenet_bench.hydra_app.names import register_resolvers
    from lenet_bench.hydra_app.resume import answer_finished, expand, how_to_go_on
    from lenet_bench.hydra_app.task import task
    from lenet_bench.records.run_directory import read_status
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)


@hydra.main(str(CONF), "config", version_base=VERSION_BASE)
def application(config: DictConfig) -> float | None:
    """What Hydra calls for each job."""
    return task(config)


def main() -> None:
    """Entry point of the console script."""
    with reader_may_leave():
        if "--version" in sys.argv[1:]:
            print(f"lenet-bench {__version__} (Hydra {hydra.__version__})")
            return
        code = _answer()
    sys.exit(code)  # type: ignore[arg-type]


def _answer() -> object:
    """Check, train and report what the command line asks for; return the exit code."""
    # A user's own activation may lie in the current folder.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    # Hydra would print the stack of a user's mistake. With this setting it raises the error, and
    # the user gets a line.
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    code: object = 0
    command = session.begin()
    try:
        register_resolvers()
        command.arguments = expand(sys.argv[1:])
        if not answer_finished(command.arguments, command):
            with _arguments(check(command.arguments)):
                application()
    except UserError as error:
        print(f"lenet-bench: {error}", file=sys.stderr)
        code = 1
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if traceback_wanted:
            raise
        print(f"lenet-bench: {explain(error)}", file=sys.stderr)
        code = 1
    except SystemExit as exit_:
        code = exit_.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    try:
        if command.directory is not None and not command.refused:
            code = _conclude(command.directory, is_new=command.made_directory) or code
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        command.end()
    if code and (again := how_to_go_on(command)):
        print(f"To go on: {again}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    """Let Hydra read these arguments."""
    given = sys.argv
    sys.argv = [given[0], *arguments]
    try:
        yield
    finally:
        sys.argv = given


def _conclude(directory: Path, *, is_new: bool) -> int:
    """Write and print the report of whatever was trained; return the exit code."""
    statuses = [read_status(path.parent).get("status") for path in directory.glob("*/status.json")]
    if not statuses:
        if is_new:
            shutil.rmtree(directory)  # only what Hydra prepared for runs that never began
        return 0
    from lenet_bench.reporting.report import write_report
    from lenet_bench.reporting.terminal import print_report

    try:
        print_report(write_report(directory, directory))
    except UserError as error:
        print(f"lenet-bench: {error}", file=sys.stderr)
        return 1
    if "failed" in statuses:
        return 1
    return INTERRUPTED if {"interrupted", "running"} & set(statuses) else 0


if __name__ == "__main__":
    main()
