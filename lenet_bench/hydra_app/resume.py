"""Goes on with a sweep: `resume=DIR`, and the answer to a command whose sweep is finished.

In: the arguments of `lenet-bench`. Out: the arguments that began the sweep, with its directory; or
the answer that nothing is left to train, within seconds, because nothing is composed for it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import home_expanded
from lenet_bench.common.lock import lock_folder
from lenet_bench.common.text import printable
from lenet_bench.config.errors import ConfigError
from lenet_bench.hydra_app.groups import quote
from lenet_bench.hydra_app.session import Session
from lenet_bench.hydra_app.stored_command import (
    PLACE,
    SKIP_FINISHED,
    enter_folder,
    name_of,
    read_command,
)
from lenet_bench.planning.plan_file import planned_runs
from lenet_bench.records.run_directory import ENDED, has_ended, read_status

KEY = "resume"


def expand(arguments: Sequence[str]) -> tuple[str, ...]:
    """Replace `resume=DIR` by the arguments of the command that began the sweep in DIR.

    This process then works in the folder where that command was typed.

    Raises:
        ConfigError: DIR is none of a sweep, or something stands beside that cannot.
    """
    named = [item.partition("=")[2] for item in arguments if name_of(item) == KEY]
    if not named:
        return tuple(arguments)
    own = [item for item in arguments if _may_stand_beside(item)]
    others = [item for item in arguments if name_of(item) != KEY and item not in own]
    if len(named) > 1 or others:
        what = others or [f"{KEY}={folder}" for folder in named[1:]]
        raise ConfigError(
            [
                f"{item}: cannot stand beside {KEY}={named[0]}, which repeats the command that "
                "began the sweep; allowed: resume_anyway=true, hydra.launcher.KEY=VALUE"
                for item in what
            ]
        )
    directory = home_expanded(Path(named[0])).absolute()
    if not directory.is_dir():
        raise ConfigError([f"{KEY}={named[0]}: there is no such folder"])
    try:
        command = read_command(directory)
    except UserError as error:
        raise ConfigError([f"{KEY}={named[0]}: {error}"]) from None
    if command is None:
        raise ConfigError(
            [f"{KEY}={named[0]}: holds no sweep.json, in which lenet-bench keeps its command"]
        )
    typed_in = Path.cwd()
    enter_folder(command)
    # A path that is printed has to lead there from where it is read.
    place = _relative(directory, typed_in) if Path.cwd() == typed_in else directory.resolve()
    replaced = {name_of(item) for item in own}
    kept = [item for item in command.arguments if name_of(item) not in replaced]
    return (*kept, *own, f"{PLACE}={quote(place)}")


def answer_finished(arguments: Sequence[str], session: Session) -> bool:
    """Answer a command whose sweep is finished, without composing it again.

    That is only done where the command is the one that trained the sweep, typed in the same folder,
    and every run of its plan holds what it should.

    Args:
        arguments: Of the command.
        session: Of the command; gets the sweep directory if its report has to be written anew.

    Returns:
        Whether there is nothing left to do but the report.
    """
    directory = _sweep_directory(arguments)
    try:
        if directory is None or not directory.is_dir():
            return False
    except OSError:  # no name that a folder can have
        return False
    if any("${" in item or item.startswith("-") for item in arguments):
        return False
    if any(name_of(item) in ("plan", "hydra.run.dir") for item in arguments):
        return False
    skips = [item.partition("=")[2] for item in arguments if name_of(item) == SKIP_FINISHED]
    if any(value.strip().lower() != "true" for value in skips):
        return False
    try:
        command = read_command(directory)
        runs = planned_runs(directory)
    except UserError:
        return False
    now = session.command
    if command is None or now is None or not runs:
        return False
    if now != command or not all(has_ended(run) for run in runs):
        return False
    from lenet_bench.execution.progress import count

    print(f"{count(len(runs), 'run')} finished before; nothing is left to train.", file=sys.stderr)
    report = directory / "report.html"
    if _is_newer(report, runs):
        print(f"Report: {printable(report)}", file=sys.stderr)
    else:
        session.lock = lock_folder(directory, f"hydra.sweep.dir={directory}")
        session.directory = directory
    return True


def how_to_go_on(session: Session) -> str | None:
    """The command that goes on with a sweep of which something is left; None if nothing is."""
    directory = session.directory
    if directory is None or session.refused or not directory.is_dir():
        return None
    try:
        if read_command(directory) is None:
            return None
        runs = {path.parent for path in directory.glob("*/status.json")} | set(
            planned_runs(directory)
        )
    except UserError:
        return None
    if all(read_status(run).get("status") in ENDED for run in runs):
        return None
    shown = _relative(directory.absolute(), session.folder)
    return f"lenet-bench {KEY}={shlex.quote(str(shown))}"


def _may_stand_beside(argument: str) -> bool:
    """Whether an argument may stand beside `resume=DIR`."""
    name = name_of(argument)
    return name == "resume_anyway" or name.startswith("hydra.launcher.")


def _sweep_directory(arguments: Sequence[str]) -> Path | None:
    places = [item for item in arguments if name_of(item) == PLACE]
    if len(places) != 1:
        return None
    text = places[0].partition("=")[2].strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1].replace("\\'", "'")
    return Path(text)


def _relative(directory: Path, folder: Path) -> Path:
    """As it would be typed in a folder, where it lies in that."""
    try:
        return directory.relative_to(folder)
    except ValueError:
        return directory


def _is_newer(report: Path, runs: Sequence[Path]) -> bool:
    try:
        written = report.stat().st_mtime_ns
        return report.is_file() and all(
            (run / "status.json").stat().st_mtime_ns <= written for run in runs
        )
    except OSError:
        return False
