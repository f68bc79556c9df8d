"""The claims of several data sets side by side, as Markdown for `docs/RESULTS.md`.

    python -m lenet_bench.reporting.claims_markdown runs/claims-A runs/claims-B

Folders that `lenet-bench-claims` wrote go in; a table of verdicts, and one of the learning rates
that suit each activation, come out. Both hold only what their CSVs hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from lenet_bench.claims.files import read_claims, read_table
from lenet_bench.claims.registry import CLAIMS
from lenet_bench.claims.rules import with_interval
from lenet_bench.common.errors import UserError
from lenet_bench.records import schema
from lenet_bench.reporting.tables.table import as_markdown, make_table, markdown_text
from lenet_bench.reporting.words import NOTHING

TUNED = Path("learning_rate") / "tuned.csv"
TUNED_TYPES: schema.Dtypes = MappingProxyType(
    {
        "activation": "str",
        **schema.dtypes(
            schema.pick(
                schema.TUNED,
                (
                    *("tuned_lr", "on_edge", "shared_lr"),
                    *(
                        f"test_accuracy_{setting}_{part}"
                        for setting in schema.SETTINGS
                        for part in ("mean", "low", "high")
                    ),
                ),
            )
        ),
    }
)
ADVICE = "give folders that lenet-bench-claims wrote"


def claims_table(folders: Mapping[str, Path]) -> str:
    """A row per claim: statement, and for each data set the verdict with the effect behind it.

    Args:
        folders: What `lenet-bench-claims` wrote, by the name that heads the column.

    Raises:
        UserError: A folder has no `claims.csv`, or it cannot be read.
    """
    frames = {name: read_claims(folder / "claims.csv", ADVICE) for name, folder in folders.items()}
    rows = []
    for identifier, claim in CLAIMS.items():
        cells = [f"{claim.statement} (`{identifier}`)"]
        for frame in frames.values():
            rows_of_claim = frame[frame["claim"] == identifier]
            cells.append(_verdict(rows_of_claim.iloc[0]) if len(rows_of_claim) else NOTHING)
        rows.append(cells)
    return as_markdown(make_table(["claim", *map(markdown_text, frames)], rows))


def tuned_table(folders: Mapping[str, Path]) -> str:
    """A row per activation: for each data set its best rate, and test accuracy at both rates.

    A best rate on an edge of the grid is marked with the name of the edge: the true one may lie
    beyond it.

    Raises:
        UserError: A folder has no `learning_rate/tuned.csv`, or it cannot be read.
    """
    frames = {name: _tuned(folder / TUNED) for name, folder in folders.items()}
    headers = ["activation"]
    for name, frame in frames.items():
        shared = frame["shared_lr"].iloc[0]
        name = markdown_text(name)
        headers += [f"{name}: best lr", "accuracy there (%)", f"at shared lr {shared:g} (%)"]
    rows = []
    for activation in dict.fromkeys(name for frame in frames.values() for name in frame.index):
        cells = [markdown_text(str(activation))]
        for frame in frames.values():
            cells += _rates(frame.loc[activation]) if activation in frame.index else [NOTHING] * 3
        rows.append(cells)
    return as_markdown(make_table(headers, rows))


def headings(paths: Sequence[Path]) -> dict[str, Path]:
    """Folders by the heading of their columns: their names, or as given where names are equal.

    Raises:
        UserError: A folder is given twice.
    """
    names = [path.resolve().name.removeprefix("claims-") for path in paths]
    by_heading = {}
    for path, name in zip(paths, names, strict=True):
        heading = name if names.count(name) == 1 else str(path)
        if heading in by_heading:
            raise UserError(f"{path}: given twice; give each folder once")
        by_heading[heading] = path
    return by_heading


def _tuned(path: Path) -> pd.DataFrame:
    """Read a folder's tuned rates, a row per activation."""
    frame = read_table(path, TUNED_TYPES, ADVICE).set_index("activation")
    if repeated := sorted(set(frame.index[frame.index.duplicated()])):
        raise UserError(
            f"{path}: holds several rows of {', '.join(repeated)}, where one is needed; "
            "give folders of presets as they are"
        )
    return frame


def _rates(row: pd.Series[Any]) -> list[str]:
    edge = "" if row["on_edge"] == "none" else f" ({markdown_text(row['on_edge'])})"
    return [f"{row['tuned_lr']:g}{edge}", _accuracy(row, "tuned"), _accuracy(row, "shared")]


def _verdict(row: pd.Series[Any]) -> str:
    numbers = [float(str(row[name])) for name in ("effect", "low", "high")]
    shown = "" if pd.isna(numbers[0]) else f": {with_interval(*numbers)}"
    return f"{markdown_text(row['verdict'])}{shown}"


def _accuracy(row: pd.Series[Any], setting: str) -> str:
    parts = (f"test_accuracy_{setting}_{part}" for part in ("mean", "low", "high"))
    mean, low, high = (100 * float(str(row[name])) for name in parts)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m lenet_bench.reporting.claims_markdown")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    given = parser.parse_args().folders
    try:
        folders = headings(given)
        print(claims_table(folders), tuned_table(folders), sep="\n\n")
    except UserError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
