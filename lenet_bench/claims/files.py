"""The CSVs in the folder of `lenet-bench-claims`, read and written.

In: paths. Out: frames whose columns and numbers are checked, or a `UserError` that says how to go
on with a damaged file.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lenet_bench.claims.registry import CLAIMS
from lenet_bench.common.errors import UserError
from lenet_bench.common.files import write_atomically
from lenet_bench.records import schema
from lenet_bench.records.run_tables import READ_EXACTLY
from lenet_bench.records.schema import Dtypes
from lenet_bench.records.spreadsheet import plain_text

OVERRIDES = "overrides.json"
"""The file that holds the overrides which the runs of a claims folder are trained with."""

CLAIM_TYPES = schema.dtypes(schema.CLAIMS)
ROUND_TYPES = schema.dtypes(
    schema.pick(
        schema.COST_ROUNDS,
        ("activation", "where", "pass", "implementation", "round", "relative"),
    )
)
"""Of the measured rounds, the columns that verdicts rest on."""


def read_table(path: Path, types: Dtypes, advice: str) -> pd.DataFrame:
    """Read a CSV that must have these columns and at least one row.

    Args:
        path: The CSV.
        types: The columns and their dtypes; the CSV may hold more columns.
        advice: How to go on, for the message of the error.

    Raises:
        UserError: The file is missing or cannot be read, or lacks a column or rows.
    """
    try:
        frame: pd.DataFrame = pd.read_csv(path, dtype=dict(types), **READ_EXACTLY)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {advice}") from None
    except ValueError as error:  # also the base of pandas' errors and of wrong encodings
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path}: cannot be read ({reason}); {advice}") from None
    if missing := [name for name in types if name not in frame]:
        raise UserError(f"{path}: lacks the column {', '.join(missing)}; {advice}")
    if frame.empty:
        raise UserError(f"{path}: holds no rows; {advice}")
    texts = [name for name, kind in types.items() if kind == "str"]
    return frame.assign(**{name: plain_text(frame[name]) for name in texts})


def read_claims(path: Path, advice: str) -> pd.DataFrame:
    """Read `claims.csv`; rows of claims that the registry does not hold any more are left out.

    Args:
        path: The CSV.
        advice: How to go on, for the message of an error.

    Raises:
        UserError: The file cannot be used; see `read_table`.
    """
    frame = read_table(path, CLAIM_TYPES, advice)
    frame[["note", "dataset"]] = frame[["note", "dataset"]].fillna("")
    return frame[frame["claim"].isin(list(CLAIMS))]


def is_claims_folder(directory: Path) -> bool:
    """Whether `lenet-bench-claims` wrote this folder, so that a report must not write into it."""
    return any((directory / name).is_file() for name in (OVERRIDES, "claims.html"))


def write(path: Path, content: str) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: It cannot be written.
    """
    try:
        write_atomically(path, content.encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
