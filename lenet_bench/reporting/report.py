"""From run directories to the report: tables, figures and `report.html`.

In go the directories of one sweep or several; out come `summary.csv`, `comparisons.csv`,
`tuned.csv`, `claims.csv`, `figures/` and `report.html` in the output directory, each written whole
or not at all, and a `Report` that the terminal prints.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lenet_bench.analysis.comparisons import pairwise, scope
from lenet_bench.analysis.lines import add_path
from lenet_bench.analysis.summary import describe_target, group_keys, summarise, summarise_groups
from lenet_bench.analysis.tuning import obstacle, tuned_rates
from lenet_bench.claims.evaluation import claims_in
from lenet_bench.claims.files import is_claims_folder
from lenet_bench.common.errors import UserError
from lenet_bench.common.files import write_atomically
from lenet_bench.records.loading import Sweep, identity_keys, load_sweep
from lenet_bench.records.spreadsheet import spreadsheet_csv
from lenet_bench.reporting import figures
from lenet_bench.reporting.report_page import Picture, render_report
from lenet_bench.reporting.result import Report
from lenet_bench.reporting.values import describe_runs, name_data

FORMATS = ("png", "svg")


def write_report(
    sweeps: str | Path | Iterable[str | Path], output: str | Path, target_loss: float | None = None
) -> Report:
    """Rebuild every table and figure from the run directories of one or several sweeps.

    A run whose files cannot be believed is left out, and named in the report.

    Args:
        sweeps: Sweep directories. A run that occurs in several of them counts once.
        output: Where everything is written.
        target_loss: Replaces the runs' own target (nats). Claims keep to those, because their rules
            are the same for every report.

    Raises:
        UserError: There are no runs that can be used, or the output directory cannot be written, or
            holds the claims of several presets.
    """
    output = Path(output)
    if is_claims_folder(output):
        raise UserError(
            f"{output}: holds what lenet-bench-claims wrote, whose claims.csv a report would "
            "replace; report on a preset's folder in it, or choose another with --output"
        )
    sweep, tables, report = _gather(sweeps, output, target_loss)
    notes = list(report.notes)
    try:
        (output / "figures").mkdir(parents=True, exist_ok=True)
        paths = _write_tables(tables, output)
        drawn = draw_figures(sweep, report.summary, notes)
        pictures, written = _write_figures(drawn, output / "figures")
        paths += [*written, output / "report.html"]
        report = replace(report, notes=tuple(notes), paths=tuple(paths))
        write_atomically(output / "report.html", render_report(report, pictures).encode())
    except OSError as error:
        raise UserError(
            f"{error.filename or output}: cannot be written: {error.strerror}; choose "
            "another directory with --output"
        ) from None
    return report


def gather_report(
    sweeps: str | Path | Iterable[str | Path], output: str | Path, target_loss: float | None = None
) -> Report:
    """Find what `write_report` finds, without figures, and write nothing.

    Raises:
        UserError: There are no runs that can be used.
    """
    return _gather(sweeps, Path(output), target_loss)[2]


def _gather(
    sweeps: str | Path | Iterable[str | Path], output: Path, target_loss: float | None
) -> tuple[Sweep, dict[str, pd.DataFrame], Report]:
    """Find what a report tells: the runs, the tables to be written, and what is shown of them."""
    sweep, notes = distinct_runs(load_sweep(sweeps, damaged="leave out"))
    summary = summarise(sweep, target_loss)
    comparisons, tuned = pairwise(summary), tuned_rates(summary)
    claims = claims_in(sweep, summary if target_loss is None else None)
    notes += filter(None, [scope(summary), obstacle(summary)])
    # Relative to the folder of summary.csv, so that a sweep may be moved.
    summary["directory"] = [
        os.path.relpath(Path(run).resolve(), output.resolve()) for run in summary["directory"]
    ]
    tables = {"summary": summary, "comparisons": comparisons, "tuned": tuned, "claims": claims}
    report = Report(
        title=f"{describe_runs(summary)}: {describe_target(summary, target_loss)}",
        summary=summary,
        groups=add_path(name_data(summarise_groups(summary), summary), summary),
        keys=tuple(group_keys(summary)),
        comparisons=name_data(comparisons, summary),
        tuned=add_path(name_data(tuned, summary), summary),
        claims=claims,
        troubles=tuple(_troubles(summary)),
        damaged=sweep.damaged,
        notes=tuple(notes),
        paths=(),
    )
    return sweep, tables, report


def distinct_runs(sweep: Sweep) -> tuple[Sweep, list[str]]:
    """Leave out repetitions: the same configuration and seed is one sample, however often trained.

    Of such runs one that finished is kept, else the one that got furthest; of several, the last.

    Returns:
        The sweep without repetitions, and a note for each run that was left out.
    """
    runs = sweep.runs
    keys = identity_keys(runs)
    worth = runs.assign(finished=runs["status"] == "finished", order=np.arange(len(runs)))
    worth = worth.sort_values(["finished", "iteration", "order"], na_position="first")
    repeated = worth.duplicated(keys, keep="last").sort_index()
    directory = runs["directory"]
    kept = worth.groupby(keys, dropna=False, observed=True)["directory"].transform("last")
    notes = [
        f"{directory[row]}: left out, because {kept[row]} has the same configuration and seed"
        for row in runs.index[repeated]
    ]
    return (sweep.select(~repeated) if repeated.any() else sweep), notes


def draw_figures(sweep: Sweep, summary: pd.DataFrame, notes: list[str]) -> dict[str, Figure | None]:
    """Draw every figure; `None` where it does not apply or, with a note, nothing was recorded."""
    train, evaluation, layers = sweep.train, sweep.evaluation, sweep.layers
    by_name: dict[str, Figure | None] = dict.fromkeys(
        ("training_loss", "validation_accuracy", "dead_fraction", "learning_rate", "phase_diagram")
    )
    if np.isfinite(train["loss"]).any():
        by_name["training_loss"] = figures.training_loss(train, sweep.runs)
    else:
        notes.append("no training loss was recorded (train.csv): the figure is left out")
    if evaluation.loc[evaluation["split"] == "validation", "accuracy"].notna().any():
        by_name["validation_accuracy"] = figures.validation_accuracy(evaluation, sweep.runs)
    else:
        notes.append("no validation accuracy was recorded (evaluation.csv): the figure is left out")
    if layers["dead_fraction"].notna().any():
        by_name["dead_fraction"] = figures.dead_fraction(layers, sweep.runs)
    else:
        notes.append("no dead units were recorded (layers.csv): the figure is left out")
    if figures.has_learning_rates(summary):
        by_name["learning_rate"] = figures.learning_rate(summary)
    if figures.phase_key(sweep.runs) and layers["dead_fraction"].notna().any():
        by_name["phase_diagram"] = figures.phase_diagram(layers, sweep.runs)
    described = [figures.alternative_text(figure) for figure in by_name.values() if figure]
    if letters := figures.letters_without_font(described):
        codes = " ".join(map(figures.escaped, letters))
        fonts = " and ".join(figures.fonts_to_install(letters)) or "a font that has these letters"
        notes.append(
            f"no font on this machine has {' '.join(letters)}: figures show {codes}; "
            f"install {fonts}, and make the report again"
        )
    return by_name


def _write_tables(tables: dict[str, pd.DataFrame], output: Path) -> list[Path]:
    """Write each table that has rows; one that has none any more is removed."""
    paths = []
    for name, table in tables.items():
        path = output / f"{name}.csv"
        if table.empty:
            path.unlink(missing_ok=True)
            continue
        write_atomically(path, spreadsheet_csv(table).encode())
        paths.append(path)
    return paths


def _write_figures(
    by_name: dict[str, Figure | None], folder: Path
) -> tuple[list[Picture], list[Path]]:
    """Write each figure in every format; one that does not apply any more is removed."""
    pictures, paths = [], []
    for name, figure in by_name.items():
        files = {suffix: folder / f"{name}.{suffix}" for suffix in FORMATS}
        if figure is None:
            for path in files.values():
                path.unlink(missing_ok=True)
            continue
        contents = {suffix: figures.save(figure, path) for suffix, path in files.items()}
        for suffix, path in files.items():
            write_atomically(path, contents[suffix])
            paths.append(path)
        pictures.append(Picture(contents["png"], figures.alternative_text(figure)))
    return pictures, paths


def _troubles(summary: pd.DataFrame) -> list[str]:
    """A line for each run that did not finish."""
    lines = []
    for status in ("diverged", "failed", "interrupted", "running"):
        for _, run in summary[summary["status"] == status].iterrows():
            at = "" if pd.isna(run["iteration"]) else f" at iteration {run['iteration']:.0f}"
            of = "" if pd.isna(run["budget"]) else f" of {run['budget']:.0f}"
            words = "still running or killed," if status == "running" else status
            reason = f": {run['error']}" if isinstance(run["error"], str) else ""
            lines.append(f"{run['run']}: {words}{at}{of}{reason}")
    return lines
