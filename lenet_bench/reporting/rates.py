"""Figures over the learning rate: frames in, Figures out.

The loss at every rate tried, with each line's best, and, where one other number varies as well, a
map of the units that are dead at the end. They are composed like the figures against the iteration
(`lenet_bench.reporting.figures`), in the same style and colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lenet_bench.analysis.comparisons import panels_of
from lenet_bench.analysis.lines import describe_value, lines_in_order, ordered
from lenet_bench.analysis.summary import group_keys, interval
from lenet_bench.analysis.tuning import rates_in_order, tuning_keys, validation_losses
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.reporting.figures import (
    CAPTION_SIZE,
    CROSS,
    LABEL_SIZE,
    TITLE_SIZE,
    Ruler,
    common_value,
    settings_in_words,
    style,
    wrap,
)
from lenet_bench.reporting.palette import Style, activation_style

Floats = npt.NDArray[np.float64]

FEWEST_RATES = 3
MOST_LINES = 8
MOST_RATE_PANELS = 12
MOST_CELLS = 15
LEFT, RIGHT, GAP = 0.72, 0.2, 0.5
MOST_WIDTH = 11.0
CROSS_ROOM = 0.05
"""Share of the height that the crosses of one line take above all means."""


@dataclass(frozen=True)
class _Series:
    """One line of a panel: the loss at each rate (ascending), and where its best is."""

    label: str
    family: str
    style: Style
    rates: Floats
    mean: Floats
    low: Floats
    high: Floats
    diverged: tuple[float, ...]
    best: float | None


def has_rates(summary: pd.DataFrame) -> bool:
    """Whether there is enough for `learning_rate`: three rates and a validation loss."""
    varies = "lr" in group_keys(summary) and summary["lr"].nunique() >= FEWEST_RATES
    return varies and bool(np.isfinite(validation_losses(summary)).any())


def learning_rate(summary: pd.DataFrame) -> Figure:
    """Final validation loss (nats) against the learning rate: mean and 95 % interval over seeds.

    Takes `lenet_bench.analysis.summary.summarise`'s frame. A ring marks each line's best
    rate, grey ground what was not tried, a cross a rate at which runs diverged.
    """
    line_keys, panel_keys = tuning_keys(summary)
    panels = {
        ", ".join(f"{key} {describe_value(value)}" for key, value in values.items()): _series(
            panel, line_keys
        )
        for values, panel in panels_of(summary, panel_keys)
    }
    left_out = list(panels)[MOST_RATE_PANELS:]
    panels = dict(list(panels.items())[:MOST_RATE_PANELS])
    if len(panels) == 1 and len(next(iter(panels.values()))) > MOST_LINES:
        panels = _by_family(next(iter(panels.values())))
    classes = summary["classes"].dropna().unique()
    chance = float(np.log(classes[0])) if len(classes) == 1 else None
    remarks = [
        _seeds_in_words(summary),
        "A ring marks the best rate of a line over all seeds, grey",
    ]
    remarks[-1] += " what was not tried: a best rate at its border may lie beyond it."
    if any(one.diverged for lines in panels.values() for one in lines):
        remarks.append(f"{CROSS} at the top: runs diverged; the mean is over the others.")
    if left_out:
        remarks.append(f"Not shown, for room: {'; '.join(left_out)}.")
    return _draw_rates(panels, chance, summary, remarks)


def phase_key(runs: pd.DataFrame) -> str | None:
    """The one number that varies besides `lr`, for `phase_diagram`; else `None`."""
    others = [key for key in group_keys(runs) if key not in ("activation", "lr")]
    if "lr" not in group_keys(runs) or len(others) != 1:
        return None
    (key,) = others
    number = pd.api.types.is_numeric_dtype(runs[key]) and not pd.api.types.is_bool_dtype(runs[key])
    if not number or (key.startswith("activation.") and runs["activation"].nunique() > 1):
        return None
    fits = max(runs["lr"].nunique(), runs[key].nunique()) <= MOST_CELLS
    return key if fits and runs["activation"].nunique() <= MOST_RATE_PANELS else None


def phase_diagram(layers: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Share of hidden units dead at a run's last probe, by learning rate and one other number.

    Takes the frames `layers` and `runs` of a sweep for which `phase_key` names the other
    number. A cell is the mean over seeds; a panel per activation.
    """
    key = phase_key(runs)
    if key is None:
        raise ValueError("runs must vary in lr and one other number")
    dead = final_dead_fraction(layers)
    known = runs.assign(dead=runs["run"].map(dead).astype("float64"))
    rates, values = ordered(known["lr"]), ordered(known[key])[::-1]
    panels = lines_in_order(known, ["activation"])
    cell_width, cell_height = 0.62, 0.4
    room = (MOST_WIDTH - LEFT) / (cell_width * len(rates) + GAP)
    columns = max(1, min(len(panels), int(room)))
    rows = -(-len(panels) // columns)
    width = LEFT + columns * (cell_width * len(rates) + GAP) + 0.1
    width = max(width, 5.0)
    remarks = [
        "Mean over seeds of the last probe, in % of all hidden units; "
        f"{CROSS}: runs that diverged, of which those without a probe in training do not count."
    ]
    caption = wrap(" ".join([*remarks, settings_in_words(runs)]), width - 0.24, CAPTION_SIZE)
    panel_height = cell_height * len(values)
    head, foot = 0.36, 0.62 + 0.135 * len(caption)
    height = head + rows * (panel_height + 0.34) + (rows - 1) * 0.3 + foot
    with style():
        figure = Figure(figsize=(width, height))
        for number, (label, group) in enumerate(panels):
            row, column = divmod(number, columns)
            x = LEFT + column * (cell_width * len(rates) + GAP)
            y = height - head - (row + 1) * (panel_height + 0.34) - row * 0.3
            box = (x, y, cell_width * len(rates), panel_height)
            axis = _axes(figure, box)
            _cells(axis, group, key, rates, values)
            axis.set_title(label)
            axis.set_xlabel("learning rate" if number + columns >= len(panels) else "")
            axis.set_ylabel(key if column == 0 else "")
        _words(figure, f"Dead units at the end{_where(runs)}", caption)
        return figure


def final_dead_fraction(layers: pd.DataFrame) -> pd.Series[float]:
    """By run: the share of all hidden units that were dead at its last probe in training.

    A run that diverged before it has none: units that were born dead tell nothing of its end.
    """
    rows = layers[layers["dead_fraction"].notna() & layers["units"].notna()]
    last = rows.groupby("run", observed=True)["iteration"].transform("max")
    rows = rows[(rows["iteration"] == last) & (last > 0)]
    names = rows["run"].astype(str)
    dead = (rows["dead_fraction"] * rows["units"]).groupby(names).sum()
    return dead / rows["units"].groupby(names).sum()


def _series(panel: pd.DataFrame, line_keys: list[str]) -> list[_Series]:
    found = []
    names: list[str] = []
    for label, runs in lines_in_order(panel, line_keys):
        losses = validation_losses(runs)
        rates = runs["lr"].astype("float64")
        grid = np.sort(rates.dropna().unique())
        bounds = [interval(losses[rates == rate]) for rate in grid]
        name = str(runs["activation"].iloc[0])
        entry = ACTIVATIONS.get(name)
        order = rates_in_order(runs)
        found.append(
            _Series(
                label,
                entry.family if entry else "custom",
                activation_style(name, names.count(name)),
                grid,
                np.array([one.mean for one in bounds]),
                np.array([one.low for one in bounds]),
                np.array([one.high for one in bounds]),
                tuple(float(rate) for rate in grid if np.isinf(losses[rates == rate]).any()),
                order[0] if order else None,
            )
        )
        names.append(name)
    return found


def _by_family(lines: list[_Series]) -> dict[str, list[_Series]]:
    """Too many lines for one panel: a panel per family, and one for those that are alone."""
    families: dict[str, list[_Series]] = {}
    for line in lines:
        families.setdefault(line.family, []).append(line)
    alone = [name for name, members in families.items() if len(members) == 1]
    if len(alone) > 1:
        families["others"] = [families.pop(name)[0] for name in alone]
    return families


def _draw_rates(
    panels: dict[str, list[_Series]],
    chance: float | None,
    summary: pd.DataFrame,
    remarks: list[str],
) -> Figure:
    with style():
        columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
        rows = -(-len(panels) // columns)
        width = 7.2
        panel_width = (width - LEFT - RIGHT - (columns - 1) * 0.25) / columns
        panel_height = {1: 3.1, 2: 2.3}.get(columns, 1.75)
        legends = _legends(panels, panel_width)
        depth = max(len(legend) for legend in legends)
        title_room = (0.2 if len(panels) > 1 else 0.06) + 0.19 * depth
        caption = wrap(
            " ".join([*filter(None, remarks), settings_in_words(summary)]),
            width - 0.24,
            CAPTION_SIZE,
        )
        head, foot, between = 0.42, 0.62 + 0.135 * len(caption), 0.3
        height = head + rows * (panel_height + title_room) + (rows - 1) * between + foot
        figure = Figure(figsize=(width, height))
        everything = [line for lines in panels.values() for line in lines]
        crosses = max(sum(bool(line.diverged) for line in lines) for lines in panels.values())
        limits = _limits(everything, chance)
        limits = limits[0], limits[1] * (1 + CROSS_ROOM * crosses)
        rates = np.unique(np.concatenate([line.rates for line in everything]))
        for number, (title, lines) in enumerate(panels.items()):
            row, column = divmod(number, columns)
            x = LEFT + column * (panel_width + 0.25)
            y = height - head - (row + 1) * (panel_height + title_room) - row * between
            axis = _axes(figure, (x, y, panel_width, panel_height))
            _fill(axis, lines, limits, rates, chance)
            axis.tick_params(labelleft=column == 0, labelbottom=number + columns >= len(panels))
            if number + columns >= len(panels):
                axis.set_xlabel("learning rate")
            if column == 0:
                axis.set_ylabel("final validation loss (nats)")
            if title:
                top = y + panel_height + 0.2 + 0.19 * len(legends[number])
                figure.text(x / width, top / height, title, size=9, va="top")
            _legend(figure, legends[number], (x, y + panel_height + 0.13))
        _words(figure, f"Validation loss and learning rate{_where(summary)}", caption)
        return figure


def _legends(
    panels: dict[str, list[_Series]], width: float
) -> list[list[list[tuple[_Series, float]]]]:
    """Per panel: rows of lines with their x (inches from the panel's left), the top row first."""
    ruler = Ruler()
    legends = []
    for lines in panels.values():
        rows: list[list[tuple[_Series, float]]] = [[]]
        x = 0.0
        for line in lines:
            room = 0.4 + ruler.width(line.label, LABEL_SIZE) + 0.14
            if x + room > width + 0.14 and rows[-1]:
                rows.append([])
                x = 0.0
            rows[-1].append((line, x))
            x += room
        legends.append(rows)
    return legends


def _legend(
    figure: Figure, rows: list[list[tuple[_Series, float]]], corner: tuple[float, float]
) -> None:
    """Lines and labels above a panel whose upper left corner is given in inches."""
    width, height = figure.get_size_inches()
    for number, row in enumerate(reversed(rows)):
        y = (corner[1] + 0.19 * number) / height
        for line, offset in row:
            x = corner[0] + offset
            handle = Line2D(
                [x / width, (x + 0.16) / width, (x + 0.32) / width],
                [y] * 3,
                color=line.style.colour,
                linestyle=line.style.linestyle,
                marker=line.style.marker,
                markevery=[1],
                markeredgecolor="white",
                transform=figure.transFigure,
                figure=figure,
            )
            figure.add_artist(handle)
            figure.text(
                (x + 0.4) / width,
                y,
                line.label,
                size=LABEL_SIZE,
                va="center_baseline",
                color=line.style.text_colour,
            )


def _limits(lines: Sequence[_Series], chance: float | None) -> tuple[float, float]:
    """From 0 to the highest mean, but not far above chance: one bad rate would flatten the rest."""
    highest = max((float(np.nanmax(one.mean)) for one in lines if _any(one.mean)), default=1.0)
    top = 1.12 * highest if chance is None else min(1.12 * highest, 1.25 * chance)
    return -0.012 * top, top


def _any(values: Floats) -> bool:
    return bool(np.isfinite(values).any())


def _fill(
    axis: Axes,
    lines: list[_Series],
    limits: tuple[float, float],
    rates: Floats,
    chance: float | None,
) -> None:
    low, high = limits
    axis.set_xscale("log")
    margin = (rates[-1] / rates[0]) ** 0.08
    axis.set_xlim(rates[0] / margin, rates[-1] * margin)
    axis.set_ylim(low, high)
    axis.axvspan(rates[0] / margin, rates[0], color="#eeeeee", linewidth=0, zorder=0)
    axis.axvspan(rates[-1], rates[-1] * margin, color="#eeeeee", linewidth=0, zorder=0)
    axis.xaxis.set_major_locator(FixedLocator(_ticks(rates, axis.get_position().width)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    if chance is not None and chance < high:
        axis.axhline(chance, color="#555555", linewidth=1.0, linestyle=(0, (1, 2)), zorder=2)
        axis.text(
            0.99,
            chance + 0.012 * high,
            "chance",
            size=7.5,
            color="#555555",
            ha="right",
            va="bottom",
            transform=axis.get_yaxis_transform(),
            zorder=6,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )
    crosses = 0
    for line in lines:
        colour = line.style.colour
        axis.vlines(line.rates, line.low, line.high, color=colour, linewidth=0.9, alpha=0.7)
        axis.plot(
            line.rates,
            line.mean,
            color=colour,
            linestyle=line.style.linestyle,
            marker=line.style.marker,
            markeredgecolor="white",
            zorder=3,
        )
        if line.best is not None and _any(line.mean[line.rates == line.best]):
            axis.plot(
                [line.best],
                line.mean[line.rates == line.best],
                marker="o",
                markersize=9.5,
                markerfacecolor="none",
                markeredgecolor=colour,
                markeredgewidth=1.3,
                clip_on=False,
                zorder=4,
            )
        crosses += bool(line.diverged)
        axis.plot(
            line.diverged,
            [high * (1 - CROSS_ROOM * (crosses - 0.5))] * len(line.diverged),
            linestyle="none",
            marker="x",
            markersize=5,
            markeredgewidth=1.5,
            color=colour,
            zorder=5,
        )


def _ticks(rates: Floats, width: float) -> list[float]:
    """The rates themselves, thinned until their labels fit (`width` is a share of the figure)."""
    most = max(2, int(16 * width))
    step = -(-len(rates) // most)
    return [float(rate) for rate in rates[::step]]


def _cells(axis: Axes, runs: pd.DataFrame, key: str, rates: list[Any], values: list[Any]) -> None:
    """One heat map; numbers in the cells, so that nothing depends on the colours."""
    table = np.full((len(values), len(rates)), np.nan)
    for i, value in enumerate(values):
        for j, rate in enumerate(rates):
            here = runs[(runs[key] == value) & (runs["lr"] == rate)]
            table[i, j] = here["dead"].mean()
            diverged = int((here["status"] == "diverged").sum())
            number = "" if np.isnan(table[i, j]) else f"{100 * table[i, j]:.0f}"
            marks = f"{CROSS}{diverged}" if diverged else ""
            axis.text(
                j,
                i,
                "\n".join(filter(None, [number, marks])),
                ha="center",
                va="center",
                size=7.5,
                linespacing=0.95,
                color="white" if table[i, j] > 0.5 else "#222222",
            )
    axis.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axis.set_xticks(range(len(rates)), [describe_value(rate) for rate in rates])
    axis.set_yticks(range(len(values)), [describe_value(value) for value in values])
    axis.tick_params(length=0)
    axis.grid(visible=False)
    for side in axis.spines.values():
        side.set_visible(False)


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes at x, y, width and height in inches from the lower left corner."""
    width, height = figure.get_size_inches()
    return figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))


def _words(figure: Figure, title: str, caption: list[str]) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.12 / width, 1 - 0.12 / height, title, size=TITLE_SIZE, weight="bold", va="top")
    for i, text in enumerate(caption):
        y = (0.1 + 0.135 * (len(caption) - 1 - i)) / height
        figure.text(0.12 / width, y, text, size=CAPTION_SIZE, color="#555555", va="bottom")


def _where(runs: pd.DataFrame) -> str:
    where = common_value(runs, "dataset")
    return f" on {where}" if where else ""


def _seeds_in_words(summary: pd.DataFrame) -> str:
    seeds = summary["seed"].nunique()
    if seeds < 2:
        return "One seed each: no interval."
    return f"Mean over up to {seeds} seeds with its 95 % interval (Student's t)."
