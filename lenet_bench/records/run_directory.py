"""The directory of one run: three CSVs that grow while it trains, `status.json`, `weights.pt`.

In: rows and metrics from the training loop. Out: files that are complete up to the last block even
when the process is killed, and that say how the run ended. `status.json` and `weights.pt` are
replaced atomically: a reader sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import csv
import io
import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from lenet_bench.common.files import write_atomically
from lenet_bench.records.schema import RUN_TABLES, names

if TYPE_CHECKING:
    from torch import Tensor

Status = Literal["running", "finished", "diverged", "interrupted", "failed"]


class RunRecorder:
    """Writes what one run leaves behind, into a directory of its own.

    Args:
        directory: The run directory; what an earlier, unfinished attempt left there is replaced.
        facts: What is known beforehand and goes into `status.json` as it is: the budget, device,
            dataset, stack.
    """

    def __init__(self, directory: Path, facts: Mapping[str, Any]) -> None:
        self.directory = directory
        self._facts = dict(facts)
        self._started = _now()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "weights.pt").unlink(missing_ok=True)
        self._files: dict[str, TextIO] = {
            name: (directory / f"{name}.csv").open("w", newline="", encoding="utf-8")
            for name in RUN_TABLES
        }
        for name, columns in RUN_TABLES.items():
            self.write(name, [names(columns)])
        self.status("running", iteration=0, metrics={}, seconds=0.0)

    def write(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        """Append rows to `name`.csv and hand them to the operating system at once.

        Floats are written by `repr`, the shortest text that reads back as the same float64.
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
            **more: Merged into the facts given at the start, section by section.
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


def mark_failed(directory: Path, error: str) -> None:
    """Say in `status.json` that a run failed whose own process could not say so."""
    _mark(directory, "failed", error)


def mark_interrupted(directory: Path) -> None:
    """Say in `status.json` that a run was stopped whose own process could not say so.

    How an earlier attempt ended stays on record: its rows are still there.
    """
    if read_status(directory).get("status") in (None, "running"):
        _mark(directory, "interrupted", None)


def _mark(directory: Path, status: Status, error: str | None) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    known = {"name": directory.name, "iteration": 0, "metrics": {}, "seconds": 0.0}
    changed = {"status": status, "error": error, "ended": _now()}
    write_status(directory, {**known, **read_status(directory), **changed})


@cache
def versions() -> dict[str, str]:
    """The versions of what took part in the computation."""
    packages = ("lenet-bench", "torch", "torchvision", "hydra-core", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


@cache
def commit() -> str | None:
    """The git commit of the source, with `+` behind it where files differ; None outside git."""
    source = Path(__file__).resolve()
    try:
        # The source may be installed below a repository that is not its own.
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", source.name],
            cwd=source.parent,
            capture_output=True,
            check=True,
            timeout=10,
        )
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            cwd=source.parent,
            capture_output=True,
            check=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _finite(value: Any) -> Any:
    """JSON has no NaN: strict readers refuse a file that holds one."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
