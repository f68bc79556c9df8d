"""The directory of one run: `config.json`, `status.json`, three CSVs that grow, `weights.pt`.

In: a `Run`; rows and metrics from the training loop. Out: files that are complete up to the last
block even when the process is killed, and that say what was asked for and how the run ended. All
but the CSVs are replaced atomically: a reader sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from lenet_bench.common.files import write_atomically
from lenet_bench.records.configuration import write_configuration
from lenet_bench.records.provenance import commit, versions
from lenet_bench.records.schema import RUN_TABLES, names

if TYPE_CHECKING:
    from torch import Tensor

    from lenet_bench.config.schema import RunConfig

Status = Literal["running", "finished", "diverged", "interrupted", "failed"]


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


class RunRecorder:
    """Writes the records of one run into its directory.

    Args:
        run: The run. What an earlier, unfinished attempt left in the directory is replaced.
        facts: What is known beforehand and is part of `status.json`: budget, device, dataset,
            stack.
    """

    def __init__(self, run: Run, facts: Mapping[str, Any]) -> None:
        self.directory = directory = run.directory
        self._facts = dict(facts)
        self._started = _now()
        _describe(run)
        (directory / "weights.pt").unlink(missing_ok=True)
        self._files: dict[str, TextIO] = {
            name: (directory / f"{name}.csv").open("w", newline="", encoding="utf-8")
            for name in RUN_TABLES
        }
        for name, columns in RUN_TABLES.items():
            self.write(name, [names(columns)])
        self.status("running", iteration=0, metrics={}, seconds=0.0)

    def write(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        """Append rows to `name`.csv and pass them to the operating system at once.

        Floats are written by `repr`: the shortest text that is read back as the same float64.
        """
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._files[name].write(text.getvalue())
        self._files[name].flush()

    def weights(self, state: Mapping[str, Tensor]) -> None:
        """Replace `weights.pt` by a plain `LeNet` state dict."""
        import torch

        content = io.BytesIO()
        torch.save(dict(state), content)
        write_atomically(self.directory / "weights.pt", content.getvalue())

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
        """
        facts = dict(self._facts)
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
        )

    def close(self) -> None:
        """Close the CSVs."""
        for file in self._files.values():
            file.close()


def write_status(directory: Path, content: Mapping[str, Any]) -> None:
    """Write `status.json` atomically; numbers that are not finite become null."""
    text = json.dumps(_finite(content), indent=2) + "\n"
    write_atomically(directory / "status.json", text.encode())


def read_status(directory: Path) -> dict[str, Any]:
    """The content of `status.json`; empty where there is none or it cannot be read."""
    try:
        content = json.loads((directory / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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

    If an earlier attempt ended, its status stays: its rows are still there.
    """
    _describe(run)
    if read_status(run.directory).get("status") in (None, "running"):
        _mark(run.directory, "interrupted", None)


def _describe(run: Run) -> None:
    """Make the directory of a run and write what it is about to train."""
    run.directory.mkdir(parents=True, exist_ok=True)
    write_configuration(run.directory, run.config, run.preset)


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
