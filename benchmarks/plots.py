"""Draws the figures of the benchmarks, in the style of the project.

In: the frames that are also written as CSVs. Out: matplotlib figures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lenet_bench.reporting.figures import style
from lenet_bench.reporting.palette import BLACK, BLUE, ORANGE, SKY, VERMILLION

LENET_BENCH, OTHERS, ARITHMETIC = BLUE, "#9a9a9a", VERMILLION
FLOOR = "floor"


def throughput(summary: pd.DataFrame, caption: str) -> Figure:
    """Plot milliseconds per model and iteration: a bar per method, its range as a line."""
    shown = summary[summary["best"] & summary["method"].ne(FLOOR)]
    shown = shown.sort_values("ms_median").reset_index(drop=True)
    floor = summary[summary["method"] == FLOOR]["ms_median"].min()
    with style():
        figure = Figure(figsize=(7.2, 1.25 + 0.27 * len(shown)), layout="constrained")
        axis = figure.subplots()
        places = np.arange(len(shown))
        colours = [
            LENET_BENCH if str(name).startswith("ours") else OTHERS for name in shown["method"]
        ]
        axis.barh(places, shown["ms_median"], color=colours, height=0.62)
        axis.hlines(places, shown["ms_min"], shown["ms_max"], color=BLACK, linewidth=1)
        right = float(shown["ms_max"].max())
        for place, (median, most) in enumerate(
            zip(shown["ms_median"], shown["ms_max"], strict=True)
        ):
            axis.text(most + 0.012 * right, place, f"{median:.1f}", va="center_baseline", size=8)
        if not np.isnan(floor):
            axis.axvline(floor, color=ARITHMETIC, linewidth=1, linestyle=(0, (1.2, 1.2)))
            axis.annotate(
                f"the arithmetic alone, at the rate of sgemm: {floor:.2f} ms",
                (floor, 0.0), xycoords=("data", "axes fraction"),
                xytext=(6, 4), textcoords="offset points", color=ARITHMETIC, size=7.5,
            )  # fmt: skip
        axis.set_yticks(places, list(shown["label"]))
        axis.set_ylim(len(shown) - 0.1, -0.6)
        axis.set_xlim(0, right * 1.1)
        axis.set_xlabel("ms per model and iteration (bar: median, line: range)")
        axis.grid(visible=True, axis="x")
        axis.grid(visible=False, axis="y")
        axis.set_title(caption)
    return figure


def scaling(frame: pd.DataFrame, titles: dict[str, str], caption: str) -> Figure:
    """Plot how the cost grows: a small panel for each question.

    Args:
        frame: A row per setting and round: `panel`, `setting`, `value`, `ms_per_model_iteration`.
            A setting without a `value` is a bar.
        titles: The title of each panel, by its name.
        caption: The title of the figure.
    """
    panels = [panel for panel in titles if panel in set(frame["panel"])]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        figure = Figure(figsize=(max(6.4, 2.9 * columns), 0.5 + 2.2 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis in axes[len(panels) :]:
            axis.remove()
        for axis, panel in zip(axes, panels, strict=False):
            part = frame[frame["panel"] == panel]
            named = part["value"].isna().any()
            key = "setting" if named else "value"
            times = part.groupby(key, sort=not named)["ms_per_model_iteration"]
            medians, least, most = times.median(), times.min(), times.max()
            if named:
                places = np.arange(len(medians))
                axis.barh(places, medians, color=SKY, height=0.62)
                axis.hlines(places, least, most, color=BLACK, linewidth=1)
                axis.set_yticks(places, list(medians.index))
                axis.invert_yaxis()
                axis.grid(visible=True, axis="x")
                axis.grid(visible=False, axis="y")
            else:
                x = medians.index.to_numpy(dtype=float)
                axis.vlines(x, least, most, color=ORANGE, linewidth=1)
                axis.plot(x, medians, color=BLUE, marker="o")
                axis.set_xscale("log", base=2)
                axis.set_xticks(x, [f"{value:,.0f}" for value in x])
                axis.minorticks_off()
                axis.set_ylim(0, float(most.max()) * 1.08)
            axis.set_title(titles[panel])
        figure.suptitle(caption, x=0.01, ha="left", size=9)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG."""
    with style():
        for ending in ("png", "svg"):
            figure.savefig(folder / f"{name}.{ending}")
