"""Curves against the iteration, in one panel or several: what to draw goes in, a Figure comes out.

The figures of training loss, validation accuracy and dead units differ in what they gather; they
are drawn here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lenet_bench.reporting.figures.curves import Curve, are_raw_lines_drawn, diverged_runs
from lenet_bench.reporting.figures.layout import Line, by_family, family
from lenet_bench.reporting.figures.legends import (
    add_legend_outside,
    end_label,
    label_chance,
    label_line_ends,
    legend_columns,
    separate_labels,
)
from lenet_bench.reporting.figures.stylesheet import (
    CROSS,
    EDGE,
    HEADING_SIZE,
    LABEL_SIZE,
    LEGEND_LINE,
    NOTE_COLOUR,
    WIDTH,
    X_AXIS_ROOM,
    new_figure,
    settle,
    style,
    text_width,
    wrap,
)

MOST_LINES_TOGETHER = 10
MOST_DIRECT_LINES = 7
WIDEST_DIRECT_LABEL, WIDEST_LABEL_BESIDE_PANELS = 3.0, 1.2
"""Inches of a label at a line's end, in a figure of one panel and in one of several."""

MOST_DESCRIBED_LINES, MOST_DESCRIBED_PANELS = 8, 6

TICKS = (1, 2, 2.5, 5, 10)

Limits = tuple[float, float, float]
"""Lowest and highest value shown, and the last iteration; the same for all panels."""


@dataclass(frozen=True)
class CurvePanel:
    """One pair of axes.

    Attributes:
        title: Stands above it.
        curves: What is drawn, by line.
        chance: The level of a network that guesses, if the quantity has one.
        chance_label: What stands at that level.
        context: Curves whose means are drawn in grey, for comparison with the other panels.
        heading: Stands in bold above a whole row of panels.
    """

    title: str
    curves: Mapping[Line, Curve]
    chance: float | None = None
    chance_label: str = ""
    context: tuple[Curve, ...] = ()
    heading: str = ""


@dataclass(frozen=True)
class CurveFigure:
    """What a figure of curves shows.

    Attributes:
        title: Stands above everything.
        y_label: The quantity with its unit.
        percent: Whether values are shares, shown in percent.
        panels: In drawing order.
        columns: How many panels stand in a row.
        caption: Stands below everything.
        runs: The runs behind it, for the number of those that diverged.
    """

    title: str
    y_label: str
    percent: bool
    panels: tuple[CurvePanel, ...]
    columns: int
    caption: str
    runs: pd.DataFrame


def split_by_family(panel: CurvePanel, runs: pd.DataFrame) -> tuple[CurvePanel, ...]:
    """Too many lines for one panel: a panel per family of activations, the others in grey."""
    activations = dict(zip(runs["run"], runs["activation"].astype(str), strict=True))
    groups = by_family(list(panel.curves), lambda line: family(activations[min(line.runs)]))
    return tuple(
        replace(
            panel,
            title=name,
            curves={line: panel.curves[line] for line in lines},
            context=tuple(curve for line, curve in panel.curves.items() if line not in lines),
        )
        for name, lines in groups.items()
    )


def draw(content: CurveFigure) -> Figure:
    """Draw all panels on the same scale."""
    panels = content.panels
    lines = list(dict.fromkeys(line for panel in panels for line in panel.curves))
    columns = min(content.columns, len(panels))
    direct = _are_labels_direct(panels, columns)
    with style():
        width, panel_width, panel_height = _sizes(columns, len(panels), len(lines))
        titles = [wrap(panel.title, panel_width, 9) for panel in panels]
        labels = _legend_labels(lines, content.runs)
        in_row = 0 if direct else legend_columns(labels, width - 2 * EDGE)
        height = _height(panel_height, panels, columns, max(map(len, titles)))
        height += LEGEND_LINE * -(-len(labels) // in_row) if in_row else 0.0
        figure, body = new_figure(content.title, content.caption, width, height)
        grid = body.subplots(-(-len(panels) // columns), columns, squeeze=False)
        axes: list[Axes] = list(grid.flat)
        for unused in axes[len(panels) :]:
            unused.remove()
        limits = _limits(panels, content.percent)
        line_ends = []
        for number, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
            _scale(axis, limits, content.percent, ticks=5 if columns == 1 else 3)
            is_lowest = number + columns >= len(panels)
            axis.tick_params(labelleft=number % columns == 0, labelbottom=is_lowest)
            axis.set_xlabel("iteration" if is_lowest else "")
            axis.set_ylabel(content.y_label if number % columns == 0 else "")
            axis.set_title("\n".join(titles[number]))
            if panel.heading:
                _add_heading(axis, panel.heading)
            _draw_curves(axis, panel)
            if direct:
                line_ends.append((axis, label_line_ends(axis, panel.curves)))
            if panel.chance is not None and (direct or number == 0):
                label_chance(axis, panel.chance, panel.chance_label)
        if in_row:
            add_legend_outside(body, [line.style for line in lines], labels, in_row)
        settle(figure)
        for axis, ends in line_ends:
            separate_labels(axis, ends)
        figure.set_label(describe(content))
        return figure


def describe(content: CurveFigure) -> str:
    """The figure in words: what is plotted, and where the lines end."""
    scale, unit = (100, " %") if content.percent else (1, "")
    panels = content.panels
    several = f", {len(panels)} panels" if len(panels) > 1 else ""
    parts = [f"{content.title}: {content.y_label} against the iteration{several}."]
    heading = ""
    for panel in panels[:MOST_DESCRIBED_PANELS]:
        heading = panel.heading or heading
        ends = {
            line: float(curve.mean[np.isfinite(curve.mean)][-1])
            for line, curve in panel.curves.items()
        }
        if len(ends) > MOST_DESCRIBED_LINES:
            extremes = (min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__))
            ends = {line: ends[line] for line in extremes}
        listed = ", ".join(f"{line.label} {scale * y:.3g}{unit}" for line, y in ends.items())
        if listed:
            where = " ".join(filter(None, [heading, panel.title]))
            which = "lowest and highest: " if len(ends) < len(panel.curves) else ""
            parts.append(f"{f'{where}: at' if where else 'At'} the end {which}{listed}.")
    return " ".join(parts)


def _are_labels_direct(panels: Sequence[CurvePanel], columns: int) -> bool:
    """Whether lines are named at their ends rather than in a legend."""
    widths = [
        text_width(end_label(line, curve), LABEL_SIZE)
        for panel in panels
        for line, curve in panel.curves.items()
    ]
    widest = max(widths, default=0.0)
    if len(panels) == 1:
        return widest <= WIDEST_DIRECT_LABEL
    most_lines = max(len(panel.curves) for panel in panels)
    fits = widest <= WIDEST_LABEL_BESIDE_PANELS and most_lines <= MOST_DIRECT_LINES
    return columns <= 3 and fits


def _legend_labels(lines: Sequence[Line], runs: pd.DataFrame) -> list[str]:
    stopped = diverged_runs(runs)
    counts = [len(line.runs & stopped) for line in lines]
    return [
        f"{line.label} ({CROSS} {count})" if count else line.label
        for line, count in zip(lines, counts, strict=True)
    ]


def _sizes(columns: int, panels: int, lines: int) -> tuple[float, float, float]:
    """Width of the figure, and width and height of a panel, in inches."""
    if panels == 1:
        return WIDTH, WIDTH - 1.0, max(3.3, 0.155 * lines + 0.3)
    width = max(WIDTH, 0.8 + 2.15 * columns)
    panel_width = (width - 0.8) / columns - 0.25
    return width, panel_width, min(max(0.75 * panel_width, 1.5), 2.4)


def _height(height: float, panels: Sequence[CurvePanel], columns: int, title_lines: int) -> float:
    """Inches for all rows of panels with their titles and the axis below."""
    title = 0.15 * title_lines + 0.16 + (0.2 if any(panel.heading for panel in panels) else 0.0)
    rows = -(-len(panels) // columns)
    return rows * (height + title) + X_AXIS_ROOM


def _limits(panels: Sequence[CurvePanel], percent: bool) -> Limits:
    curves = [curve for panel in panels for curve in panel.curves.values()]
    chances = [panel.chance for panel in panels if panel.chance is not None]
    last = max((float(curve.iterations[-1]) for curve in curves), default=1.0)
    low, high = _shares(curves, chances) if percent else _losses(curves, chances)
    return low, high, max(last, 1.0)


def _shares(curves: Sequence[Curve], chances: Sequence[float]) -> tuple[float, float]:
    """From 0 to 100 %, or to just above the highest value when all are low."""
    values = [
        *(float(np.nanmax(curve.mean)) for curve in curves),
        *(float(np.nanmax(curve.high)) for curve in curves if np.isfinite(curve.high).any()),
    ]
    highest = max([*values, *chances], default=1.0)
    top = 1.0 if highest > 0.55 else max(0.05, 1.15 * highest)
    return -0.012 * top, min(1.02 * top, 1.02)


def _losses(curves: Sequence[Curve], chances: Sequence[float]) -> tuple[float, float]:
    """From 0 to a little above chance, or close around chance when nothing has left it."""
    means = [curve.mean[np.isfinite(curve.mean)] for curve in curves]
    values = np.concatenate(means) if means else np.array([0.0, 1.0])
    reference = max(chances, default=float(np.median(values)))
    usual = max((float(np.quantile(mean, 0.98)) for mean in means if len(mean)), default=reference)
    if 0.8 * reference < float(values.min()) and usual < 1.2 * reference:
        raw = [y[np.isfinite(y)] for curve in curves for _, y in curve.raw]
        near = np.concatenate([*raw, values, chances])
        near = near[np.abs(near - reference) < 0.3 * reference]
        margin = max(0.06 * float(np.ptp(near)), 0.005)
        return float(near.min()) - margin, float(near.max()) + margin
    top = min(max(1.06 * usual, 1.1 * reference), 1.35 * reference)
    return -0.012 * top, top


def _scale(axis: Axes, limits: Limits, percent: bool, ticks: int) -> None:
    low, high, last = limits
    axis.set_xlim(0, last)
    axis.set_ylim(low, high)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=ticks, integer=True, steps=TICKS))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=TICKS))
    if percent:
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{round(100 * y, 2):g} %"))
    axis.spines["bottom"].set_position(("outward", 3))
    axis.spines["left"].set_visible(False)


def _add_heading(axis: Axes, heading: str) -> None:
    """Bold text above the title of the first panel of a row."""
    axis.annotate(
        heading,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 22),
        textcoords="offset points",
        size=HEADING_SIZE,
        weight="bold",
    )


def _draw_curves(axis: Axes, panel: CurvePanel) -> None:
    """Chance, raw lines, bands, means and crosses, from back to front."""
    count = len(panel.curves)
    if panel.chance is not None:
        axis.axhline(panel.chance, color=NOTE_COLOUR, linewidth=1.0, linestyle=(0, (1, 2)))
    for curve in panel.context:
        axis.plot(curve.iterations, curve.mean, color="#d0d0d0", linewidth=0.7, zorder=2.05)
    are_raw_drawn = are_raw_lines_drawn(list(panel.curves.values()))
    for number, (line, curve) in enumerate(panel.curves.items()):
        colour = line.style.colour
        for x, y in curve.raw if are_raw_drawn else ():
            axis.plot(x, y, color=colour, alpha=0.28, linewidth=0.45, zorder=2.1)
        band = 0.2 if count <= 4 else 0.8 / count
        axis.fill_between(
            *(curve.iterations, curve.low, curve.high),
            color=colour, alpha=band, linewidth=0, zorder=2.2,
        )  # fmt: skip
        axis.plot(
            curve.iterations,
            curve.mean,
            color=colour,
            zorder=3,
            linewidth=1.2 if count > 8 else 1.7,
            linestyle=line.style.linestyle,
            marker=line.style.marker,
            markevery=_marker_positions(curve, number, count, axis.get_xlim()[1]),
            markeredgecolor="white",
            markersize=3.6 if count > 8 else 4.6,
        )
        _mark_divergence(axis, line, curve)


def _marker_positions(curve: Curve, number: int, lines: int, last: float) -> list[int]:
    """About six points along the line, staggered between lines so that markers do not meet."""
    wished = (np.arange(6) + (number + 0.5) / lines) / 6 * last
    wished = wished[wished <= curve.iterations[-1]]
    return sorted({int(i) for i in np.searchsorted(curve.iterations, wished)})


def _mark_divergence(axis: Axes, line: Line, curve: Curve) -> None:
    """A cross where a run diverged, at the edge when its loss had left the picture."""
    low, high = axis.get_ylim()
    for x, y in curve.stops:
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
