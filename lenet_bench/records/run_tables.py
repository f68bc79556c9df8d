"""One CSV of a run, read and believed only if this program can have written it.

In: `train.csv`, `evaluation.csv` or `layers.csv`, and what the status of its run says. Out: a frame
with a row per line, or a `DamageError` that names the file, the line and what is wrong.

Of a run that may still train, or was killed, the last line may be cut off; whole lines are read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lenet_bench.common.regular_files import open_regular
from lenet_bench.records.damage import DamageError, shown
from lenet_bench.records.schema import RUN_TABLES, Column, dtypes, names

# Floats must be read back as they were written; pandas always does that from version 3.1 on.
READ_EXACTLY: dict[str, Any] = (
    {}
    if tuple(int(part) for part in pd.__version__.split(".")[:2]) >= (3, 1)
    else {"float_precision": "round_trip"}
)

_PIECE = 1 << 24  # bytes that are looked through at once
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.ASCII)
_LAYER = re.compile(r"conv[12]|fc[1-9][0-9]*|logits")
_SPLITS = ("train", "validation", "test")
_FRACTIONS = (
    *("accuracy", "dead_fraction", "dormant_fraction", "saturated_fraction", "zero_fraction"),
)
_SIGNED = ("activation_mean", "preactivation_mean")
_FINITE = ("lr", "accuracy")  # what a run that diverged holds is finite here too

_FORBIDDEN = MappingProxyType(
    {
        b"\r": "holds a carriage return: another program has written it anew",
        b'"': "holds a quotation mark, which no line of a run has",
    }
)


class Text(NamedTuple):
    """A CSV as bytes, and where its lines and commas end."""

    path: Path
    content: bytes
    line_ends: np.ndarray[Any, np.dtype[np.int64]]
    commas: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def header(self) -> list[str]:
        """The names of the columns."""
        first: bytes = self.content[: self.line_ends[0]]
        return first.decode().split(",")

    def cells(self, line: int) -> list[str]:
        """The cells of a line, counted from 1."""
        start = 0 if line == 1 else self.line_ends[line - 2] + 1
        text: bytes = self.content[start : self.line_ends[line - 1]]
        return text.decode().split(",")


@dataclass(frozen=True)
class Expected:
    """What the status of a run says about its tables.

    Attributes:
        iteration: The last one that was recorded.
        at_least: How many rows `train.csv` has: those of a run that is training may have been cut
            back to a checkpoint.
        ended: It finished or diverged: its files are as they will stay.
        finished: It went through to its end, so that every loss is finite.
        has_file: The table must be there.
        has_rows: It must hold rows.
    """

    iteration: int
    at_least: int
    ended: bool
    finished: bool
    has_file: bool
    has_rows: bool


def read_content(path: Path, expected: Expected) -> bytes | None:
    """The bytes of a CSV; None where it is not there and need not be.

    Raises:
        DamageError: It cannot be read, is no file, or holds NULs.
    """
    pieces: list[bytes] = []
    lines = 0
    try:
        with open_regular(path) as file:
            while piece := file.read(_PIECE):
                if (position := piece.find(b"\0")) >= 0:
                    line = lines + piece.count(b"\n", 0, position) + 1
                    raise DamageError(path, "holds NUL bytes: a part of it was lost", line)
                lines += piece.count(b"\n")
                pieces.append(piece)
    except FileNotFoundError:
        if expected.has_file:
            raise DamageError(path, "is missing") from None
        return None
    except OSError as error:
        raise DamageError(path, error.strerror or "cannot be read") from None
    return b"".join(pieces)


def read_table(path: Path, table: str, content: bytes | None, expected: Expected) -> pd.DataFrame:
    """Check the content of a CSV and read it.

    Args:
        path: The CSV, for the message of an error.
        table: Which one it is, as in `RUN_TABLES`.
        content: What `read_content` found.
        expected: What the status of the run says.

    Raises:
        DamageError: The content cannot be what this program wrote.
    """
    columns = RUN_TABLES[table]
    if content is None:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in dtypes(columns).items()})
    text = _split(path, content, expected)
    _check_header(text, columns)
    _check_cells(text, columns)
    frame = _parse(text, columns)
    _check_values(path, frame, columns)
    if table == "train":
        _check_train(path, frame, expected)
    else:
        _check_repetitions(path, frame, "split" if table == "evaluation" else "layer")
        _check_later(path, frame, expected)
    return frame


# --- lines and cells --------------------------------------------------------------------------


def _split(path: Path, content: bytes, expected: Expected) -> Text:
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        problem = "its header is cut off" if content else "is empty, without even a header"
        raise DamageError(path, problem)
    if len(whole) < len(content) and expected.ended:
        line = whole.count(b"\n") + 1
        raise DamageError(path, "is cut off, and the run writes no more", line)
    for byte, problem in _FORBIDDEN.items():
        if (position := whole.find(byte)) >= 0:
            raise DamageError(path, problem, whole.count(b"\n", 0, position) + 1)
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError as error:
        line = whole.count(b"\n", 0, error.start) + 1
        raise DamageError(path, "is not UTF-8 text", line) from None
    characters = np.frombuffer(whole, dtype=np.uint8)
    return Text(
        path, whole, np.flatnonzero(characters == ord("\n")), np.flatnonzero(characters == ord(","))
    )


def _check_header(text: Text, columns: tuple[Column, ...]) -> None:
    found, wanted = text.header, names(columns)
    if missing := [name for name in wanted if name not in found]:
        raise DamageError(text.path, f"lacks the column {', '.join(missing)}", 1)
    if unknown := [name for name in found if name not in wanted]:
        words = ", ".join(map(shown, unknown))
        raise DamageError(text.path, f"has the column {words}, which no run has", 1)
    if len(found) > len(wanted):
        raise DamageError(text.path, "has a column twice", 1)


def _check_cells(text: Text, columns: tuple[Column, ...]) -> None:
    """Check that each line has a cell for each column, and that those that must hold something do.

    Pandas would fill up a line that is too short.
    """
    header = text.header
    ends = np.searchsorted(text.commas, text.line_ends)  # commas up to the end of each line
    counts = np.diff(ends, prepend=0)
    if (wrong := np.flatnonzero(counts != len(header) - 1)).size:
        line = int(wrong[0]) + 1
        found = 0 if text.cells(line) == [""] else int(counts[wrong[0]]) + 1
        raise DamageError(text.path, f"has {found} cells instead of {len(header)}", line)
    delimiters = np.sort(np.concatenate([text.line_ends, text.commas]))
    empty = delimiters[np.flatnonzero(np.diff(delimiters, prepend=-1) == 1)]
    lines = np.searchsorted(text.line_ends, empty)
    before = np.where(lines > 0, ends[lines - 1], 0)
    positions = np.searchsorted(text.commas, empty) - before
    optional = {column.name for column in columns if column.optional}
    allowed = np.array([name in optional for name in header])
    if (wrong := np.flatnonzero(~allowed[positions])).size:
        line, position = int(lines[wrong[0]]) + 1, int(positions[wrong[0]])
        raise DamageError(text.path, f"has no {header[position]}", line)


def _parse(text: Text, columns: tuple[Column, ...]) -> pd.DataFrame:
    kinds = dtypes(columns)
    try:
        frame: pd.DataFrame = pd.read_csv(
            io.BytesIO(text.content),
            dtype=dict(kinds),
            keep_default_na=False,
            na_values=["", "nan"],
            **READ_EXACTLY,
        )
    except (ValueError, OverflowError):
        frame = _parse_slowly(text, kinds)
    return frame[list(kinds)]


def _parse_slowly(text: Text, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Read cell by cell, to name the one that pandas could not read.

    Whole numbers that were written as `60.0` are all that is left when every cell can be read.
    """
    rows = []
    for line in range(2, len(text.line_ends) + 1):
        row: list[Any] = []
        for name, cell in zip(text.header, text.cells(line), strict=True):
            kind = kinds[name]
            if kind == "str":
                row.append(cell)
                continue
            if cell and not _NUMBER.fullmatch(cell):
                raise DamageError(text.path, f"{name} is {shown(cell)}, which is no number", line)
            value = float(cell or "nan")
            if kind == "int64" and not (value.is_integer() and abs(value) < 2**53):
                raise DamageError(
                    text.path, f"{name} is {shown(cell)}, which is no whole number", line
                )
            row.append(value)
        rows.append(row)
    return pd.DataFrame(rows, columns=text.header).astype(dict(kinds))


# --- values -----------------------------------------------------------------------------------


def _check_values(path: Path, frame: pd.DataFrame, columns: tuple[Column, ...]) -> None:
    for column in columns:
        values = frame[column.name].to_numpy()
        name = column.name
        if column.dtype == "str":
            known = _SPLITS if name == "split" else _LAYER.fullmatch
            is_known = known.__contains__ if isinstance(known, tuple) else known
            unique = [value for value in frame[name].unique() if not is_known(value)]
            if unique:
                _refuse_first(path, frame, name, frame[name].isin(unique), f"is no {name}")
            continue
        if name in _FRACTIONS:
            _refuse_first(path, frame, name, (values < 0) | (values > 1), "is outside 0 to 1")
        elif name not in _SIGNED:
            _refuse_first(path, frame, name, values < 0, "is negative")
        if name in _FINITE:
            _refuse_first(path, frame, name, ~np.isfinite(values), "is not finite")


def _refuse_first(path: Path, frame: pd.DataFrame, name: str, wrong: Any, problem: str) -> None:
    """Refuse the first line for which `wrong` is true."""
    positions = np.flatnonzero(wrong)
    if positions.size:
        first = int(positions[0])
        value = frame[name].iloc[first]
        text = shown(value) if isinstance(value, str) else f"{value:.6g}"
        raise DamageError(path, f"{name} {text} {problem}", first + 2)


def _check_train(path: Path, frame: pd.DataFrame, expected: Expected) -> None:
    """Check that the iterations are 1, 2, 3, ..., as the status counts them, and how losses end."""
    iterations = frame["iteration"].to_numpy()
    wrong = np.flatnonzero(iterations != np.arange(1, len(frame) + 1))
    if wrong.size:
        first = int(wrong[0])
        now, before = int(iterations[first]), int(iterations[first - 1]) if first else 0
        kind = "is there again" if now == before else "goes back" if now < before else "is a gap"
        after = f"after {before}" if first else "at the beginning"
        raise DamageError(path, f"iteration {now} {after} {kind}", first + 2)
    count, said = len(frame), expected.iteration
    if expected.ended and count > said:
        problem = f"is a row of iteration {said + 1}, where the run ended at {said}"
        raise DamageError(path, problem, said + 2)
    if count < expected.at_least:
        raise DamageError(
            path, f"holds {count:,} rows, and status.json says that {said:,} were written"
        )
    lost = ~np.isfinite(frame["loss"].to_numpy())
    if not expected.finished and count:
        lost[-1] = False  # a run stops where it diverges
    problem = "is not finite, and the run went on"
    _refuse_first(path, frame, "loss", lost, problem)


def _check_repetitions(path: Path, frame: pd.DataFrame, key: str) -> None:
    """Check that iterations do not go back, and that each has what it measures once."""
    iterations = frame["iteration"].to_numpy()
    back = np.flatnonzero(np.diff(iterations) < 0)
    if back.size:
        first = int(back[0]) + 1
        now, before = int(iterations[first]), int(iterations[first - 1])
        raise DamageError(path, f"iteration {now} after {before} goes back", first + 2)
    doubled = np.flatnonzero(frame.duplicated(["iteration", key]))
    if doubled.size:
        first = int(doubled[0])
        what = f"{key} {frame[key].iloc[first]} at iteration {iterations[first]}"
        raise DamageError(path, f"{what} is there again", first + 2)


def _check_later(path: Path, frame: pd.DataFrame, expected: Expected) -> None:
    if expected.ended:
        said = expected.iteration
        beyond = frame["iteration"].to_numpy() > said
        _refuse_first(path, frame, "iteration", beyond, f"is after the end of the run, {said}")
    if expected.has_rows and frame.empty:
        raise DamageError(path, "holds no rows")
