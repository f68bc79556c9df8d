"""The directory of one run: `config.json`, `status.json`, three CSVs that grow, `weights.pt`.

In: a `Run`; rows and metrics from the training loop. Out: files that are complete up to the last
block even when the process is killed, and that say what was asked for and how the run ended. All
but the CSVs are replaced atomically: a reader sees the old file or the new one, never half of one.
What a run that has ended leaves is on the disk, with its checksums in `status.json`.
"""

from __future__ import annotations

import errno
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_bench.common.files import remove_leftovers, sync_to_disk, write_atomically, write_json
from lenet_bench.records.configuration import FILE as CONFIGURATION
from lenet_bench.records.configuration import write_configuration
from lenet_bench.records.damage import DamageError
from lenet_bench.records.file_facts import WEIGHTS, FileFacts, damage, facts_of_content
from lenet_bench.records.growing_table import GrowingTable, Mark
from lenet_bench.records.provenance import commit, versions
from lenet_bench.records.schema import RUN_TABLES, names
from lenet_bench.records.stored_status import STATUS, Status, read_stored_status

if TYPE_CHECKING:
    from torch import Tensor

    from lenet_bench.config.schema import RunConfig

ENDED = ("finished", "diverged")
"""How a run stands of which nothing is left to train."""


@dataclass(frozen=True)
class Run:
    """One configuration to train, and the directory for its records.

    Attributes:
        config: What to train.
        directory: The run directory, whether it exists or not.
        preset: The preset that the configuration was composed from, if any.
    """

    config: RunConfig
    directory: Path
    preset: str | None = None


@dataclass(frozen=True)
class RecordMarks:
    """How far the records of a run had grown at some time.

    Attributes:
        started: When the run began.
        tables: How far each CSV had grown, by its name without `.csv`.
    """

    started: str
    tables: Mapping[str, Mark]


class RunRecorder:
    """Writes the records of one run into its directory.

    Args:
        run: The run; nothing is done to its directory before `begin` or `go_on`.
        facts: What is known beforehand and is part of `status.json`: budget, device, dataset,
            stack.
    """

    def __init__(self, run: Run, facts: Mapping[str, Any]) -> None:
        self.directory = run.directory
        self._run = run
        self._facts = dict(facts)
        self._started = ""
        self._tables = {
            name: GrowingTable(run.directory / f"{name}.csv", names(columns))
            for name, columns in RUN_TABLES.items()
        }
        self._configuration: FileFacts = {}
        self._weights: FileFacts | None = None

    def begin(self) -> None:
        """Start the records; what an earlier attempt left in the directory is replaced."""
        self._started = _now()
        self._prepare()
        (self.directory / WEIGHTS).unlink(missing_ok=True)
        for table in self._tables.values():
            table.begin()
        self.status("running", iteration=0, metrics={}, seconds=0.0)

    def holds(self, marks: RecordMarks) -> bool:
        """Whether the CSVs begin with the rows that they had then."""
        return all(table.holds(marks.tables[name]) for name, table in self._tables.items())

    def go_on(self, marks: RecordMarks) -> None:
        """Continue the records where they were then; rows behind that are cut off."""
        self._started = marks.started
        self._prepare()
        for name, table in self._tables.items():
            table.go_on(marks.tables[name])

    @property
    def marks(self) -> RecordMarks:
        """How far the records have grown."""
        return RecordMarks(
            self._started, {name: table.mark for name, table in self._tables.items()}
        )

    def _prepare(self) -> None:
        written = _describe(self._run)
        self._configuration = facts_of_content(written, table=False)
        for name in (CONFIGURATION, STATUS, WEIGHTS, *self._file_names):
            remove_leftovers(self.directory / name)

    @property
    def _file_names(self) -> list[str]:
        return [f"{name}.csv" for name in self._tables]

    def write(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        """Append rows to `name`.csv, all of them or none, and pass them on at once."""
        self._tables[name].append(rows)

    def weights(self, state: Mapping[str, Tensor]) -> None:
        """Replace `weights.pt` by a plain `LeNet` state dict."""
        import torch

        file = io.BytesIO()
        torch.save(dict(state), file)
        content = file.getvalue()
        write_atomically(self.directory / WEIGHTS, content, sync=False)
        self._weights = facts_of_content(content, table=False)

    def remove_weights(self) -> None:
        """Remove the weights that a checkpoint wrote: they are not those of the end."""
        (self.directory / WEIGHTS).unlink(missing_ok=True)
        self._weights = None

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        for name in (CONFIGURATION, *self._file_names):
            sync_to_disk(self.directory / name)
        if self._weights is not None:
            sync_to_disk(self.directory / WEIGHTS)
        sync_to_disk(self.directory)
        sync_to_disk(self.directory.parent)

    def status(
        self,
        status: Status,
        *,
        iteration: int,
        metrics: Mapping[str, float | int],
        seconds: float,
        error: str | None = None,
        **more: Any,
    ) -> None:
        """Replace `status.json`.

        Args:
            status: How the run stands.
            iteration: The last iteration in `train.csv`.
            metrics: The latest evaluation of each split, and the best validation accuracy.
            seconds: This run's share of its stack's wall time.
            error: What went wrong, for `failed` and `diverged`.
            **more: Merged into the sections of the facts that were given at the start.

        Raises:
            OSError: It cannot be written, or somebody else has changed the files of a run that is
                to be recorded as finished or diverged.
        """
        facts = dict(self._facts)
        if status in ENDED:
            self.sync()
            facts["files"] = self._checked_files()
        for section, values in more.items():
            facts[section] = {**facts.get(section, {}), **values}
        write_status(
            self.directory,
            {
                "status": status,
                "error": error,
                "name": self.directory.name,
                "iteration": iteration,
                **facts,
                "metrics": dict(metrics),
                "seconds": seconds,
                "started": self._started,
                "ended": None if status == "running" else _now(),
                "versions": versions(),
                "commit": commit(),
            },
            sync=status != "running",
        )

    def _checked_files(self) -> dict[str, FileFacts]:
        """What was written, if that is what the files hold."""
        files: dict[str, FileFacts] = {
            f"{name}.csv": {"rows": mark.rows, "bytes": mark.bytes, "sha256": mark.sha256}
            for name, mark in self.marks.tables.items()
        }
        files[CONFIGURATION] = self._configuration
        if self._weights is not None:
            files[WEIGHTS] = self._weights
        if problem := damage(self.directory, {"files": files}):
            raise OSError(
                errno.ESTALE, f"another program has changed it: {problem}", str(self.directory)
            )
        return files


def write_status(directory: Path, content: Mapping[str, Any], *, sync: bool = True) -> None:
    """Write `status.json` atomically; numbers that are not finite become null."""
    write_json(directory / STATUS, _finite(content), sync=sync)


def read_status(directory: Path) -> dict[str, Any]:
    """The content of `status.json`; empty where there is none or it cannot be believed."""
    try:
        return read_stored_status(directory)
    except DamageError:
        return {}


def has_ended(directory: Path) -> bool:
    """Whether a run was trained to its end or diverged, and its files hold what its status says."""
    status = read_status(directory)
    return status.get("status") in ENDED and damage(directory, status) is None


def mark_failed(run: Run, error: str) -> None:
    """Record that a run failed, where its own process could not do so."""
    _describe(run)
    _mark(run.directory, "failed", error)


def mark_rejected(directory: Path, error: str) -> None:
    """Record that a run failed because its configuration is wrong."""
    directory.mkdir(parents=True, exist_ok=True)
    _mark(directory, "failed", error)


def mark_interrupted(run: Run) -> None:
    """Record that a run was stopped, where its own process could not do so.

    If an earlier attempt ended, its status stays: its rows are still there, and what it was asked.
    """
    status = read_status(run.directory).get("status")
    if status not in ENDED:
        _describe(run)
    if status in (None, "running"):
        _mark(run.directory, "interrupted", None)


def _describe(run: Run) -> bytes:
    """Make the directory of a run and write what it is about to train; return what was written."""
    run.directory.mkdir(parents=True, exist_ok=True)
    return write_configuration(run.directory, run.config, run.preset)


def _mark(directory: Path, status: Status, error: str | None) -> None:
    known = {"name": directory.name, "iteration": 0, "metrics": {}, "seconds": 0.0}
    changed = {"status": status, "error": error, "ended": _now()}
    write_status(directory, {**known, **read_status(directory), **changed})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not have (NaN, infinity), which strict readers refuse."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
