"""The one style of all figures: the sheet, an empty figure with title and caption, saving.

`lenet_bench.mplstyle` is applied under a lock because matplotlib keeps its settings in a global;
pyplot is never used. Titles, captions, legends and axes are placed by matplotlib's constrained
layout.
"""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from lenet_bench.reporting.figures.fonts import drawable, families, prepare

STYLE_SHEET = Path(__file__).with_name("lenet_bench.mplstyle")

WIDTH = 7.2
"""Inches: readable at the width of a page, and at half of it."""

TITLE_SIZE, HEADING_SIZE, LABEL_SIZE, NOTE_SIZE = 11.5, 9.5, 8.5, 7.5
NOTE_COLOUR = "#555555"
CROSS = "\N{MULTIPLICATION SIGN}"
EDGE = 0.1
"""Inches between the content and the edge of the figure."""

TITLE_ROOM, CAPTION_LINE, LEGEND_LINE, X_AXIS_ROOM = 0.4, 0.14, 0.2, 0.45
"""Inches that a figure's height must hold for them; the layout engine does the exact placing."""

_style_lock = threading.RLock()


@contextmanager
def style() -> Iterator[None]:
    """Apply the project's style while the block runs; one thread at a time."""
    with _style_lock, matplotlib.rc_context(fname=STYLE_SHEET):
        yield


def new_figure(title: str, caption: str, width: float, height: float) -> tuple[Figure, SubFigure]:
    """An empty figure and the part of it that the panels go into.

    Args:
        title: Stands above everything, on the left.
        caption: Stands below everything; it is broken into lines here.
        width: Inches.
        height: Inches for the panels, with all that belongs to them; title and caption come on top.
    """
    title, caption = drawable(title), drawable(caption)
    lines = wrap(caption, width - 2 * EDGE, NOTE_SIZE)
    total = height + TITLE_ROOM + CAPTION_LINE * len(lines) + 2 * EDGE
    engine = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.06, wspace=0.03, hspace=0.01)
    figure = Figure(figsize=(width, total), layout=engine)
    FigureCanvasAgg(figure)
    # A figure's title and a legend outside the axes would be given the same room; a subfigure
    # keeps them apart.
    body = figure.subfigures()
    assert isinstance(body, SubFigure)
    left = EDGE / width
    figure.suptitle(title, x=left, ha="left", size=TITLE_SIZE, weight="bold")
    figure.supxlabel("\n".join(lines), x=left, ha="left", size=NOTE_SIZE, color=NOTE_COLOUR)
    return figure, body


def settle(figure: Figure) -> None:
    """Compute the layout once and keep it: what is measured now is what will be saved."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        prepare(text)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break text into lines of at most `width` inches: a letter is at most 0.54 em wide."""
    return textwrap.wrap(text, max(8, int(width * 72 / (0.54 * size))))


def text_width(text: str, size: float) -> float:
    """The inches that a line of text takes."""
    text = drawable(text)
    font = FontProperties(family=families(text), size=size)
    with style():  # dollar signs are no formula here either
        return float(TextPath((0, 0), text, prop=font).get_extents().width) / 72


def alternative_text(figure: Figure) -> str:
    """What the figure shows, in words, for those who do not see it."""
    return str(figure.get_label())


def save(figure: Figure, path: Path) -> bytes:
    """The figure's bytes in the format that the path's suffix names (png, svg)."""
    buffer = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with style():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
