"""`report.html`: one file that holds everything it shows.

It opens from a disk without a network, in light or dark; the figures keep their white ground.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pandas as pd
from markupsafe import Markup

from lenet_bench.analysis.lines import describe_value
from lenet_bench.analysis.summary import WINDOW
from lenet_bench.reporting.claims_page import claim_details, explained_table
from lenet_bench.reporting.result import Report
from lenet_bench.reporting.tables.comparison import comparison_table
from lenet_bench.reporting.tables.runs import runs_table
from lenet_bench.reporting.tables.table import Table, as_html
from lenet_bench.reporting.tables.tuned_rates import tuned_table
from lenet_bench.reporting.tables.verdicts import HEADLINES, verdict_table
from lenet_bench.reporting.templates import render
from lenet_bench.reporting.values import describe_runs, distinct_values, name_data

MOST_VALUES = 60
MOST_ROWS = 40
"""Verdicts or tuned rates shown at once; the others open on a click."""


@dataclass(frozen=True)
class Picture:
    """A figure as a PNG, and the words for those who do not see it."""

    png: bytes
    alternative: str

    @property
    def data(self) -> str:
        """The PNG as text, to be embedded."""
        return base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Folded:
    """HTML that is shown at once, and what opens below it on a click, if anything."""

    shown: Markup
    label: str = ""
    hidden: Markup | None = None


def render_report(report: Report, pictures: Sequence[Picture]) -> str:
    """Render the page of a report with its figures."""
    runs = runs_table(report.summary)
    return render(
        "report.html",
        title=f"lenet-bench: {describe_runs(report.summary)}",
        subtitle=", ".join(map(str, report.summary["sweep"].unique())),
        settings=_settings(report),
        comparison=as_html(_comparison(report)),
        verdicts=None if report.comparisons.empty else _verdicts(report.comparisons),
        claims=None if report.claims.empty else _claims(report.claims),
        claim_details=claim_details(report.claims),
        tuned=None if report.tuned.empty else _tuned(report.tuned),
        pictures=pictures,
        troubles=report.troubles,
        damaged=report.damaged,
        notes=report.notes,
        runs=Folded(Markup(), f"all {len(runs.rows)} runs", as_html(runs)),
    )


def _comparison(report: Report) -> Table:
    caption = (
        f"{report.title}. Loss in nats: final is the mean over a finished run's last {WINDOW} "
        "iterations, mean is over the whole run. ± is half of the 95 % interval over seeds "
        "(Student's t). The target counts as reached when the mean of the last "
        f"{WINDOW} mini-batch losses is at or below it."
    )
    return comparison_table(report.groups, report.keys, caption)


def _verdicts(comparisons: pd.DataFrame) -> Folded:
    """The headlines first; what would be too long to read at once opens on a click."""
    caption = (
        "Pairs by seed. The difference is that of the means of a (named first) and b with its 95 % "
        "bootstrap interval; p is the paired t test's after Holm's correction over all pairs of "
        "one quantity (and panel). A difference is named when p is at most 0.05 and the interval "
        "leaves 0 out. The effect size is in deviations of the differences, P(a > b) the share of "
        "seeds. A run that never reached a target counts with its whole budget, one that diverged "
        "with the loss and the accuracy of chance, but never as better than its partner. All "
        "numbers are in comparisons.csv."
    )
    table = verdict_table(comparisons, caption)
    if len(table.rows) <= MOST_ROWS:
        return Folded(as_html(table))
    headlines = comparisons["quantity"].isin(HEADLINES)
    first = [row for row, is_shown in zip(table.rows, headlines, strict=True) if is_shown]
    shown = replace(table, rows=tuple(first[:MOST_ROWS]))
    everything = as_html(replace(table, caption=""))
    return Folded(as_html(shown), f"all {len(table.rows)} verdicts", everything)


def _claims(claims: pd.DataFrame) -> Markup:
    return as_html(explained_table(claims))


def _tuned(tuned: pd.DataFrame) -> Folded:
    first = tuned.iloc[0]
    tried = f"Rates tried: {first['rates']}. " if tuned["rates"].nunique() == 1 else ""
    caption = (
        "The shared rate is the one with the best mean rank over all activations, the tuned rate "
        "each one's own best, both by final validation loss (a rate at which a run diverged comes "
        f"last) of the first seeds ({first['choosing_seeds']}); the numbers are those of the "
        f"others ({first['reporting_seeds']}), mean ± half of the 95 % interval (Student's t). A "
        "best rate on the edge of the grid may lie beyond it: widen the grid before believing it. "
        f"{tried}All numbers are in tuned.csv."
    )
    table = tuned_table(tuned, caption)
    if len(table.rows) <= MOST_ROWS:
        return Folded(as_html(table))
    shown = as_html(replace(table, rows=table.rows[:MOST_ROWS]))
    others = replace(table, rows=table.rows[MOST_ROWS:], caption="")
    return Folded(shown, f"{len(others.rows)} more", as_html(others))


def _settings(report: Report) -> dict[str, str]:
    """What all runs share and what varies, in words."""
    summary = report.summary
    counts = summary["status"].value_counts()
    settings = {
        "runs": f"{len(summary)} ({', '.join(f'{n} {name}' for name, n in counts.items())})",
        "training time": str(timedelta(seconds=round(float(summary["seconds"].sum())))),
    }
    for column, name in (("trained_on", "trained on"), ("commit", "commit")):
        recorded = [str(value) for value in summary[column].dropna().unique()]
        if recorded:
            settings[name] = ", ".join(recorded)
    configuration = list(summary.columns[2 : summary.columns.get_loc("status")])
    varying = [key for key in configuration if key in (*report.keys, "seed")]
    named = name_data(summary, summary)
    for key in varying:
        values = [describe_value(value) for value in distinct_values(named, key)]
        more = ", ..." if len(values) > MOST_VALUES else ""
        settings[key] = ", ".join(values[:MOST_VALUES]) + more
    shared = [key for key in configuration if key not in varying and _is_set_alike(summary[key])]
    settings["everywhere"] = ", ".join(
        f"{key}={describe_value(summary[key].iloc[0])}" for key in shared
    )
    return settings


def _is_set_alike(values: pd.Series[Any]) -> bool:
    """Whether every run has the key set, to the same value."""
    return bool(values.notna().all()) and values.nunique() == 1
