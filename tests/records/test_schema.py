"""The columns that users rely on, spelled out here a second time."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from lenet_bench.records import schema
from lenet_bench.records.schema import Column, as_markdown, dtypes, names, pick

ROOT = Path(__file__).resolve().parents[2]
PROMISED = {
    "train": "iteration, epoch, lr, loss, accuracy, grad_norm",
    "evaluation": "iteration, epoch, split, loss, accuracy",
    "layers": (
        "iteration, layer, units, dead_fraction, dormant_fraction, saturated_fraction, "
        "zero_fraction, died, revived, activation_mean, activation_std, preactivation_mean, "
        "preactivation_std, weight_norm, gradient_norm"
    ),
}

REFERENCE = [
    path
    for path in sorted((ROOT / "runs" / "reference").rglob("*.csv"))
    if path.stem in schema.SWEEP_TABLES  # benchmarks/ measured the others
]


@pytest.mark.parametrize("table", schema.RUN_TABLES)
def test_the_csvs_of_a_run_have_the_columns_that_are_promised(table: str) -> None:
    assert ", ".join(names(schema.RUN_TABLES[table])) == PROMISED[table]


def test_dtypes_follow_from_the_fields() -> None:
    layers = dtypes(schema.RUN_TABLES["layers"])
    assert layers["layer"] == "str"
    assert layers["units"] == "int64"
    assert layers["died"] == "float64", "empty for the logits"
    assert layers["weight_norm"] == "float64"
    assert set(dtypes(schema.RUN_TABLES["evaluation"]).values()) == {"int64", "str", "float64"}


@pytest.mark.parametrize("file", REFERENCE, ids=lambda path: "-".join(path.parts[-3:]))
def test_the_reference_files_are_read_by_their_declared_dtypes(file: Path) -> None:
    declared = dtypes(schema.SWEEP_TABLES[file.stem])
    frame = pd.read_csv(file)
    optional = {name for name in declared if name not in frame}
    assert not optional or file.stem == "evidence", optional
    read = pd.read_csv(file, dtype={name: declared[name] for name in declared if name in frame})
    assert len(read) == len(frame)


@pytest.mark.parametrize("columns", [*schema.RUN_TABLES.values(), *schema.SWEEP_TABLES.values()])
def test_every_column_stands_once_and_says_what_it_means(columns: tuple[Column, ...]) -> None:
    assert len(set(names(columns))) == len(columns)
    assert all(column.meaning and not column.meaning.endswith(".") for column in columns)
    table = as_markdown(columns).splitlines()
    assert len(table) == 2 + len(columns)
    # A bar inside of a cell is escaped, or the table would have more columns than its header.
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {4}


def test_what_is_picked_has_to_be_there() -> None:
    assert names(pick(schema.CLAIMS, ("seeds", "claim"))) == ("seeds", "claim")
    with pytest.raises(KeyError, match="seed"):
        pick(schema.CLAIMS, ("seed",))
