"""`sweep.json`: the command that began a sweep, so that it can be repeated.

In: the arguments of a command. Out: a file in its sweep directory; later, the same arguments, and
whether they still mean the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import write_atomically
from lenet_bench.hydra_app.groups import CONF
from lenet_bench.records.provenance import commit, versions

FILE = "sweep.json"

PLACES = ("hydra.sweep.dir=", "hydra.run.dir=")
ONCE = (*PLACES, "resume_anyway=")
"""Arguments that are not repeated: they concern one command, or follow from where the file lies."""


@dataclass(frozen=True)
class StoredCommand:
    """A command.

    Attributes:
        arguments: As typed, without those of `ONCE`.
        folder: Where it was typed; relative paths start there.
        meaning: Tells the configuration files that the arguments refer to from all others.
        place: The key of its directory, one of `PLACES`.
    """

    arguments: tuple[str, ...]
    folder: str
    meaning: str
    place: str = PLACES[0]


def stored_command(arguments: Iterable[str], place: str = PLACES[0]) -> StoredCommand:
    """The command of this process, to be stored."""
    kept = tuple(item for item in arguments if not item.startswith(ONCE))
    return StoredCommand(kept, str(Path.cwd()), meaning(kept), place)


def write_command(command: StoredCommand, directory: Path) -> None:
    """Write `sweep.json` into the directory of a sweep."""
    content = {
        "arguments": command.arguments,
        "folder": command.folder,
        "meaning": command.meaning,
        "place": command.place,
        "versions": versions(),
        "commit": commit(),
    }
    write_atomically(directory / FILE, (json.dumps(content, indent=2) + "\n").encode())


def read_command(directory: Path) -> StoredCommand | None:
    """Read `sweep.json`; None if there is none.

    Raises:
        UserError: It does not hold a command.
    """
    file = directory / FILE
    try:
        content = json.loads(file.read_bytes())
        arguments = content["arguments"]
        texts = [content["folder"], content["meaning"], content["place"]]
        if not isinstance(arguments, list) or content["place"] not in PLACES:
            raise TypeError
        if not all(isinstance(text, str) for text in (*arguments, *texts)):
            raise TypeError
        return StoredCommand(tuple(arguments), *texts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{file}: does not hold the command of a sweep") from None


def meaning(arguments: Sequence[str]) -> str:
    """A digest of the configuration files: those of `conf/` and of a `--config-dir`."""
    folders = [CONF, *(Path(folder) for folder in _config_folders(arguments))]
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            digest.update(str(file.relative_to(folder)).encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _config_folders(arguments: Sequence[str]) -> Iterable[str]:
    for number, item in enumerate(arguments):
        name, equals, value = item.partition("=")
        if name in ("--config-dir", "-cd"):
            yield value if equals else "".join(arguments[number + 1 : number + 2])
