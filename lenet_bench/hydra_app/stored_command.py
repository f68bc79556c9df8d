"""`sweep.json`: the command that began a sweep, so that it can be repeated.

In: the arguments of a command. Out: a file in its sweep directory; later, the same arguments, and
whether they still mean the same.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import digest_of_files, write_json
from lenet_bench.hydra_app.groups import CONF
from lenet_bench.records.provenance import commit, versions

FILE = "sweep.json"

PLACE = "hydra.sweep.dir="
ONCE = (PLACE, "hydra.run.dir=", "resume_anyway=")
"""Arguments that are not repeated: they concern one command, or follow from where the file lies."""


@dataclass(frozen=True)
class StoredCommand:
    """A command.

    Attributes:
        arguments: As typed, without those of `ONCE`.
        folder: Where it was typed; relative paths start there.
        meaning: Tells the configuration files that the arguments refer to from all others.
    """

    arguments: tuple[str, ...]
    folder: str
    meaning: str


def stored_command(arguments: Iterable[str]) -> StoredCommand:
    """The command of this process, to be stored."""
    kept = tuple(item for item in arguments if not item.startswith(ONCE))
    return StoredCommand(kept, str(Path.cwd()), meaning(kept))


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
        content = json.loads(file.read_bytes())
        arguments = content["arguments"]
        texts = [content["folder"], content["meaning"]]
        if not isinstance(arguments, list):
            raise TypeError
        if not all(isinstance(text, str) for text in (*arguments, *texts)):
            raise TypeError
        return StoredCommand(tuple(arguments), *texts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{file}: does not hold the command of a sweep") from None


def enter_folder(command: StoredCommand) -> None:
    """Let this process work where a command was typed: relative paths start there."""
    try:
        os.chdir(command.folder)
    except OSError:
        print(
            f"{command.folder}, where the sweep was begun, is gone; relative paths start here.",
            file=sys.stderr,
        )


def meaning(arguments: Sequence[str]) -> str:
    """A digest of the configuration files: those of `conf/` and of a `--config-dir`."""
    folders = [CONF, *(Path(folder) for folder in _config_folders(arguments))]
    return digest_of_files(
        (folder, file)
        for folder in folders
        for file in sorted(folder.rglob("*.yaml"))
        if file.is_file() and os.access(file, os.R_OK)  # others cannot have been composed
    )


def _config_folders(arguments: Sequence[str]) -> Iterable[str]:
    for number, item in enumerate(arguments):
        name, equals, value = item.partition("=")
        if name in ("--config-dir", "-cd"):
            yield value if equals else "".join(arguments[number + 1 : number + 2])
