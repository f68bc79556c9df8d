"""The three figures against the iteration: frames in, Figures out.

Training loss, validation accuracy and dead units against the iteration. Each function takes a
tidy frame and the runs behind it (`lenet_bench.analysis.Sweep`) and returns a Figure that
is ready to save. No files are read, and pyplot is never touched; `lenet_bench.mplstyle` is the
one style of all, applied under a lock because matplotlib keeps styles in a global.
"""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lenet_bench.analysis.lines import describe_value
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.records.loading import varying_keys
from lenet_bench.reporting.comparison import MOST_PANELS, Comparison, Line, compare
from lenet_bench.reporting.curves import (
    MOST_RAW_RUNS,
    Curve,
    curve,
    series_by_run,
    smoothing_window,
)
from lenet_bench.reporting.labels import spread

MOST_LINES_TOGETHER = 10
STYLE_SHEET = Path(__file__).with_name("lenet_bench.mplstyle")
CROSS = "\N{MULTIPLICATION SIGN}"

_style_lock = threading.RLock()


@contextmanager
def style() -> Iterator[None]:
    """The project's style for as long as the block lasts; one thread at a time."""
    with _style_lock, matplotlib.rc_context(fname=STYLE_SHEET):
        yield


@dataclass(frozen=True)
class Measure:
    """What a figure shows: words and numbers that differ between the three."""

    title: str
    unit: str
    percent: bool
    window: int
    chance: Callable[[float], float] | None


@dataclass
class Cell:
    """A pair of axes to be filled: its title, its curves by line, the chance level.

    The means of `behind` are drawn in grey, for comparison with the other panels; `heading`
    stands over a whole row of panels.
    """

    title: str
    curves: dict[Line, Curve]
    chance: float | None
    chance_label: str = ""
    behind: tuple[Curve, ...] = ()
    heading: str = ""


def training_loss(train: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Training loss (nats) against the iteration: mean and 95 % interval over seeds.

    Thin lines behind are the mini-batch losses of single runs, the dotted line is chance,
    ln(classes), and a cross marks where a run diverged.
    """
    longest = float(train["iteration"].max()) if len(train) else 0.0
    measure = Measure(
        "Training loss", "training loss (nats)", False, smoothing_window(longest), np.log
    )
    return _by_panel(train, "loss", runs, measure)


def validation_accuracy(evaluation: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Validation accuracy against the iteration: mean and 95 % interval over seeds."""
    rows = evaluation[evaluation["split"] == "validation"]
    measure = Measure("Validation accuracy", "validation accuracy", True, 1, lambda n: 1.0 / n)
    return _by_panel(rows, "accuracy", runs, measure)


def dead_fraction(layers: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Share of dead units against the iteration, a panel per hidden layer."""
    rows = layers[layers["dead_fraction"].notna()]
    names = [str(name) for name in dict.fromkeys(rows["layer"])]
    comparison = compare(runs, most_panels=max(1, MOST_PANELS // max(len(names), 1)))
    measure = Measure("Dead units", "dead units", True, 1, None)
    series = {name: series_by_run(rows[rows["layer"] == name], "dead_fraction") for name in names}
    alive = _never_dead(rows, comparison) if len(comparison.lines) > 6 else []
    alive = alive if len(alive) < len(comparison.lines) else alive[1:]
    cells = []
    for panel in comparison.panels:
        for name in names:
            shown = [line for line in comparison.lines if line not in alive]
            curves = _curves(series[name], shown, panel.runs, runs, 1)
            heading = panel.title if name == names[0] else ""
            cells.append(Cell(name, curves, None, heading=heading))
    remarks = []
    if not rows["dead_fraction"].any():
        remarks.append("No unit was dead at any probe.")
    elif alive:
        remarks.append(
            "No dead unit at any probe: " + ", ".join(line.label for line in alive) + "."
        )
    single = len(comparison.panels) == 1
    columns = (2 if len(names) <= 4 else 3) if single and len(names) > 1 else max(len(names), 1)
    return _draw(cells, columns, runs, comparison, measure, remarks)


def save(figure: Figure, path: Path) -> bytes:
    """The figure's bytes in the format that the path's suffix names (png, svg)."""
    buffer = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with style():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _by_panel(frame: pd.DataFrame, column: str, runs: pd.DataFrame, measure: Measure) -> Figure:
    """A panel per combination of what varies besides the lines."""
    comparison = compare(runs)
    series = series_by_run(frame, column)
    cells = []
    for panel in comparison.panels:
        curves = _curves(series, comparison.lines, panel.runs, runs, measure.window)
        classes = runs.loc[runs["run"].isin(panel.runs), "classes"].dropna().unique()
        chance = measure.chance(classes[0]) if measure.chance and len(classes) == 1 else None
        label = "" if chance is None else _chance_words(classes[0], measure)
        cells.append(Cell(panel.title, curves, chance, label))
    remarks: list[str] = []
    columns = comparison.columns
    if len(cells) == 1 and len(cells[0].curves) > MOST_LINES_TOGETHER:
        cells = _by_family(cells[0], runs)
        remarks = ["Grey: the activations of the other panels."] if len(cells) > 1 else []
        columns = min(3, len(cells))
    return _draw(cells, columns, runs, comparison, measure, remarks)


def _chance_words(classes: float, measure: Measure) -> str:
    return f"chance (1/{classes:.0f})" if measure.percent else f"chance (ln {classes:.0f})"


def _by_family(cell: Cell, runs: pd.DataFrame) -> list[Cell]:
    """Too many lines for one panel: a panel per family of activations, the others in grey."""
    activation = dict(zip(runs["run"], runs["activation"].astype(str), strict=True))
    families: dict[str, list[Line]] = {}
    for line in cell.curves:
        entry = ACTIVATIONS.get(activation[min(line.runs)])
        families.setdefault(entry.family if entry else "custom", []).append(line)
    alone = [name for name, lines in families.items() if len(lines) == 1]
    if len(alone) > 1:
        families["others"] = [families.pop(name)[0] for name in alone]
    return [
        Cell(
            name,
            {line: cell.curves[line] for line in lines},
            cell.chance,
            cell.chance_label,
            tuple(one for line, one in cell.curves.items() if line not in lines),
        )
        for name, lines in families.items()
    ]


def _curves(
    series: dict[str, Any],
    lines: Iterable[Line],
    in_panel: frozenset[str],
    runs: pd.DataFrame,
    window: int,
) -> dict[Line, Curve]:
    diverged = _diverged(runs)
    found = {line: curve(series, line.runs & in_panel, diverged, window) for line in lines}
    return {line: one for line, one in found.items() if one is not None}


def _diverged(runs: pd.DataFrame) -> frozenset[str]:
    return frozenset(runs.loc[runs["status"] == "diverged", "run"])


def _never_dead(rows: pd.DataFrame, comparison: Comparison) -> list[Line]:
    worst = rows.groupby("run", observed=True)["dead_fraction"].max()
    alive = frozenset(worst.index[worst == 0].astype(str))
    measured = frozenset(worst.index.astype(str))
    return [
        line for line in comparison.lines if line.runs & measured and line.runs & measured <= alive
    ]


# ------------------------------------------------------------------------------- composition
# Everything is placed in inches: what must not overlap is measured, not hoped for.

LEFT, TOP_GAP, BOTTOM_GAP = 0.74, 0.12, 0.5
LINE_HEIGHT = 0.148
TITLE_SIZE, LABEL_SIZE, CAPTION_SIZE = 11.5, 8.5, 7.5


def _draw(
    cells: list[Cell],
    columns: int,
    runs: pd.DataFrame,
    comparison: Comparison,
    measure: Measure,
    remarks: list[str],
) -> Figure:
    with style():
        shown = [line for line in comparison.lines if any(line in c.curves for c in cells)]
        columns = min(columns, max(len(cells), 1))
        rows = -(-max(len(cells), 1) // columns)
        ruler = Ruler()
        label_width = max(
            (ruler.width(_end_label(line, c), LABEL_SIZE) for c in cells for line in c.curves),
            default=0.0,
        )
        direct = len(cells) == 1 or (
            columns <= 3 and label_width <= 1.2 and max(len(c.curves) for c in cells) <= 7
        )
        right = label_width + 0.32 if direct else 0.3
        width, panel_width, panel_height = _sizes(columns, rows, len(shown), right, direct)
        caption = _caption(cells, runs, comparison, measure, remarks, width)
        legend = [] if direct else _legend_rows(shown, runs, width, ruler)
        head = 0.42 + 0.2 * len(legend) + (0.12 if legend else 0.0)
        foot = BOTTOM_GAP + 0.135 * len(caption) + 0.1
        titles = [wrap(cell.title, panel_width, 9) for cell in cells]
        tallest = max((len(title) for title in titles), default=0)
        heading_room = 0.24 if any(cell.heading for cell in cells) else 0.0
        title_room = 0.12 + 0.15 * tallest + heading_room
        between = 0.16 if rows > 1 else 0.0
        height = head + foot + rows * (panel_height + title_room) + (rows - 1) * between
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        limits = _limits(cells, measure)
        axes: list[Axes] = []
        for number, cell in enumerate(cells):
            row, column = divmod(number, columns)
            x = LEFT + column * (panel_width + right)
            y = height - head - row * (panel_height + title_room + between)
            y -= title_room + panel_height
            box = (x / width, y / height, panel_width / width, panel_height / height)
            axis = figure.add_axes(box)
            axes.append(axis)
            lowest = number + columns >= len(cells)
            _fill(axis, cell, limits, measure, first=column == 0, lowest=lowest)
            axis.set_title("\n".join(titles[number]))
            axis.yaxis.set_label_coords(-(LEFT - 0.24) / panel_width, 0.5)
            if cell.heading:
                top = box[1] + (panel_height + title_room - heading_room + 0.06) / height
                figure.text(box[0], top, cell.heading, size=9.5, weight="bold", va="bottom")
        _titles(figure, measure, runs, legend, shown)
        for i, text in enumerate(caption):
            figure.text(
                0.12 / width,
                (0.1 + 0.135 * (len(caption) - 1 - i)) / height,
                text,
                size=CAPTION_SIZE,
                color="#555555",
                va="bottom",
            )
        for axis, cell in zip(axes, cells, strict=True):
            _marks(axis, cell, limits)
            if direct:
                _label_ends(axis, cell, panel_height, panel_width, limits)
            if cell.chance is not None and (direct or cell is cells[0]):
                _label_chance(axis, cell, panel_height, limits)
        return figure


def _sizes(
    columns: int, rows: int, lines: int, right: float, direct: bool
) -> tuple[float, float, float]:
    """Width of the figure, width and height of a panel, in inches."""
    if columns == 1 and rows == 1:
        width = 7.2
        return width, width - LEFT - right, max(3.3, 0.155 * lines + 0.3)
    panel = {2: 2.9, 3: 2.2}.get(columns, 1.95) if direct else {1: 5.6, 2: 3.2}.get(columns, 1.95)
    width = max(7.2, LEFT + columns * (panel + right))
    panel = (width - LEFT) / columns - right
    return width, panel, min(max(0.68 * panel, 1.35), 2.6)


def _limits(cells: Sequence[Cell], measure: Measure) -> tuple[float, float, float]:
    """Lowest and highest value shown, and the last iteration; the same for all panels."""
    means = [c.mean[np.isfinite(c.mean)] for cell in cells for c in cell.curves.values()]
    bands = [c.high[np.isfinite(c.high)] for cell in cells for c in cell.curves.values()]
    last = max((float(c.iterations[-1]) for cell in cells for c in cell.curves.values()), default=1)
    values = np.concatenate(means) if means else np.array([0.0, 1.0])
    chances = [cell.chance for cell in cells if cell.chance is not None]
    if measure.percent:
        highest = max([float(values.max()), *(float(b.max()) for b in bands if len(b)), *chances])
        top = 1.0 if highest > 0.55 else max(0.05, 1.15 * highest)
        return -0.012 * top, min(1.02 * top, 1.02), max(last, 1.0)
    reference = max(chances, default=float(np.median(values)))
    lowest = float(values.min())
    usual = max((float(np.quantile(m, 0.98)) for m in means if len(m)), default=reference)
    if 0.8 * reference < lowest and usual < 1.2 * reference:
        raw = [y[np.isfinite(y)] for cell in cells for c in cell.curves.values() for _, y in c.raw]
        near = np.concatenate([*raw, values, chances])
        near = near[np.abs(near - reference) < 0.3 * reference]
        margin = max(0.06 * float(np.ptp(near)), 0.005)
        return float(near.min()) - margin, float(near.max()) + margin, max(last, 1.0)
    top = min(max(1.06 * usual, 1.1 * reference), 1.35 * reference)
    return -0.012 * top, top, max(last, 1.0)


def _fill(
    axis: Axes,
    cell: Cell,
    limits: tuple[float, float, float],
    measure: Measure,
    first: bool,
    lowest: bool,
) -> None:
    """Raw lines, bands, means and the axes' words."""
    low, high, last = limits
    axis.set_xlim(0, last)
    axis.set_ylim(low, high)
    axis.xaxis.set_major_locator(
        MaxNLocator(
            nbins=5 if axis.get_position().width > 0.4 else 3,
            integer=True,
            steps=[1, 2, 2.5, 5, 10],
        )
    )
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.yaxis.set_major_locator(
        MaxNLocator(nbins=6 if high - low else 3, steps=[1, 2, 2.5, 5, 10])
    )
    if measure.percent:
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{round(100 * y, 2):g} %"))
    axis.spines["bottom"].set_position(("outward", 3))
    axis.spines["left"].set_visible(False)
    axis.tick_params(labelleft=first, labelbottom=lowest)
    if lowest:
        axis.set_xlabel("iteration")
    if first:
        axis.set_ylabel(measure.unit)
    if cell.chance is not None:
        axis.axhline(cell.chance, color="#555555", linewidth=1.0, linestyle=(0, (1, 2)), zorder=2)
    busy = sum(len(one.raw) for one in cell.curves.values()) > MOST_RAW_RUNS
    for line, one in cell.curves.items():
        for x, y in one.raw if not busy else ():
            axis.plot(x, y, color=line.style.colour, alpha=0.28, linewidth=0.45, zorder=2.1)
    for line, one in cell.curves.items():
        axis.fill_between(
            one.iterations,
            one.low,
            one.high,
            color=line.style.colour,
            alpha=0.2 if len(cell.curves) <= 4 else 0.8 / len(cell.curves),
            linewidth=0,
            zorder=2.2,
        )
    many = len(cell.curves) > 8
    for one in cell.behind:
        axis.plot(one.iterations, one.mean, color="#d0d0d0", linewidth=0.7, zorder=2.05)
    for i, (line, one) in enumerate(cell.curves.items()):
        markers = _marker_positions(one, i, len(cell.curves), last)
        axis.plot(
            one.iterations,
            one.mean,
            color=line.style.colour,
            zorder=3,
            linewidth=1.2 if many else 1.7,
            linestyle=line.style.linestyle,
            marker=line.style.marker,
            markevery=markers,
            markeredgecolor="white",
            markersize=3.6 if many else 4.6,
        )


def _marker_positions(one: Curve, index: int, lines: int, last: float) -> list[int]:
    """About six points along the line, staggered between lines so that markers do not meet."""
    wished = (np.arange(6) + (index + 0.5) / lines) / 6 * last
    wished = wished[wished <= one.iterations[-1]]
    return sorted({int(i) for i in np.searchsorted(one.iterations, wished)})


def _marks(axis: Axes, cell: Cell, limits: tuple[float, float, float]) -> None:
    """A cross where a run diverged, at the edge when its loss had left the picture."""
    low, high, _ = limits
    for line, one in cell.curves.items():
        for x, y in one.stops:
            axis.plot(
                [x],
                [min(max(y, low), high)],
                marker="x",
                markersize=6,
                markeredgewidth=1.6,
                color=line.style.colour,
                clip_on=False,
                zorder=5,
                path_effects=[withStroke(linewidth=3.2, foreground="white")],
            )


def _end_label(line: Line, cell: Cell) -> str:
    one = cell.curves[line]
    if not one.diverged:
        return line.label
    return f"{line.label} ({CROSS} {one.diverged} of {max(one.runs, one.diverged)})"


def _label_ends(
    axis: Axes, cell: Cell, height: float, width: float, limits: tuple[float, float, float]
) -> None:
    """Labels beside the line ends, in the line's colour, apart from each other and from chance."""
    low, high, last = limits
    unit = (high - low) / height  # data per inch
    entries: list[tuple[float, float, str, str, str]] = []
    for line, one in cell.curves.items():
        end = np.flatnonzero(np.isfinite(one.mean))[-1]
        y = float(np.clip(one.mean[end], low, high))
        x = float(one.iterations[end])
        entries.append((y, x, _end_label(line, cell), line.style.text_colour, line.style.colour))
    places = [y for y, *_ in entries]
    placed = spread(places, LINE_HEIGHT * unit, low, high)
    start = last * (1 + 0.17 / width)
    for (y, x, text, text_colour, colour), where in zip(entries, placed, strict=True):
        axis.plot(
            [min(x, last), last * (1 + 0.05 / width), last * (1 + 0.13 / width)],
            [y, y, where],
            color=colour,
            linewidth=0.7,
            linestyle="-" if x >= 0.98 * last else (0, (1, 2)),
            clip_on=False,
            zorder=2.5,
        )
        axis.text(start, where, text, color=text_colour, size=LABEL_SIZE, va="center_baseline")


def _label_chance(
    axis: Axes, cell: Cell, height: float, limits: tuple[float, float, float]
) -> None:
    low, high, last = limits
    y = (cell.chance or 0.0) + 0.035 * (high - low) / height
    axis.text(
        last,
        y,
        cell.chance_label,
        size=7.5,
        color="#555555",
        ha="right",
        va="bottom",
        zorder=6,
        path_effects=[withStroke(linewidth=2.2, foreground="white")],
    )


def _legend_rows(
    lines: list[Line], runs: pd.DataFrame, width: float, ruler: Ruler
) -> list[list[tuple[Line, str, float]]]:
    """Legend entries broken into rows: line, label and x in inches."""
    rows: list[list[tuple[Line, str, float]]] = [[]]
    x = 0.12
    stopped = _diverged(runs)
    for line in lines:
        diverged = len(line.runs & stopped)
        label = f"{line.label} ({CROSS} {diverged})" if diverged else line.label
        room = 0.42 + ruler.width(label, LABEL_SIZE) + 0.2
        if x + room > width and rows[-1]:
            rows.append([])
            x = 0.12
        rows[-1].append((line, label, x))
        x += room
    return rows


def _titles(
    figure: Figure,
    measure: Measure,
    runs: pd.DataFrame,
    legend: list[list[tuple[Line, str, float]]],
    shown: list[Line],
) -> None:
    width, height = figure.get_size_inches()
    where = common_value(runs, "dataset")
    title = measure.title + (f" on {where}" if where else "")
    figure.text(0.12 / width, 1 - TOP_GAP / height, title, size=TITLE_SIZE, weight="bold", va="top")
    for number, row in enumerate(legend):
        y = 1 - (0.5 + 0.2 * number) / height
        for line, label, x in row:
            handle = Line2D(
                [x / width, (x + 0.17) / width, (x + 0.34) / width],
                [y] * 3,
                color=line.style.colour,
                linewidth=1.7,
                linestyle=line.style.linestyle,
                marker=line.style.marker,
                markevery=[1],
                markeredgecolor="white",
                markersize=5,
                transform=figure.transFigure,
                figure=figure,
            )
            figure.add_artist(handle)
            figure.text(
                (x + 0.42) / width,
                y,
                label,
                size=LABEL_SIZE,
                va="center_baseline",
                color=line.style.text_colour,
            )


def _caption(
    cells: list[Cell],
    runs: pd.DataFrame,
    comparison: Comparison,
    measure: Measure,
    remarks: list[str],
    width: float,
) -> list[str]:
    """What was averaged, smoothed, marked and left out, and the settings all runs share."""
    curves = [one for cell in cells for one in cell.curves.values()]
    counts = sorted({one.runs for one in curves})
    parts = []
    if counts and counts[-1] > 1:
        span = f"{counts[0]} to {counts[-1]}" if counts[0] != counts[-1] else f"{counts[0]}"
        parts.append(f"Mean over {span} seeds with its 95 % interval (Student's t).")
    elif counts:
        parts.append("One seed each: no interval.")
    thin = all(sum(len(o.raw) for o in cell.curves.values()) <= MOST_RAW_RUNS for cell in cells)
    if measure.window > 1:
        behind = "; thin lines: every run's mini-batches, unsmoothed" if thin else ""
        parts.append(f"Smoothed by a centred mean over {measure.window} iterations{behind}.")
    elif thin and counts and counts[-1] > 1:
        parts.append("Thin lines: single runs.")
    stopped = sum(one.diverged for one in curves)
    if stopped:
        if measure.window > 1:
            left = f"; the thick line leaves it out from {measure.window} iterations before"
        else:
            left = "; from there the mean is over the others" if counts[-1] > 1 else ""
        parts.append(f"{CROSS} marks where a run diverged{left}.")
    parts += remarks
    if comparison.left_out:
        parts.append(f"Not shown, for room: {comparison.left_out}.")
    parts.append(settings_in_words(runs))
    return wrap(" ".join(filter(None, parts)), width - 0.24, CAPTION_SIZE)


def wrap(text: str, width: float, size: float) -> list[str]:
    """Lines that fit the width (inches): a letter of the style's font is 0.54 em wide or less."""
    return textwrap.wrap(text, max(8, int(width * 72 / (0.54 * size))))


def settings_in_words(runs: pd.DataFrame) -> str:
    """The settings that all runs share, in words."""
    varying = varying_keys(runs)
    words = []
    for key, form in (
        *(("init", "{} init"), ("optimizer", "{}"), ("lr", "lr {}")),
        *(("batch_size", "batch {}"), ("model", "{}"), ("model.pool", "{} pooling")),
    ):
        if key in runs and key not in varying and runs[key].notna().all():
            words.append(form.format(describe_value(runs[key].iloc[0])))
    return ", ".join(words) + "." if words else ""


def common_value(runs: pd.DataFrame, key: str) -> str:
    """The one value of a key that all runs share, else nothing."""
    values: list[Any] = list(runs[key].dropna().unique()) if key in runs else []
    return str(values[0]) if len(values) == 1 else ""


class Ruler:
    """Measures text before there is a figure to put it on."""

    def __init__(self) -> None:
        canvas = cast(Any, FigureCanvasAgg(Figure(figsize=(1, 1), dpi=100)))
        self._renderer = canvas.get_renderer()
        self._figure = canvas.figure

    def width(self, text: str, size: float) -> float:
        """Width in inches."""
        artist = self._figure.text(0, 0, text, size=size)
        extent = artist.get_window_extent(self._renderer)
        artist.remove()
        return float(extent.width) / 100
