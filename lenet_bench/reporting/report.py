"""From run directories to the report: tables, figures and `report.html`, written atomically.

In go the directories of one sweep or several; out come `summary.csv`, `comparisons.csv`,
`tuned.csv`, `claims.csv`, `figures/` and `report.html` in the output directory, and a
`Report` that the terminal prints.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lenet_bench.analysis.comparisons import pairwise, scope
from lenet_bench.analysis.lines import activation_rank, describe_value, ordered
from lenet_bench.analysis.summary import (
    WINDOW,
    describe_target,
    group_keys,
    summarise,
    summarise_groups,
)
from lenet_bench.analysis.tuning import obstacle, tuned_rates
from lenet_bench.claims.evaluation import claims_in
from lenet_bench.claims.tables import is_claims_folder
from lenet_bench.common.errors import UserError
from lenet_bench.common.files import write_atomically
from lenet_bench.records.loading import Sweep, identity_keys, load_sweep
from lenet_bench.reporting import claims_page as page
from lenet_bench.reporting import figures, html
from lenet_bench.reporting.tables import (
    HEADLINES,
    comparison_rows,
    tuned_rows,
    verdict_rows,
)
from lenet_bench.reporting.words import NOTHING

FORMATS = ("png", "svg")
MOST_VALUES = 60
MOST_VERDICTS = 40
"""Verdicts shown at once; the others open on a click."""


@dataclass(frozen=True)
class Report:
    """What was found and what was written.

    `summary` has a row per run, `groups` a row per configuration without its seed, told apart
    by `keys`, `comparisons` one per pair and quantity, `tuned` one per line of a sweep that
    varies the learning rate, `claims` one per claim that a preset of theirs decides; `troubles`
    names each run that did not finish, `notes` what was left out.
    """

    title: str
    summary: pd.DataFrame
    groups: pd.DataFrame
    keys: tuple[str, ...]
    comparisons: pd.DataFrame
    tuned: pd.DataFrame
    claims: pd.DataFrame
    troubles: tuple[str, ...]
    notes: tuple[str, ...]
    paths: tuple[Path, ...]


def write_report(
    sweeps: str | Path | Iterable[str | Path], output: str | Path, target_loss: float | None = None
) -> Report:
    """Rebuild every table and figure from the run directories of one or several sweeps.

    Runs that occur in several sweeps count once. `target_loss` (nats) replaces the runs' own;
    claims keep to those, because their rules are the same for every report.

    Raises:
        UserError: there are no runs, or the output directory cannot be written, or holds the
            claims of several presets.
    """
    output = Path(output)
    if is_claims_folder(output):
        raise UserError(
            f"{output}: holds what lenet-bench-claims wrote, whose claims.csv a report would "
            "replace; report on a preset's folder in it, or choose another with --output"
        )
    sweep, notes = distinct_runs(load_sweep(sweeps))
    summary = summarise(sweep, target_loss)
    groups = summarise_groups(summary)
    keys = tuple(group_keys(summary))
    title = f"{_what(summary)}: {describe_target(summary, target_loss)}"
    troubles = tuple(_troubles(summary))
    comparisons, tuned = pairwise(summary), tuned_rates(summary)
    claims = claims_in(sweep, summary if target_loss is None else None)
    notes += filter(None, [scope(summary), obstacle(summary)])
    try:
        (output / "figures").mkdir(parents=True, exist_ok=True)
        paths = [output / "summary.csv"]
        # From the folder of summary.csv on, wherever the command was given and the sweep is moved.
        summary["directory"] = [
            os.path.relpath(Path(run).resolve(), output.resolve()) for run in summary["directory"]
        ]
        write_atomically(paths[0], summary.to_csv(index=False).encode())
        tables = {"comparisons": comparisons, "tuned": tuned, "claims": claims}
        for name, table in tables.items():
            path = output / f"{name}.csv"
            if table.empty:
                path.unlink(missing_ok=True)
                continue
            write_atomically(path, table.to_csv(index=False).encode())
            paths.append(path)
        pictures = {}
        for name, figure in _figures(sweep, summary, notes).items():
            for suffix in FORMATS:
                path = output / "figures" / f"{name}.{suffix}"
                if figure is None:
                    path.unlink(missing_ok=True)
                    continue
                content = figures.save(figure, path)
                write_atomically(path, content)
                paths.append(path)
                if suffix == "png":
                    pictures[name] = content
        paths.append(output / "report.html")
        report = Report(
            *(title, summary, groups, keys, comparisons, tuned, claims),
            *(troubles, tuple(notes), tuple(paths)),
        )
        write_atomically(paths[-1], render(report, pictures).encode())
    except OSError as error:
        raise UserError(
            f"{error.filename or output}: cannot be written: {error.strerror}; choose "
            "another directory with --output"
        ) from None
    return report


def distinct_runs(sweep: Sweep) -> tuple[Sweep, list[str]]:
    """Drop repetitions: the same configuration and seed is one sample, however often it was run.

    Of equal runs the one that finished is kept, else the one that got furthest, else the latest.
    """
    runs = sweep.runs
    keys = identity_keys(runs)
    worth = runs.assign(finished=runs["status"] == "finished", order=np.arange(len(runs)))
    worth = worth.sort_values(["finished", "iteration", "order"], na_position="first")
    repeated = worth.duplicated(keys, keep="last").sort_index()
    notes = [
        f"{directory}: repeats a run (same configuration and seed) and is left out"
        for directory in runs.loc[repeated, "directory"]
    ]
    return (sweep.select(~repeated) if repeated.any() else sweep), notes


def render(report: Report, pictures: dict[str, bytes]) -> str:
    """The HTML of a report; `pictures` are PNGs by name."""
    summary = report.summary
    headers, rows = comparison_rows(report.groups, report.keys)
    explained = (
        f"{report.title}. Loss in nats: final is the mean over a finished run's last {WINDOW} "
        "iterations, mean is over the whole run. ± is half of the 95 % interval over seeds "
        "(Student's t). The target counts as reached when the mean of the last "
        f"{WINDOW} mini-batch losses is at or below it."
    )
    sections = [
        html.subtitle(", ".join(map(str, summary["sweep"].unique()))),
        html.section("What was run", html.facts(_facts(report))),
        html.section("Comparison", html.table(headers, rows, headers.index("seeds"), explained)),
    ]
    if not report.comparisons.empty:
        sections.append(html.section("Verdicts", _verdicts(report.comparisons)))
    if not report.claims.empty:
        sections.append(html.section("Claims", page.section(report.claims)))
    if not report.tuned.empty:
        sections.append(html.section("Shared and tuned learning rate", _tuned(report.tuned)))
    if pictures:
        images = "\n".join(
            html.image(png, name.replace("_", " ")) for name, png in pictures.items()
        )
        sections.append(html.section("Figures", images))
    if report.troubles:
        heading = "Runs that diverged, failed or did not finish"
        sections.append(html.section(heading, html.listing(report.troubles)))
    if report.notes:
        sections.append(html.section("Notes", html.listing(report.notes)))
    sections.append(html.section("Runs", _runs_table(report)))
    return html.page(f"lenet-bench: {_what(summary)}", sections)


def _verdicts(comparisons: pd.DataFrame) -> str:
    """The headlines first; what would be too long to read at once opens on a click."""
    explained = (
        "Pairs by seed. The difference is that of the means of a (named first) and b with its 95 % "
        "bootstrap interval; p is the paired t test's after Holm's correction over all pairs of "
        "one quantity (and panel). A difference is named when p is at most 0.05 and the interval "
        "leaves 0 out. The effect size is in deviations of the differences, P(a > b) the share of "
        "seeds. A run that never reached a target counts with its whole budget, one that diverged "
        "with the loss and the accuracy of chance. All numbers are in comparisons.csv."
    )
    headers, rows = verdict_rows(comparisons)
    words, sentences = headers.index("seeds"), (headers.index("verdict"),)
    if len(rows) <= MOST_VERDICTS:
        return html.table(headers, rows, words, explained, sentences)
    headlines = comparisons["quantity"].isin(HEADLINES).tolist()
    first = [row for row, chosen in zip(rows, headlines, strict=True) if chosen]
    shown = html.table(headers, first[:MOST_VERDICTS], words, explained, sentences)
    everything = html.table(headers, rows, words, "", sentences)
    return shown + html.folded(f"all {len(rows)} verdicts", everything)


def _tuned(tuned: pd.DataFrame) -> str:
    first = tuned.iloc[0]
    tried = f"Rates tried: {first['rates']}. " if tuned["rates"].nunique() == 1 else ""
    explained = (
        "The shared rate is the one with the best mean rank over all activations, the tuned rate "
        "each one's own best, both by final validation loss (a rate at which a run diverged comes "
        f"last) of the first seeds ({first['choosing_seeds']}); the numbers are those of the "
        f"others ({first['reporting_seeds']}), mean ± half of the 95 % interval (Student's t). A "
        "best rate on the edge of the grid may lie beyond it: widen the grid before believing it. "
        f"{tried}All numbers are in tuned.csv."
    )
    headers, rows = tuned_rows(tuned)
    table = html.table(headers, rows[:MOST_VERDICTS], headers.index("shared lr"), explained)
    if len(rows) <= MOST_VERDICTS:
        return table
    more = html.table(headers, rows[MOST_VERDICTS:], headers.index("shared lr"), "")
    return table + html.folded(f"{len(rows) - MOST_VERDICTS} more", more)


def _figures(sweep: Sweep, summary: pd.DataFrame, notes: list[str]) -> dict[str, Figure | None]:
    """Each figure; `None` where it does not apply or, with a note, nothing was recorded."""
    train, evaluation, layers = sweep.train, sweep.evaluation, sweep.layers
    drawn: dict[str, Figure | None] = dict.fromkeys(
        ("training_loss", "validation_accuracy", "dead_fraction", "learning_rate", "phase_diagram")
    )
    if np.isfinite(train["loss"]).any():
        drawn["training_loss"] = figures.training_loss(train, sweep.runs)
    else:
        notes.append("no training loss was recorded (train.csv): the figure is left out")
    if evaluation.loc[evaluation["split"] == "validation", "accuracy"].notna().any():
        drawn["validation_accuracy"] = figures.validation_accuracy(evaluation, sweep.runs)
    else:
        notes.append("no validation accuracy was recorded (evaluation.csv): the figure is left out")
    if layers["dead_fraction"].notna().any():
        drawn["dead_fraction"] = figures.dead_fraction(layers, sweep.runs)
    else:
        notes.append("no dead units were recorded (layers.csv): the figure is left out")
    if figures.has_learning_rates(summary):
        drawn["learning_rate"] = figures.learning_rate(summary)
    if figures.phase_key(sweep.runs) and layers["dead_fraction"].notna().any():
        drawn["phase_diagram"] = figures.phase_diagram(layers, sweep.runs)
    return drawn


def _what(summary: pd.DataFrame) -> str:
    datasets = (
        [str(name) for name in summary["dataset"].dropna().unique()] if "dataset" in summary else []
    )
    where = f" on {', '.join(datasets)}" if datasets else ""
    runs = f"{len(summary)} run{'s' if len(summary) != 1 else ''}"
    names = sorted((str(name) for name in summary["activation"].unique()), key=activation_rank)
    return f"{', '.join(names) if len(names) <= 5 else f'{len(names)} activations'}{where} ({runs})"


def _troubles(summary: pd.DataFrame) -> list[str]:
    lines = []
    for status in ("diverged", "failed", "interrupted", "running", "unknown"):
        for _, run in summary[summary["status"] == status].iterrows():
            at = "" if pd.isna(run["iteration"]) else f" at iteration {run['iteration']:.0f}"
            of = "" if pd.isna(run["budget"]) else f" of {run['budget']:.0f}"
            words = "status unknown, last seen" if status == "unknown" else status
            words = "still running or killed," if status == "running" else words
            reason = f": {run['error']}" if isinstance(run["error"], str) else ""
            lines.append(f"{run['run']}: {words}{at}{of}{reason}")
    return lines


def _facts(report: Report) -> dict[str, str]:
    """What all runs share and what varies, in words."""
    summary = report.summary
    counts = summary["status"].value_counts()
    facts = {
        "runs": f"{len(summary)} ({', '.join(f'{n} {name}' for name, n in counts.items())})",
        "training time": str(timedelta(seconds=round(float(summary["seconds"].sum())))),
    }
    for name, words in (("trained_on", "trained on"), ("commit", "commit")):
        values = summary[name].dropna().unique()
        if len(values):
            facts[words] = ", ".join(map(str, values))
    configuration = list(summary.columns[2 : summary.columns.get_loc("status")])
    varying = [key for key in configuration if key in (*report.keys, "seed")]
    for key in varying:
        chosen = [describe_value(value) for value in ordered(summary[key].dropna())]
        more = ", ..." if len(chosen) > MOST_VALUES else ""
        facts[key] = ", ".join(chosen[:MOST_VALUES]) + more
    constant = [key for key in configuration if key not in varying and _is_constant(summary[key])]
    facts["everywhere"] = ", ".join(f"{k}={describe_value(summary[k].iloc[0])}" for k in constant)
    return facts


def _is_constant(values: pd.Series[Any]) -> bool:
    return bool(values.notna().all()) and values.nunique() == 1


def _runs_table(report: Report) -> str:
    columns = [
        "run",
        "status",
        "iteration",
        "final_train_loss",
        "mean_train_loss",
        "iterations_to_target",
        "best_validation_accuracy",
        "test_accuracy",
        "seconds",
    ]
    rows = [[_cell(value) for value in row] for row in report.summary[columns].to_numpy(object)]
    headers = [name.replace("_", " ") for name in columns]
    caption = "All columns, and every run's configuration, are in summary.csv."
    return html.folded(f"all {len(rows)} runs", html.table(headers, rows, 2, caption))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return NOTHING if np.isnan(value) else f"{value:.5g}"
    return str(value)
