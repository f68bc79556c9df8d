"""What the files of a run hold, as `status.json` keeps it: rows, bytes and a checksum of each.

In: a run directory, and its status. Out: the section `files` of `status.json`; later, why the files
of a run that has ended do not hold what its status says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lenet_bench.common.regular_files import read_regular
from lenet_bench.records.configuration import FILE as CONFIGURATION
from lenet_bench.records.schema import RUN_TABLES

TABLES = tuple(f"{name}.csv" for name in RUN_TABLES)
WEIGHTS = "weights.pt"

FileFacts = dict[str, int | str]


def facts_of_content(content: bytes, *, table: bool) -> FileFacts:
    """The facts of one file: `rows` of a table (without its header), `bytes`, `sha256`."""
    rows: FileFacts = {"rows": max(0, content.count(b"\n") - 1)} if table else {}
    return {**rows, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def damage(
    directory: Path,
    status: Mapping[str, Any],
    read: Callable[[Path], bytes] = read_regular,
) -> str | None:
    """Say why the files of a run that has ended do not hold what its status says.

    Args:
        directory: The run directory.
        status: The content of its `status.json`. Older ones say nothing about files; then the rows
            of `train.csv` have to be as many as the iterations.
        read: Reads a file; one that is already read need not be read again.

    Returns:
        A phrase that names the file, such as "train.csv has 52 rows instead of 150"; None if
        nothing is wrong.
    """
    known = status.get("files")
    # That of `config.json` is not needed: statuses of older versions do not have it.
    needed = {"finished": (*TABLES, WEIGHTS), "diverged": TABLES}.get(str(status.get("status")), ())
    if isinstance(known, Mapping) and not known.keys() >= set(needed):
        return "status.json does not say what its files hold"
    if not isinstance(known, Mapping):
        wanted: Mapping[str, Any] = {"train.csv": {"rows": status.get("iteration")}}
    else:
        wanted = known
    for name, facts in wanted.items():
        if name not in (*TABLES, WEIGHTS, CONFIGURATION) or not isinstance(facts, Mapping):
            return "status.json says of its files what cannot be understood"
        try:
            content = read(directory / name)
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if problem := _difference(facts, facts_of_content(content, table=name in TABLES)):
            return f"{name} {problem}"
    return None


def _difference(wanted: Mapping[str, Any], found: FileFacts) -> str | None:
    for key in ("rows", "bytes"):
        if key in wanted and wanted[key] != found.get(key):
            return f"has {found.get(key)} {key} instead of {wanted[key]}"
    if "sha256" in wanted and wanted["sha256"] != found["sha256"]:
        return "has another checksum than at the end of the run"
    return None
