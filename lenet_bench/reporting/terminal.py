"""What a report prints: the comparison, verdicts, claims, what went wrong, what was written."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
from rich.console import Console

from lenet_bench.common.text import printable
from lenet_bench.reporting.result import Report
from lenet_bench.reporting.tables.claims import claim_names, count_verdicts
from lenet_bench.reporting.tables.comparison import comparison_table
from lenet_bench.reporting.tables.table import print_table
from lenet_bench.reporting.tables.verdicts import verdict_lines
from lenet_bench.reporting.words import p_value

MOST_CLAIM_LINES = 5
"""Claims that are named one by one; more are only counted."""


def print_report(report: Report, console: Console | None = None) -> None:
    """Print a report. Lines are never broken, and the text is plain away from a terminal."""
    console = console or Console()
    as_it_stands = partial(
        console.print, markup=False, emoji=False, highlight=False, soft_wrap=True
    )
    for line in report.damaged:
        as_it_stands(printable(f"DAMAGED {line}"))
    print_table(comparison_table(report.groups, report.keys), console, report.title)
    verdicts = [*verdict_lines(report.comparisons), *claim_lines(report.claims)]
    written = [f"wrote {path}" for path in report.paths]
    for line in [*verdicts, *report.troubles, *report.notes, *written]:
        as_it_stands(printable(line))


def claim_lines(frame: pd.DataFrame) -> list[str]:
    """A line per claim, or one that counts them if they are many."""
    if frame.empty:
        return []
    if len(frame) > MOST_CLAIM_LINES:
        return [f"{count_verdicts(frame)}; see claims.csv"]
    lines = []
    for statement, (_, row) in zip(claim_names(frame, "statement"), frame.iterrows(), strict=True):
        p = row["p_value"]
        because = "" if math.isnan(p) else f" (p {p_value(p, sign=True)})"
        lines.append(f"claim {row['verdict']}{because}: {statement}")
    return lines
