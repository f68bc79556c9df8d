"""Compares the CSVs of a run with those of the same run trained once more, byte for byte.

In: two run directories. Out: where they differ first, in words; None if nothing differs.
"""

from __future__ import annotations

from pathlib import Path

from lenet_bench.common.regular_files import read_regular
from lenet_bench.common.text import printable
from lenet_bench.records.file_facts import TABLES

_LONGEST = 40


def differing_tables(stored: Path, now: Path) -> str | None:
    """Say where the CSVs of two run directories differ first.

    Returns:
        Such as "train.csv, row 13, column loss: stored 0.5, now 0.25"; rows are counted from 1, the
        header is none.
    """
    for name in TABLES:
        contents = []
        for what, directory in (("stored", stored), ("now", now)):
            try:
                contents.append(read_regular(directory / name))
            except FileNotFoundError:
                return f"{name}: {what} missing"
            except OSError as error:
                return f"{name}: {what} cannot be read ({error.strerror})"
        if contents[0] != contents[1]:
            return f"{name}, {_difference(*contents)}"
    return None


def _difference(stored: bytes, now: bytes) -> str:
    """Where two different tables differ first."""
    texts = [content.decode("utf-8", "replace") for content in (stored, now)]
    rows = [text.removesuffix("\n").split("\n") for text in texts]
    header = rows[1][0].split(",")
    for number, (old, new) in enumerate(zip(*rows, strict=False)):
        if old == new:
            continue
        fields = old.split(","), new.split(",")
        if number and len(fields[0]) == len(fields[1]) == len(header):
            columns = zip(header, *fields, strict=True)
            column, *pair = next(each for each in columns if each[1] != each[2])
            return f"row {number}, column {column}: {values(*pair)}"
        place = f"row {number}" if number else "header"
        return f"{place}: {values(old or 'nothing', new or 'nothing')}"
    if len(rows[0]) == len(rows[1]):
        return "end: the last line is cut off"
    return f"stored {len(rows[0]) - 1} rows, now {len(rows[1]) - 1}"


def values(stored: object, now: object) -> str:
    """Two values as a message shows them."""
    texts = [printable(str(value)) for value in (stored, now)]
    texts = [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in texts]
    return f"stored {texts[0]}, now {texts[1]}"
