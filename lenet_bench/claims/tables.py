"""The CSVs of a claims folder: read back with an answer for damaged ones, written whole or not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lenet_bench.claims.registry import CLAIMS
from lenet_bench.common.errors import UserError
from lenet_bench.common.files import write_atomically
from lenet_bench.records import schema
from lenet_bench.records.loading import READ_EXACTLY
from lenet_bench.records.schema import Dtypes

OVERRIDES = "overrides.json"
"""What the runs of a claims folder are trained with."""

CLAIM_TYPES = schema.dtypes(schema.CLAIMS)
ROUND_TYPES = schema.dtypes(
    schema.pick(
        schema.COST_ROUNDS,
        ("activation", "where", "pass", "implementation", "round", "relative"),
    )
)
"""Of the rounds what verdicts rest on."""


def read_table(path: Path, types: Dtypes, advice: str) -> pd.DataFrame:
    """A CSV with at least these columns and a row.

    Raises:
        UserError: It is not there, cannot be read, lacks a column or all rows; it ends in
            `advice`.
    """
    try:
        frame: pd.DataFrame = pd.read_csv(path, dtype=dict(types), **READ_EXACTLY)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {advice}") from None
    except ValueError as error:  # pandas' own errors and wrong encodings are such
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path}: cannot be read ({reason}); {advice}") from None
    if missing := [name for name in types if name not in frame]:
        raise UserError(f"{path}: lacks the column {', '.join(missing)}; {advice}")
    if frame.empty:
        raise UserError(f"{path}: holds no rows; {advice}")
    return frame


def read_claims(path: Path, advice: str) -> pd.DataFrame:
    """`claims.csv`, of the claims that there are today.

    Raises:
        UserError: See `read_table`.
    """
    frame = read_table(path, CLAIM_TYPES, advice)
    frame[["note", "dataset"]] = frame[["note", "dataset"]].fillna("")
    return frame[frame["claim"].isin(list(CLAIMS))]


def is_claims_folder(directory: Path) -> bool:
    """Whether `lenet-bench-claims` wrote it, so that its `claims.csv` is no report's."""
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
