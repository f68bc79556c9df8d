"""Names of lines: directly at their ends where they fit, else in a legend outside the panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import offset_copy

from lenet_bench.reporting.figures.curves import Curve
from lenet_bench.reporting.figures.labels import spread
from lenet_bench.reporting.figures.layout import Line
from lenet_bench.reporting.figures.stylesheet import (
    CROSS,
    LABEL_SIZE,
    NOTE_COLOUR,
    NOTE_SIZE,
    text_width,
)
from lenet_bench.reporting.palette import Style

LABEL_HEIGHT = 0.148
"""Inches between two labels at line ends."""

LEGEND_SPACING = {"handlelength": 2.4, "handletextpad": 0.6, "columnspacing": 1.0, "borderpad": 0.2}
"""In units of the font size."""

HANDLE_WIDTH = (2.4 + 0.6 + 1.0) * LABEL_SIZE / 72
"""Inches that a legend needs beside a label: the sample of the line and the gaps."""


def end_label(line: Line, curve: Curve) -> str:
    """The line's name, and how many of its runs diverged."""
    if not curve.diverged:
        return line.label
    return f"{line.label} ({CROSS} {curve.diverged} of {max(curve.runs, curve.diverged)})"


def label_line_ends(axis: Axes, curves: Mapping[Line, Curve]) -> list[Annotation]:
    """Write each line's name beside its end; `separate_labels` then moves them apart."""
    low, high = axis.get_ylim()
    last = axis.get_xlim()[1]
    beside = offset_copy(axis.transAxes, axis.get_figure(root=True), x=12, units="points")
    labels = []
    for line, curve in curves.items():
        end = np.flatnonzero(np.isfinite(curve.mean))[-1]
        x, y = min(float(curve.iterations[end]), last), float(np.clip(curve.mean[end], low, high))
        leader = "-" if x >= 0.98 * last else (0, (1, 2))
        label = axis.annotate(
            end_label(line, curve),
            xy=(x, y),
            xytext=(1.0, y),
            textcoords=(beside, "data"),
            size=LABEL_SIZE,
            color=line.style.text_colour,
            va="center_baseline",
            annotation_clip=False,
            arrowprops={
                **{"arrowstyle": "-", "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.58)},
                **{"color": line.style.colour, "linewidth": 0.7, "linestyle": leader},
            },
        )
        labels.append(label)
    return labels


def separate_labels(axis: Axes, labels: Sequence[Annotation]) -> None:
    """Move labels apart; the panel's height must be final."""
    low, high = axis.get_ylim()
    height = axis.get_window_extent().height / axis.figure.dpi  # inches
    wished = [label.xyann[1] for label in labels]
    places = spread(wished, LABEL_HEIGHT * (high - low) / height, low, high)
    for label, place in zip(labels, places, strict=True):
        label.xyann = (label.xyann[0], place)


def label_chance(axis: Axes, chance: float, label: str) -> None:
    """Write what the dotted line of chance is, at its right end."""
    axis.annotate(
        label,
        xy=(1.0, chance),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2.5),
        textcoords="offset points",
        size=NOTE_SIZE,
        color=NOTE_COLOUR,
        ha="right",
        va="bottom",
        zorder=6,
        path_effects=[withStroke(linewidth=2.2, foreground="white")],
    )


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend with these labels fit into the width (inches)."""
    widths = [text_width(label, LABEL_SIZE) + HANDLE_WIDTH for label in labels]
    for rows in range(1, len(labels)):
        # Matplotlib fills a legend column by column.
        columns = [widths[i : i + rows] for i in range(0, len(labels), rows)]
        if sum(map(max, columns)) <= width:
            return len(columns)
    return 1


def add_legend_outside(
    figure: SubFigure, styles: Sequence[Style], labels: Sequence[str], columns: int
) -> None:
    """One legend for all panels, above them."""
    figure.legend(
        _samples(styles),
        list(labels),
        loc="outside upper left",
        ncols=columns,
        labelcolor=[style.text_colour for style in styles],
        **LEGEND_SPACING,
    )


def add_legend_above(
    axis: Axes, styles: Sequence[Style], labels: Sequence[str], columns: int, title: str
) -> None:
    """A legend of its own above one panel, under the panel's title."""
    axis.legend(
        _samples(styles),
        list(labels),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.3,
        ncols=columns,
        labelcolor=[style.text_colour for style in styles],
        title=title or None,
        alignment="left",
        **LEGEND_SPACING,
    )


def _samples(styles: Sequence[Style]) -> list[Line2D]:
    return [
        Line2D(
            [], [], color=style.colour, linestyle=style.linestyle, marker=style.marker,
            markeredgecolor="white", markersize=5,
        )
        for style in styles
    ]  # fmt: skip
