"""Final validation loss against the learning rate, with the best rate of every line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lenet_bench.analysis.comparisons import panels_of
from lenet_bench.analysis.lines import describe_value, lines_in_order
from lenet_bench.analysis.outcomes import count, diverged, losses_to_choose_by
from lenet_bench.analysis.summary import group_keys, interval
from lenet_bench.analysis.tuning import rates_in_order, tuning_keys
from lenet_bench.reporting.figures import captions
from lenet_bench.reporting.figures.layout import activation_styles, by_family, family
from lenet_bench.reporting.figures.legends import add_legend_above, label_chance, legend_columns
from lenet_bench.reporting.figures.stylesheet import (
    CROSS,
    LEGEND_LINE,
    NOTE_COLOUR,
    WIDTH,
    X_AXIS_ROOM,
    new_figure,
    settle,
    style,
)
from lenet_bench.reporting.palette import Style
from lenet_bench.reporting.values import name_data, shared_settings, short_key

Floats = npt.NDArray[np.float64]

FEWEST_RATES = 3
MOST_LINES = 8
MOST_RATE_PANELS = 12
CROSS_ROOM = 0.05
"""Share of the height that the crosses of one line take above all means."""


@dataclass(frozen=True)
class RateLine:
    """One line of a panel: the loss at each rate (ascending).

    Attributes:
        label: The line's name.
        family: The family of its activation.
        style: How it is drawn.
        rates: The rates tried, ascending.
        mean: The mean loss at each.
        low: The lower end of its 95 % interval.
        high: The upper end.
        diverged: The rates at which runs diverged.
        best: The best rate, where one is known.
    """

    label: str
    family: str
    style: Style
    rates: Floats
    mean: Floats
    low: Floats
    high: Floats
    diverged: tuple[float, ...]
    best: float | None


@dataclass(frozen=True)
class RatePanel:
    """One pair of axes."""

    title: str
    lines: tuple[RateLine, ...]


@dataclass(frozen=True)
class RateFigure:
    """What the figure shows; `chance` is the loss of guessing where all data sets share it."""

    title: str
    panels: tuple[RatePanel, ...]
    chance: float | None
    caption: str


def has_learning_rates(summary: pd.DataFrame) -> bool:
    """Whether there is enough for `learning_rate`: three rates and a validation loss."""
    varies = "lr" in group_keys(summary) and summary["lr"].nunique() >= FEWEST_RATES
    return varies and bool(np.isfinite(losses_to_choose_by(summary)).any())


def learning_rate(summary: pd.DataFrame) -> Figure:
    """Final validation loss (nats) against the learning rate: mean and 95 % interval over seeds.

    A ring marks each line's best rate, grey ground what was not tried, a cross a rate at which runs
    diverged.

    Args:
        summary: The frame of `lenet_bench.analysis.summary.summarise`.
    """
    return _draw(_gather(summary))


def _gather(summary: pd.DataFrame) -> RateFigure:
    line_keys, panel_keys = tuning_keys(summary)
    summary = name_data(summary, summary)
    panels = [
        RatePanel(
            ", ".join(f"{short_key(key)} {describe_value(value)}" for key, value in values.items()),
            tuple(_lines(panel, line_keys, summary)),
        )
        for values, panel in panels_of(summary, panel_keys)
    ]
    panels, left_out = panels[:MOST_RATE_PANELS], panels[MOST_RATE_PANELS:]
    if len(panels) == 1 and len(panels[0].lines) > MOST_LINES:
        families = by_family(panels[0].lines, lambda line: line.family)
        panels = [RatePanel(name, tuple(lines)) for name, lines in families.items()]
    classes = summary["classes"].dropna().unique()
    any_diverged = any(line.diverged for panel in panels for line in panel.lines)
    caption = captions.join(
        [
            _seeds_in_words(summary),
            "A ring marks the best rate of a line over all seeds, grey what was not tried: a best "
            "rate at its border may lie beyond it.",
            f"{CROSS} at the top: runs diverged; they count with the loss of chance."
            if any_diverged
            else "",
            captions.left_out("; ".join(panel.title for panel in left_out)),
            shared_settings(summary),
        ]
    )
    return RateFigure(
        captions.titled("Validation loss and learning rate", summary),
        tuple(panels),
        float(np.log(classes[0])) if len(classes) == 1 else None,
        caption,
    )


def _lines(panel: pd.DataFrame, line_keys: list[str], summary: pd.DataFrame) -> list[RateLine]:
    parts = lines_in_order(panel, line_keys, among=summary)
    names = [str(runs["activation"].iloc[0]) for _, runs in parts]
    lines = []
    for (label, runs), name, look in zip(parts, names, activation_styles(names), strict=True):
        losses = count(runs, "final_validation_loss")
        rates = runs["lr"].astype("float64")
        grid = np.sort(rates.dropna().unique())
        bounds = [interval(losses[rates == rate]) for rate in grid]
        order = rates_in_order(runs)
        lines.append(
            RateLine(
                label=label,
                family=family(name),
                style=look,
                rates=grid,
                mean=np.array([one.mean for one in bounds]),
                low=np.array([one.low for one in bounds]),
                high=np.array([one.high for one in bounds]),
                diverged=tuple(float(r) for r in grid if diverged(runs)[rates == r].any()),
                best=order[0] if order else None,
            )
        )
    return lines


def _seeds_in_words(summary: pd.DataFrame) -> str:
    seeds = summary["seed"].nunique()
    if seeds < 2:
        return "One seed each: no interval."
    return f"Mean over up to {seeds} seeds with its 95 % interval (Student's t)."


def _draw(content: RateFigure) -> Figure:
    panels = content.panels
    columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    rows = -(-len(panels) // columns)
    panel_width = (WIDTH - 0.7) / columns - 0.15
    panel_height = {1: 3.1, 2: 2.3}.get(columns, 1.75)
    labels = [[line.label for line in panel.lines] for panel in panels]
    in_row = [legend_columns(names, panel_width) for names in labels]
    deepest = max(-(-len(names) // n) for names, n in zip(labels, in_row, strict=True))
    lines = [line for panel in panels for line in panel.lines]
    rates = np.unique(np.concatenate([line.rates for line in lines]))
    with style():
        above = LEGEND_LINE * (deepest + (len(panels) > 1)) + 0.15
        height = rows * (panel_height + above) + X_AXIS_ROOM
        figure, body = new_figure(content.title, content.caption, WIDTH, height)
        axes = list(body.subplots(rows, columns, squeeze=False).flat)
        for unused in axes[len(panels) :]:
            unused.remove()
        limits = _limits(panels, content.chance)
        for number, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
            _scale(axis, limits, rates, most_ticks=int(14 / columns))
            _draw_lines(axis, panel.lines)
            if content.chance is not None and content.chance < limits[1]:
                axis.axhline(content.chance, color=NOTE_COLOUR, linewidth=1, linestyle=(0, (1, 2)))
                label_chance(axis, content.chance, "chance")
            is_lowest = number + columns >= len(panels)
            axis.tick_params(labelleft=number % columns == 0, labelbottom=is_lowest)
            axis.set_xlabel("learning rate" if is_lowest else "")
            axis.set_ylabel("final validation loss (nats)" if number % columns == 0 else "")
            styles = [line.style for line in panel.lines]
            add_legend_above(axis, styles, labels[number], in_row[number], panel.title)
        settle(figure)
        figure.set_label(_describe(content))
        return figure


def _limits(panels: Sequence[RatePanel], chance: float | None) -> tuple[float, float]:
    """From 0 to the highest mean, but not far above chance: one bad rate would flatten the rest."""
    means = [line.mean[np.isfinite(line.mean)] for panel in panels for line in panel.lines]
    highest = max((float(mean.max()) for mean in means if len(mean)), default=1.0)
    top = 1.12 * highest if chance is None else min(1.12 * highest, 1.25 * chance)
    crosses = max(sum(bool(line.diverged) for line in panel.lines) for panel in panels)
    return -0.012 * top, top * (1 + CROSS_ROOM * crosses)


def _scale(axis: Axes, limits: tuple[float, float], rates: Floats, most_ticks: int) -> None:
    """A logarithmic axis with the rates as ticks, and grey ground beyond what was tried."""
    margin = (rates[-1] / rates[0]) ** 0.08
    axis.set_xscale("log")
    axis.set_xlim(rates[0] / margin, rates[-1] * margin)
    axis.set_ylim(*limits)
    axis.axvspan(rates[0] / margin, rates[0], color="#eeeeee", linewidth=0, zorder=0)
    axis.axvspan(rates[-1], rates[-1] * margin, color="#eeeeee", linewidth=0, zorder=0)
    axis.xaxis.set_major_locator(FixedLocator(rates[:: -(-len(rates) // most_ticks)].tolist()))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))


def _draw_lines(axis: Axes, lines: Sequence[RateLine]) -> None:
    high = axis.get_ylim()[1]
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
        best = line.mean[line.rates == line.best] if line.best is not None else np.array([])
        if line.best is not None and np.isfinite(best).any():
            axis.plot(
                [line.best],
                best,
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


def _describe(content: RateFigure) -> str:
    """The figure in words: the best rate of every line."""
    parts = [f"{content.title}: final validation loss (nats) at every rate tried."]
    for panel in content.panels:
        best = [
            f"{line.label} {line.mean[line.rates == line.best][0]:.3g} at {line.best:g}"
            for line in panel.lines
            if line.best is not None
        ]
        if best:
            where = f"{panel.title}: best" if panel.title else "Best:"
            parts.append(f"{where} {', '.join(best)}.")
    return " ".join(parts)
