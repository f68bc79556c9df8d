"""A map of the units that are dead at the end, by learning rate and one other number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet_bench.analysis.lines import describe_value, holding, lines_in_order, ordered
from lenet_bench.analysis.outcomes import final_fractions
from lenet_bench.analysis.summary import group_keys
from lenet_bench.reporting.figures import captions
from lenet_bench.reporting.figures.stylesheet import (
    CROSS,
    NOTE_SIZE,
    X_AXIS_ROOM,
    new_figure,
    settle,
    style,
)
from lenet_bench.reporting.values import shared_settings

MOST_CELLS, MOST_PANELS = 15, 12
CELL_WIDTH, CELL_HEIGHT = 0.62, 0.4
"""Inches."""

FEWEST_INCHES, MOST_INCHES = 5.0, 11.0


@dataclass(frozen=True)
class Map:
    """The cells of one activation: rows are values of the other number, columns learning rates.

    `dead` is the mean share of dead units (NaN where it is unknown), `diverged` counts runs.
    """

    title: str
    dead: npt.NDArray[np.float64]
    diverged: npt.NDArray[np.int64]


@dataclass(frozen=True)
class PhaseDiagram:
    """What the figure shows: the same rates and values on the axes of every map."""

    title: str
    key: str
    rates: tuple[str, ...]
    values: tuple[str, ...]
    maps: tuple[Map, ...]
    caption: str


def phase_key(runs: pd.DataFrame) -> str | None:
    """The one number that varies besides `lr`, for `phase_diagram`; else `None`."""
    varying = group_keys(runs)
    others = [key for key in varying if key not in ("activation", "lr")]
    if "lr" not in varying or len(others) != 1:
        return None
    (key,) = others
    is_number = pd.api.types.is_numeric_dtype(runs[key]) and not pd.api.types.is_bool_dtype(
        runs[key]
    )
    activations = runs["activation"].nunique()
    if not is_number or (key.startswith("activation.") and activations > 1):
        return None
    fits = max(runs["lr"].nunique(), runs[key].nunique(dropna=False)) <= MOST_CELLS
    return key if fits and activations <= MOST_PANELS else None


def phase_diagram(layers: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Share of hidden units dead at a run's last probe, by learning rate and one other number.

    A cell is the mean over seeds; there is a panel per activation.

    Args:
        layers: `Sweep.layers`: a row per run, probe and layer.
        runs: `Sweep.runs`, for which `phase_key` names the other number.
    """
    return _draw(_gather(layers, runs))


def _gather(layers: pd.DataFrame, runs: pd.DataFrame) -> PhaseDiagram:
    key = phase_key(runs)
    if key is None:
        raise ValueError("runs must vary in lr and one other number")
    dead = final_fractions(layers)["dead_fraction"]
    known = runs.assign(dead=runs["run"].map(dead).astype("float64"))
    rates, values = ordered(known["lr"]), ordered(known[key])[::-1]
    maps = []
    for label, group in lines_in_order(known, ["activation"]):
        cells = [[holding(holding(group, key, v), "lr", lr) for lr in rates] for v in values]
        maps.append(
            Map(
                label,
                np.array([[cell["dead"].mean() for cell in row] for row in cells]),
                np.array([[(cell["status"] == "diverged").sum() for cell in row] for row in cells]),
            )
        )
    caption = captions.join(
        [
            "Mean over seeds of the last probe, in % of all hidden units. "
            f"{CROSS}: runs that diverged; one that did so before its first probe in training has "
            "no value.",
            shared_settings(runs),
        ]
    )
    return PhaseDiagram(
        captions.titled("Dead units at the end", runs),
        key,
        tuple(map(describe_value, rates)),
        tuple(map(describe_value, values)),
        tuple(maps),
        caption,
    )


def _draw(content: PhaseDiagram) -> Figure:
    panel_width = CELL_WIDTH * len(content.rates) + 0.25
    panel_height = CELL_HEIGHT * len(content.values) + 0.3
    room = int((MOST_INCHES - 0.8) / panel_width)
    columns = max(1, min(len(content.maps), room))
    rows = -(-len(content.maps) // columns)
    width = max(0.8 + columns * panel_width, FEWEST_INCHES)
    with style():
        height = rows * panel_height + X_AXIS_ROOM
        figure, body = new_figure(content.title, content.caption, width, height)
        axes = list(body.subplots(rows, columns, squeeze=False).flat)
        for unused in axes[len(content.maps) :]:
            unused.remove()
        for number, (axis, cells) in enumerate(zip(axes, content.maps, strict=False)):
            _draw_map(axis, cells)
            is_lowest = number + columns >= len(content.maps)
            axis.set_xticks(range(len(content.rates)), content.rates)
            axis.set_yticks(range(len(content.values)), content.values)
            axis.tick_params(length=0, labelleft=number % columns == 0, labelbottom=is_lowest)
            axis.set_xlabel("learning rate" if is_lowest else "")
            axis.set_ylabel(content.key if number % columns == 0 else "")
        settle(figure)
        figure.set_label(_describe(content))
        return figure


def _draw_map(axis: Axes, cells: Map) -> None:
    """A number in every cell, so that nothing depends on the colours."""
    axis.imshow(cells.dead, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for (row, column), share in np.ndenumerate(cells.dead):
        count = cells.diverged[row, column]
        number = "" if np.isnan(share) else f"{100 * share:.0f}"
        axis.text(
            column,
            row,
            "\n".join(filter(None, [number, f"{CROSS}{count}" if count else ""])),
            ha="center",
            va="center",
            size=NOTE_SIZE,
            linespacing=0.95,
            color="white" if share > 0.5 else "#222222",
        )
    axis.set_title(cells.title)
    axis.grid(visible=False)
    for side in axis.spines.values():
        side.set_visible(False)


def _describe(content: PhaseDiagram) -> str:
    """The figure in words: the highest cell of every map."""
    parts = [f"{content.title} in % of all hidden units, by learning rate and {content.key}."]
    for cells in content.maps:
        if np.isfinite(cells.dead).any():
            row, column = np.unravel_index(np.nanargmax(cells.dead), cells.dead.shape)
            parts.append(
                f"{cells.title}: at most {100 * cells.dead[row, column]:.0f} %, at learning rate "
                f"{content.rates[column]} and {content.key} {content.values[row]}."
            )
    return " ".join(parts)
