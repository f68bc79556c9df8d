"""`lenet-bench`, also `python -m lenet_bench`: from a command line to a trained and reported sweep.

In: the arguments of the command. Out: a sweep directory, a table in the terminal, an exit code.
`lenet-bench verify DIR` is answered by `commands.verify`.

Exit code 0: every run finished or diverged, which is a result. 1: a mistake, a run that failed, or
an answer that could not be written. 130: stopped by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP. 141: the
reader of the output is gone, as behind `| head`.
"""

from __future__ import annotations

import os
import sys

try:
    here = os.getcwd()  # noqa: PTH109, imports nothing
except OSError as error:
    sys.exit(f"lenet-bench: the current folder cannot be used ({error.strerror}); go to another")
try:  # importing takes half a second, in which the user may press Ctrl-C
    if __name__ == "__main__" and sys.path[:1] == [here]:
        # `python -m` searches the current folder first, where a `csv.py` of the user's may lie.
        del sys.path[0]
        sys.path.append(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    import contextlib
    import shlex
    import shutil
    import traceback
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from lenet_bench import __version__
    from lenet_bench.commands import verify
    from lenet_bench.common.errors import UserError, in_one_line
    from lenet_bench.common.streams import Answer, forgiving_output
    from lenet_bench.common.surroundings import OF_WORKERS, explain_surroundings, surroundings
    from lenet_bench.common.text import printable, printable_lines
    from lenet_bench.execution.signals import (
        Interruption,
        exit_code,
        interruptible,
        signals_end_the_command,
    )
    from lenet_bench.hydra_app import session
    from lenet_bench.hydra_app.check import check
    from lenet_bench.hydra_app.explain import explain
    from lenet_bench.hydra_app.groups import CONF, VERSION_BASE
    from lenet_bench.hydra_app.names import register_resolvers
    from lenet_bench.hydra_app.resume import answer_finished, expand, how_to_go_on
    from lenet_bench.hydra_app.stored_command import stored_command
    from lenet_bench.hydra_app.task import task
    from lenet_bench.records.run_directory import ENDED, read_status
    from lenet_bench.reporting.rehearsal import libraries_explained
except KeyboardInterrupt:
    sys.exit(130)
except (ImportError, MemoryError, OSError) as error:
    sys.exit(f"lenet-bench: cannot be loaded ({type(error).__name__}: {error})")


@hydra.main(str(CONF), "config", version_base=VERSION_BASE)
def application(config: DictConfig) -> float | None:
    """What Hydra calls for each job."""
    return task(config)


def main() -> None:
    """Entry point of the console script."""
    with (
        signals_end_the_command(),
        forgiving_output() as answer,
        surroundings(OF_WORKERS),
    ):
        if "--version" in sys.argv[1:]:
            print(f"lenet-bench {__version__} (Hydra {hydra.__version__})")
            return
        if sys.argv[1:2] == ["verify"]:
            sys.exit(verify.main(sys.argv[2:]))
        sys.exit(_answer(answer))  # type: ignore[arg-type]


def _answer(answer: Answer) -> object:
    """Check, train and report what the command line asks for; return the exit code."""
    # Hydra would print the stack of a user's mistake. With this setting it raises the error, and
    # the user gets a line.
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    code: object = 0
    command = session.begin()
    try:
        code = _train(command, traceback_wanted)
        if command.directory is not None and not command.refused:
            concluded = _conclude(command, command.directory, answer)
            code = 1 if code == 1 else concluded or code
    except KeyboardInterrupt:
        code = exit_code()
    except (MemoryError, OSError) as error:  # of looking at what was trained
        _say(str(explain_surroundings(error, command.directory)))
        code = 1
    finally:
        command.end()
    with contextlib.suppress(MemoryError, OSError):
        if code and (again := how_to_go_on(command)):
            print(f"To go on: {printable(again)}", file=sys.stderr)
    return code


def _train(command: session.Session, traceback_wanted: bool) -> object:
    """Check and train what the command line asks for; return the exit code.

    Raises:
        Interruption: The user wants to leave at once, without a report.
    """
    try:
        with interruptible():
            register_resolvers()
            command.folder = Path.cwd()
            arguments = expand(sys.argv[1:])
            command.command = stored_command(arguments)
            command.resumes = arguments != tuple(sys.argv[1:])
            if not answer_finished(arguments, command):
                with _arguments(check(arguments)):
                    application()
        return 0
    except SystemExit as exit_:
        return exit_.code
    except KeyboardInterrupt as stop:
        if isinstance(stop, Interruption) and stop.at_once:
            raise
        return exit_code()
    except UserError as error:
        _say(str(error))
    except Exception as error:
        # Whatever it was, what has been trained is reported.
        known = (HydraException, OmegaConfBaseException, ValueError)
        surrounding = explain_surroundings(error, command.directory)
        if traceback_wanted or not (surrounding or isinstance(error, known)):
            traceback.print_exc()
        else:
            _say(surrounding or explain(error))
    return 1


def _say(message: str) -> None:
    print(f"lenet-bench: {printable_lines(message)}", file=sys.stderr)


@contextlib.contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    """Let Hydra read these arguments."""
    given = sys.argv
    sys.argv = [given[0], *arguments]
    try:
        yield
    finally:
        sys.argv = given


def _conclude(command: session.Session, directory: Path, answer: Answer) -> int:
    """Write and print the report of whatever was trained; return the exit code."""
    statuses = [read_status(path.parent).get("status") for path in directory.glob("*/status.json")]
    if not statuses:
        if command.made_directory and directory.exists():  # nobody has deleted it meanwhile
            # Only what Hydra prepared for runs that never began; on a broken disk it stays.
            shutil.rmtree(directory, ignore_errors=True)
        return 0
    answer.again = f"lenet-bench-report {shlex.quote(str(directory))}"
    try:
        with interruptible(), libraries_explained():
            from lenet_bench.reporting.report import gather_report, write_report
            from lenet_bench.reporting.terminal import print_report
        with interruptible():
            report = write_report(directory, directory)
            print_report(report)
    except KeyboardInterrupt:
        _say(f"the report was stopped; {_state(statuses)}, and {answer.again} makes it")
        return exit_code()
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else explain_surroundings(error)
        reason = reason or in_one_line(error)
        _say(f"the report failed ({reason}); {_state(statuses)}, and {answer.again} makes it")
        with contextlib.suppress(Exception):  # it has just been said what is wrong
            print_report(gather_report(directory, directory))
        return 1
    if report.damaged:
        _say(report.warning)
    if "failed" in statuses or report.damaged:
        return 1
    asked = [read_status(run).get("status") for run in command.asked] or statuses
    return exit_code() if {"interrupted", "running"} & set(asked) else 0


def _state(statuses: Sequence[object]) -> str:
    """How far the training of a sweep is whose report failed."""
    if all(status in ENDED for status in statuses):
        return "training has finished"
    return "what was trained is kept"


if __name__ == "__main__":
    main()
