"""CSVs that a spreadsheet opens, beside pandas' own and read by Python's `csv`."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import pandas as pd
import pytest

from lenet_bench.records.spreadsheet import plain_text, spreadsheet_csv

REFERENCE = Path(__file__).parents[2] / "runs" / "reference"
SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def written(text: str) -> str:
    (_, (cell, _)) = csv.reader(io.StringIO(spreadsheet_csv(pd.DataFrame({"a": [text], "b": [0]}))))
    return cell


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\t=1+1", r"\t=1+1"),
        ("a\n=1+1", r"a\n=1+1"),
        ("a;=1+1;b", "a;'=1+1;b"),
        ("'quoted'", "''quoted'"),
        ("photos-2024/a=b, c+d; e", "photos-2024/a=b, c+d; e"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("-inf", "-inf"),
    ],
)
def test_no_text_is_a_formula_and_no_number_is_text(text: str, cell: str) -> None:
    assert written(text) == cell


def test_no_cell_and_no_part_of_one_begins_with_a_sign() -> None:
    """Also where the spreadsheet splits at semicolons; and reading gives the text again."""
    texts = ["".join(t) for n in range(1, 5) for t in itertools.product("=-;'a1\t\n", repeat=n)]
    frame = pd.DataFrame({"text": pd.Series(texts, dtype="str")})
    read = pd.read_csv(io.StringIO(spreadsheet_csv(frame)), dtype="str", keep_default_na=False)
    for cell in read["text"]:
        starts = (part for part in cell.split(";") if part.startswith(tuple(SIGNS)))
        assert all(cell == part and part[1:].isdecimal() for part in starts), cell
    escaped = [text.replace("\t", r"\t").replace("\n", r"\n") for text in texts]
    assert plain_text(read["text"]).tolist() == escaped


def test_headers_are_made_safe_too() -> None:
    assert spreadsheet_csv(pd.DataFrame({"=1+1": [1.5], "lr": [-0.5]})) == "'=1+1,lr\n1.5,-0.5\n"


@pytest.mark.parametrize(
    "name", ["digits/summary.csv", "claims-digits/claims.csv", "claims-digits/depth/evidence.csv"]
)
def test_ordinary_tables_are_what_pandas_writes(name: str) -> None:
    frame = pd.read_csv(REFERENCE / name)
    assert spreadsheet_csv(frame) == frame.to_csv(index=False)
    text = frame.astype("category")  # as the frames of sweeps are
    assert spreadsheet_csv(text) == text.to_csv(index=False)
