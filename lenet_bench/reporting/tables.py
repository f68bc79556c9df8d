"""Comparison, verdicts and tuned rates as tables: frames in, text out, for terminal and HTML.

Every cell says what it averages: `0.31 ± 0.02` is mean and half of the 95 % interval, and
`(4 of 5)` follows when some runs have no such value. `never` counts runs that did not reach
the target, `n/a` those whose record ends before it could tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from lenet_bench.analysis.comparisons import QUANTITIES
from lenet_bench.analysis.lines import activation_rank, describe_value, line_labels, ordered
from lenet_bench.reporting import claims_page as page
from lenet_bench.reporting.words import NOTHING, p_value

if TYPE_CHECKING:
    from lenet_bench.reporting.report import Report

PLAIN_WIDTH = 10_000
HEADLINES = ("mean_train_loss", "test_accuracy")
"""The quantities whose verdicts the terminal prints, and the report shows first."""

MOST_VERDICT_LINES = 10


def comparison_rows(groups: pd.DataFrame, keys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Headers and cells, a row per group; `keys` are what tells the groups apart."""
    parameters = [key for key in keys if key.startswith("activation.")]
    others = [key for key in keys if key != "activation" and key not in parameters]
    headers = [
        "activation",
        *others,
        "seeds",
        "final loss",
        "mean loss",
        "iterations to target",
        "test accuracy",
        "diverged",
        "failed",
        "unfinished",
    ]
    groups = _sorted(groups, others, parameters)
    rows = [
        [
            label,
            *(describe_value(group[key]) for key in others),
            str(group["seeds"]),
            average(group, "final_train_loss", 4),
            average(group, "mean_train_loss", 4),
            to_target(group),
            average(group, "test_accuracy", 2, percent=True),
            *(str(group[name] or "") for name in ("diverged", "failed", "unfinished")),
        ]
        for label, (_, group) in zip(
            line_labels(groups, parameters), groups.iterrows(), strict=True
        )
    ]
    used = [
        position
        for position, name in enumerate(headers)
        if name not in ("diverged", "failed", "unfinished") or any(row[position] for row in rows)
    ]
    return [headers[i] for i in used], [[row[i] for i in used] for row in rows]


def verdict_rows(comparisons: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headers and cells, a row per comparison, in words first and numbers after."""
    panel = list(comparisons.columns[: comparisons.columns.get_loc("quantity")])
    headers = [
        *panel,
        "quantity",
        "pair",
        "verdict",
        "seeds",
        "p (Holm)",
        "effect size",
        "P(a > b)",
    ]
    rows = [
        [
            *(describe_value(row[key]) for key in panel),
            QUANTITIES[str(row["quantity"])].words,
            f"{row['a']} vs {row['b']}",
            str(row["verdict"]),
            str(row["seeds"]),
            p_value(row["p_holm"]),
            number(row["effect_size"], 2),
            number(row["probability"], 2),
        ]
        for _, row in comparisons.iterrows()
    ]
    return headers, rows


def verdict_lines(comparisons: pd.DataFrame) -> list[str]:
    """The headlines' verdicts as sentences; none when there are too many to be read."""
    chosen = comparisons[comparisons["quantity"].isin(HEADLINES)]
    if len(chosen) > MOST_VERDICT_LINES * len(HEADLINES):
        return []
    panel = list(comparisons.columns[: comparisons.columns.get_loc("quantity")])
    lines = []
    for name in HEADLINES:
        for _, row in chosen[chosen["quantity"] == name].iterrows():
            where = "".join(f", {key} {describe_value(row[key])}" for key in panel)
            p = "" if pd.isna(row["p_holm"]) else f" (p {p_value(row['p_holm'], sign=True)})"
            pair = f"{row['a']} vs {row['b']}"
            lines.append(f"{QUANTITIES[name].words}{where}, {pair}: {row['verdict']}{p}")
    return lines


def tuned_rows(tuned: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headers and cells of the shared and the tuned learning rates, a row per line."""
    keys = list(tuned.columns[: tuned.columns.get_loc("rates")])
    parameters = [key for key in keys if key.startswith("activation.")]
    others = [key for key in keys if key != "activation" and key not in parameters]
    named = {
        "mean loss": ("mean_train_loss", 4, 1.0),
        "validation loss": ("validation_loss", 4, 1.0),
        "test accuracy": ("test_accuracy", 2, 100.0),
        "iterations to target": ("iterations_to_target", 0, 1.0),
    }
    headers = [
        *("activation", *others, "shared lr", "tuned lr", "best rate on the edge"),
        *(f"{words}, {setting}" for words in named for setting in ("shared", "tuned")),
    ]
    rows = []
    for label, (_, row) in zip(line_labels(tuned, parameters), tuned.iterrows(), strict=True):
        cells = [
            label,
            *(describe_value(row[key]) for key in others),
            describe_value(row["shared_lr"]),
            describe_value(row["tuned_lr"]),
            "" if row["on_edge"] == "none" else f"yes, the {row['on_edge']} tried",
        ]
        for name, digits, scale in named.values():
            for setting in ("shared", "tuned"):
                mean, high = (scale * row[f"{name}_{setting}_{part}"] for part in ("mean", "high"))
                half = "" if pd.isna(high) else f" ± {high - mean:,.{digits}f}"
                unit = " %" if scale == 100.0 else ""
                never = row[f"never_{setting}"] if name == "iterations_to_target" else 0
                least = "\N{GREATER-THAN OR EQUAL TO} " if never else ""
                counted = f" (never in {never})" if never else ""
                cells.append(
                    NOTHING if pd.isna(mean) else f"{least}{mean:,.{digits}f}{half}{unit}{counted}"
                )
        rows.append(cells)
    return headers, rows


def number(value: float, digits: int) -> str:
    """A number with this many decimals, as far as there is one."""
    return NOTHING if pd.isna(value) else f"{value:.{digits}f}"


def average(group: pd.Series[Any], name: str, digits: int, percent: bool = False) -> str:
    """`97.31 ± 0.42 %`: the mean with half of its interval, as far as there is one."""
    scale, unit = (100.0, " %") if percent else (1.0, "")
    n = int(group[f"{name}_n"])
    if n == 0:
        return NOTHING
    mean, high = scale * group[f"{name}_mean"], scale * group[f"{name}_high"]
    if digits > 2:  # a loss of 0.0000 would say less than what was measured
        digits = max([digits, *(_leading_zeros(value) + 2 for value in (mean, high - mean))])
    half = f" ± {high - mean:.{digits}f}" if math.isfinite(high) else ""
    share = f" ({n} of {group['runs']})" if n < group["runs"] else ""
    return f"{mean:.{digits}f}{half}{unit}{share}"


def _leading_zeros(value: float) -> int:
    """Zeros between the decimal point and the first other digit; 0 for 0 and for NaN."""
    if not value or not math.isfinite(value):
        return 0
    return min(8, max(0, -math.floor(math.log10(abs(value))) - 1))


def to_target(group: pd.Series[Any]) -> str:
    """Iterations to the target: a mean when every run got there, else how many did not."""
    if pd.isna(group["target_loss"]):
        return NOTHING
    runs, never = group["runs"], group["never"]
    unknown = runs - group["reached"] - never
    if not (never or unknown):
        return average(group, "iterations_to_target", 0)
    median = group["iterations_to_target_median"]
    parts = [
        "" if pd.isna(median) else f"median {median:.0f}",
        f"never ({never} of {runs})" if never else "",
        f"n/a ({unknown} of {runs})" if unknown else "",
    ]
    return ", ".join(part for part in parts if part)


def print_table(report: Report, console: Console | None = None) -> None:
    """Print the comparison, verdicts, claims, what went wrong, and the paths that were written.

    Away from a terminal the table is plain text whose lines are never wrapped.
    """
    console = console or Console()
    plain = not console.is_terminal
    headers, rows = comparison_rows(report.groups, report.keys)
    table = Table(
        title=report.title,
        title_justify="left",
        box=None if plain else _box(),
        pad_edge=False,
        title_style="bold",
        padding=(0, 2, 0, 0) if plain else (0, 1),
    )
    first_number = headers.index("seeds")
    for position, header in enumerate(headers):
        table.add_column(
            header,
            justify="left" if position < first_number else "right",
            no_wrap=True,
            overflow="ignore",
        )
    for row in rows:
        table.add_row(*row)
    width, wide = console.width, Console(width=PLAIN_WIDTH)
    if plain or wide.measure(table).maximum > width:
        console = Console(
            file=console.file,
            width=PLAIN_WIDTH,
            force_terminal=console.is_terminal,
            color_system=_colours(console),
        )
    console.print(table, crop=False, soft_wrap=True)
    found = [*verdict_lines(report.comparisons), *page.lines(report.claims)]
    for line in [*found, *report.troubles, *report.notes]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for path in report.paths:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def _sorted(groups: pd.DataFrame, others: list[str], parameters: list[str]) -> pd.DataFrame:
    """Panels' order first, then the zoo's, so that neighbours are what one compares."""
    columns = {f"rank of {key}": _ranks(groups[key]) for key in (*others, *parameters)}
    columns["rank of activation"] = groups["activation"].map(activation_rank).tolist()
    order = [f"rank of {key}" for key in (*others, "activation", *parameters)]
    ranked = groups.assign(**columns).sort_values(order, kind="stable")
    return ranked.drop(columns=list(columns))


def _ranks(values: pd.Series[Any]) -> list[int]:
    order = [describe_value(value) for value in ordered(values)]
    return [order.index(describe_value(value)) for value in values]


def _box() -> Any:
    from rich import box

    return box.SIMPLE_HEAD


def _colours(console: Console) -> Any:
    return console.color_system if console.is_terminal else None
