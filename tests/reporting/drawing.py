"""Sweeps to draw, and what can be read off a figure once it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from lenet_bench.records.loading import Sweep
from lenet_bench.reporting import figures
from tests.fabricate import descent, write_run


def write_three(directory: Path, seeds: int = 3, iterations: int = 200) -> Path:
    """Runs of sigmoid, tanh and ReLU."""
    for activation, plateau in (("sigmoid", 80.0), ("tanh", 5.0), ("relu", 10.0)):
        for seed in range(seeds):
            losses = descent(iterations, seed, plateau=plateau)
            dead = {"fc1": 0.2} if activation == "relu" else None
            write_run(
                directory,
                f"{activation}-{seed}",
                losses,
                activation=activation,
                seed=seed,
                dead=dead,
            )
    return directory


def every_figure(sweep: Sweep) -> list[Figure]:
    return [
        figures.training_loss(sweep.train, sweep.runs),
        figures.validation_accuracy(sweep.evaluation, sweep.runs),
        figures.dead_fraction(sweep.layers, sweep.runs),
    ]


def visible_texts(figure: Figure) -> list[Text]:
    """Every visible piece of text after a real drawing."""
    cast(Any, FigureCanvasAgg(figure)).draw()
    unseen = set()  # matplotlib keeps the labels of ticks just outside the axes, undrawn
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            outside = [t for t in axis.get_major_ticks() if not low <= t.get_loc() <= high]
            unseen |= {label for tick in outside for label in (tick.label1, tick.label2)}
    texts = [t for t in figure.findobj(Text) if isinstance(t, Text) and t not in unseen]
    return [t for t in texts if t.get_visible() and t.get_text().strip()]


def assert_all_text_fits(figure: Figure) -> None:
    """No text leaves the canvas, and no two labels of a figure overlap."""
    # An annotation's own extent would hold its leader too, which may pass a neighbour.
    extents = [(text, Text.get_window_extent(text)) for text in visible_texts(figure)]
    texts, boxes = zip(*((t, box) for t, box in extents if box.width > 0), strict=True)
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text.get_text()!r} leaves the canvas"
    for i, first in enumerate(boxes):
        for j in range(i):
            other = boxes[j]
            x = min(first.x1, other.x1) - max(first.x0, other.x0)
            y = min(first.y1, other.y1) - max(first.y0, other.y0)
            # A label's box holds room for descenders; three pixels of it may be shared.
            assert x < 1 or y < 3, f"{texts[i].get_text()!r} over {texts[j].get_text()!r}"


def all_text(figure: Figure) -> str:
    """Everything that a figure says, whatever the line breaks."""
    return " ".join(" ".join(text.get_text().split()) for text in visible_texts(figure))
