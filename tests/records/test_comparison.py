"""Where two tables differ first is named as a reader would find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lenet_bench.records.comparison import differing_tables
from lenet_bench.records.file_facts import TABLES

TABLE = "a,b\n1,0.5\n2,0.25\n"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (TABLE, None),
        ("a,b\n1,0.5\n2,0.75\n", "row 2, column b: stored 0.75, now 0.25"),
        ("a,b\n1,0.50\n2,0.25\n", "row 1, column b: stored 0.50, now 0.5"),
        ("a,b\n1,0.5\n", "stored 1 rows, now 2"),
        (f"{TABLE}3,1\n", "stored 3 rows, now 2"),
        (TABLE[:-1], "end: the last line is cut off"),
        ("a,b\n1,0.5\n2\n", "row 2: stored 2, now 2,0.25"),
        ("a,c\n1,0.5\n2,0.25\n", "header: stored a,c, now a,b"),
        ("a,b\r\n1,0.5\r\n2,0.25\r\n", "header: stored a,b\\r, now a,b"),
        ("a,b\n1,\x1b[2J\n2,0.25\n", "row 1, column b: stored \\x1b[2J, now 0.5"),
        ("", "header: stored nothing, now a,b"),
        (None, "stored missing"),
    ],
)
def test_the_first_difference_is_named(
    tmp_path: Path, stored: str | None, expected: str | None
) -> None:
    for folder in ("stored", "now"):
        (tmp_path / folder).mkdir()
        for name in TABLES:
            (tmp_path / folder / name).write_text(TABLE)
    table = tmp_path / "stored" / "evaluation.csv"
    table.unlink()
    if stored is not None:
        table.write_bytes(stored.encode())
    found = differing_tables(tmp_path / "stored", tmp_path / "now")
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.partition("evaluation.csv")[2].lstrip(":, ") == expected
