"""Compares the records of a tortured sweep with those of an undisturbed one.

In: two sweep directories. Out: rows that are missing or there twice, and files that differ.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TABLES = {"train.csv": 1, "evaluation.csv": 3, "layers.csv": 2}
"""Of each CSV of a run the columns, from the first, that tell its rows apart."""


@dataclass
class Differences:
    """What is wrong with a sweep that should equal another.

    Attributes:
        lost: Rows that the other has.
        doubled: Rows that are there more than once.
        files: Files whose bytes differ, or that are missing.
        statuses: Runs that ended in another way.
    """

    lost: int = 0
    doubled: int = 0
    files: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.lost or self.doubled or self.files or self.statuses)


def compare(sweep: Path, undisturbed: Path) -> Differences:
    """Compare every run of two sweeps."""
    found = Differences()
    for reference in sorted(path.parent for path in undisturbed.glob("*/status.json")):
        run = sweep / reference.name
        for name, columns in TABLES.items():
            expected, rows = _rows(reference / name, columns), _rows(run / name, columns)
            found.lost += sum((expected - rows).values())
            found.doubled += sum(count - 1 for count in rows.values() if count > 1)
        for name in (*TABLES, "config.json", "weights.pt"):
            if _bytes(run / name) != _bytes(reference / name):
                found.files.append(f"{reference.name}/{name}")
        if _status(run) != _status(reference):
            found.statuses.append(f"{reference.name}: {_status(run)}")
    return found


def _rows(path: Path, columns: int) -> Counter[tuple[str, ...]]:
    if not path.exists():
        return Counter()
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return Counter(
            tuple(row[:columns]) for row in csv.reader(line.replace("\0", "") for line in file)
        )


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _status(run: Path) -> object:
    try:
        content = json.loads((run / "status.json").read_text())
    except (OSError, ValueError):
        return None
    return content.get("status"), content.get("iteration"), content.get("metrics")
