"""What this process knows of the command that it runs: the only state of the process.

Hydra calls resolvers, callbacks and the task with arguments of its own. What one of them finds out
and another needs is kept here, in the `Session` of the current command. `begin` starts a new one;
every command does, so that several commands in one process (as in tests) do not see each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lenet_bench.common.lock import FolderLock
from lenet_bench.config.parse import Parser
from lenet_bench.hydra_app.stored_command import StoredCommand, write_command


@dataclass(frozen=True)
class Job:
    """A job of a launcher: what to train, as plain containers, where, and of which preset."""

    content: Mapping[str, Any]
    directory: Path
    preset: str | None


@dataclass
class Session:
    """One command.

    Attributes:
        directory: The sweep directory; None before it is known.
        made_directory: Whether this command made it.
        folder: Where the command was typed.
        command: Its arguments, those of `sweep.json` in place of `resume=DIR`.
        resumes: Whether it is `resume=DIR`.
        asked: The directories of the runs that it asked for; empty where other processes train.
        rehearsed: Whether what the report needs has been tried.
        refused: Whether it would have trained otherwise than its sweep was begun.
        lock: Keeps other commands from writing there; None before it is taken.
        varying: Keys of overrides that differ between the jobs; None where only the job at hand
            is known.
        collected: The jobs so far, while a launcher collects them.
        names: The names of the runs that a sweep directory held at first, by fingerprint.
        parser: Parses each distinct configuration once.
        typed: Overrides as the user typed them, by what Hydra got instead.
    """

    directory: Path | None = None
    made_directory: bool = False
    folder: Path = Path()
    command: StoredCommand | None = None
    resumes: bool = False
    asked: set[Path] = field(default_factory=set)
    rehearsed: bool = False
    refused: bool = False
    lock: FolderLock | None = None
    varying: frozenset[str] | None = None
    collected: list[Job] | None = None
    names: dict[Path, dict[str, str]] = field(default_factory=dict)
    parser: Parser = field(default_factory=Parser)
    typed: dict[str, str] = field(default_factory=dict)

    def keep_command(self) -> None:
        """Write down the command in its sweep directory, so that it can be repeated."""
        if self.command is not None and self.directory is not None:
            write_command(self.command, self.directory)

    def end(self) -> None:
        """Let other commands write where this one did."""
        if self.lock is not None:
            self.lock.release()


_current = Session()


def begin() -> Session:
    """Start the session of a new command."""
    global _current
    _current.end()
    _current = Session()
    return _current


def current() -> Session:
    """The session of the command that this process runs."""
    return _current
