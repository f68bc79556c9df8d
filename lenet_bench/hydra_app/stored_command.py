"""`sweep.json`: the command that a sweep is trained by, so that it can be repeated.

That is the newest one that trained there: it asks for every run that is left.

In: the arguments of a command. Out: a file in its sweep directory; later, the same arguments, and
whether they still mean the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lenet_bench.common.files import digest_of_files, write_json
from lenet_bench.common.text import printable
from lenet_bench.hydra_app.groups import CONF
from lenet_bench.records.damage import DamageError, MissingFileError, read_json
from lenet_bench.records.provenance import commit, versions

FILE = "sweep.json"

PLACE = "hydra.sweep.dir"
SKIP_FINISHED = "hydra.launcher.skip_finished"
ONCE = (PLACE, "hydra.run.dir", "resume_anyway", SKIP_FINISHED)
"""Keys that are not repeated: they concern one command, or follow from where the file lies."""


@dataclass(frozen=True)
class StoredCommand:
    """A command.

    Attributes:
        arguments: As typed, without the keys of `ONCE`.
        folder: Where it was typed; relative paths start there.
        meaning: Tells the files of `conf/`, which the arguments refer to, from all others.
    """

    arguments: tuple[str, ...]
    folder: str
    meaning: str


def name_of(argument: str) -> str:
    """The key that an argument sets: of `++lr = 0.1` it is `lr`."""
    return argument.partition("=")[0].strip().lstrip("+").strip()


def stored_command(arguments: Iterable[str]) -> StoredCommand:
    """The command of this process, to be stored."""
    kept = tuple(item for item in arguments if name_of(item) not in ONCE)
    return StoredCommand(kept, str(Path.cwd()), _meaning())


def write_command(command: StoredCommand, directory: Path) -> None:
    """Write `sweep.json` into the directory of a sweep."""
    content = {
        "arguments": command.arguments,
        "folder": command.folder,
        "meaning": command.meaning,
        "versions": versions(),
        "commit": commit(),
    }
    write_json(directory / FILE, content)


def read_command(directory: Path) -> StoredCommand | None:
    """Read `sweep.json`; None if there is none.

    Raises:
        UserError: It does not hold a command.
    """
    file = directory / FILE
    try:
        content = read_json(file)
        arguments = content["arguments"]
        texts = [content["folder"], content["meaning"]]
        if not isinstance(arguments, list):
            raise TypeError
        if not all(isinstance(text, str) for text in (*arguments, *texts)):
            raise TypeError
        return StoredCommand(tuple(arguments), *texts)
    except MissingFileError:
        return None
    except (TypeError, KeyError):
        raise DamageError(file, "does not hold the command of a sweep") from None


def enter_folder(command: StoredCommand) -> None:
    """Let this process work where a command was typed: relative paths start there."""
    try:
        os.chdir(command.folder)
    except (OSError, ValueError):  # ValueError: no name that a folder can have
        print(
            f"{printable(command.folder)}, where the sweep was begun, is gone; "
            "relative paths start here.",
            file=sys.stderr,
        )


def _meaning() -> str:
    return digest_of_files((CONF, file) for file in sorted(CONF.rglob("*.yaml")))
