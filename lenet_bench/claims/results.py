"""The claims of several data sets side by side, as Markdown for `docs/RESULTS.md`.

    python -m lenet_bench.claims.results runs/claims-A runs/claims-B

In: folders that `lenet-bench-claims` wrote. Out: a table of verdicts, and one of the learning rates
that suit each activation; both hold nothing that their CSVs do not.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lenet_bench.claims.registry import CLAIMS
from lenet_bench.claims.rules import with_interval
from lenet_bench.errors import UserError

TUNED = Path("learning_rate") / "tuned.csv"
NOTHING = "\N{EN DASH}"


def claims_table(folders: Mapping[str, Path]) -> str:
    """A row per claim: statement, and for each data set the verdict with the effect behind it.

    Args:
        folders: What `lenet-bench-claims` wrote, by the name that heads the column.

    Raises:
        UserError: A folder has no `claims.csv`.
    """
    frames = {name: _read(folder / "claims.csv") for name, folder in folders.items()}
    rows = []
    for identifier, claim in CLAIMS.items():
        cells = [f"{claim.statement} (`{identifier}`)"]
        for frame in frames.values():
            found = frame[frame["claim"] == identifier]
            cells.append(_verdict(found.iloc[0]) if len(found) else NOTHING)
        rows.append(cells)
    return _markdown(["claim", *frames], rows)


def tuned_table(folders: Mapping[str, Path]) -> str:
    """A row per activation: for each data set its best rate, and test accuracy at both rates.

    A best rate on an edge of the grid is marked by its name: the true one may lie beyond.

    Raises:
        UserError: A folder has no `learning_rate/tuned.csv`.
    """
    frames = {
        name: _read(folder / TUNED).set_index("activation") for name, folder in folders.items()
    }
    headers = ["activation"]
    for name, frame in frames.items():
        shared = frame["shared_lr"].iloc[0]
        headers += [f"{name}: best lr", "accuracy there (%)", f"at shared lr {shared:g} (%)"]
    first = next(iter(frames.values()))
    rows = []
    for activation in first.index:
        cells = [str(activation)]
        for frame in frames.values():
            row = frame.loc[activation]
            edge = "" if row["on_edge"] == "none" else f" ({row['on_edge']})"
            cells += [
                f"{row['tuned_lr']:g}{edge}",
                _accuracy(row, "tuned"),
                _accuracy(row, "shared"),
            ]
        rows.append(cells)
    return _markdown(headers, rows)


def _verdict(row: pd.Series[Any]) -> str:
    numbers = [float(str(row[name])) for name in ("effect", "low", "high")]
    shown = "" if pd.isna(numbers[0]) else f": {with_interval(*numbers)}"
    return f"{row['verdict']}{shown}"


def _accuracy(row: pd.Series[Any], setting: str) -> str:
    parts = (f"test_accuracy_{setting}_{part}" for part in ("mean", "low", "high"))
    mean, low, high = (100 * float(str(row[name])) for name in parts)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; give folders that lenet-bench-claims wrote"
        ) from None


def _markdown(headers: list[str], rows: list[list[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m lenet_bench.claims.results")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    folders = {path.name.removeprefix("claims-"): path for path in parser.parse_args().folders}
    try:
        print(claims_table(folders), tuned_table(folders), sep="\n\n")
    except UserError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
