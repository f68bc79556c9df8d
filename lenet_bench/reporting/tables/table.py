"""A table as data, and the three forms it is shown in: terminal text, Markdown and HTML."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import rich.box
import rich.table
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from lenet_bench.common.text import printable
from lenet_bench.reporting.templates import render

Kind = Literal["word", "number", "sentence"]
"""What a column holds: numbers stand on the right in HTML, and only sentences are broken there."""

# What GitHub's Markdown acts on. An underscore within a word is none, nor most colons and dots.
_MARKUP = re.compile(
    r"[\\`*\[\]<>&|~$!#@]|(?<![^\W_])_|_(?![^\W_])|:(?=//|[\w+-]+:)|(?<=www)\.", re.IGNORECASE
)

UNBROKEN_WIDTH = 10_000
"""Columns of a terminal that no line of a table reaches."""


@dataclass(frozen=True)
class Table:
    """Headers and rows of ready-made text.

    Attributes:
        headers: The names of the columns.
        rows: The cells, as many in a row as there are headers.
        kinds: What each column holds.
        caption: What a reader must know to read it.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kinds: tuple[Kind, ...]
    caption: str = ""

    def __post_init__(self) -> None:
        lengths = {len(self.headers), len(self.kinds), *map(len, self.rows)}
        if len(lengths) > 1:
            raise ValueError("headers, kinds and every row of a table must have the same length")


def make_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    first_number: str | None = None,
    caption: str = "",
    sentences: Sequence[str] = (),
) -> Table:
    """A table whose columns are words before one of them and numbers from it on.

    Args:
        headers: The names of the columns.
        rows: The cells.
        first_number: The header of the first column of numbers, if there are any.
        caption: What a reader must know to read it.
        sentences: The headers of columns that hold whole sentences.
    """
    start = len(headers) if first_number is None else list(headers).index(first_number)
    kinds: tuple[Kind, ...] = tuple(
        "sentence" if header in sentences else "word" if position < start else "number"
        for position, header in enumerate(headers)
    )
    return Table(
        tuple(map(printable, headers)),
        tuple(tuple(map(printable, row)) for row in rows),
        kinds,
        printable(caption),
    )


def print_table(table: Table, console: Console, title: str = "") -> None:
    """Print a table to the terminal under a title, without its caption.

    Lines are never broken, and the text is plain away from a terminal.
    """
    plain = not console.is_terminal
    shown = rich.table.Table(
        title=Text(printable(title), style="bold") if title else None,
        title_justify="left",
        box=None if plain else rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 2, 0, 0) if plain else (0, 1),
    )
    for header in table.headers:
        shown.add_column(Text(header), no_wrap=True, overflow="ignore")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    if plain or Console(width=UNBROKEN_WIDTH).measure(shown).maximum > console.width:
        console = Console(
            file=console.file,
            width=UNBROKEN_WIDTH,
            force_terminal=console.is_terminal,
            color_system="auto" if console.is_terminal else None,
        )
    console.print(shown, crop=False, soft_wrap=True)


def as_text(table: Table) -> str:
    """The table as plain text, without its caption and without spaces at the ends of lines."""
    stream = io.StringIO()
    print_table(table, Console(file=stream, width=UNBROKEN_WIDTH))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def as_markdown(table: Table) -> str:
    """The table in GitHub's Markdown, without its caption."""
    lines = [table.headers, ("---",) * len(table.headers), *table.rows]
    escaped = ([cell.replace("|", r"\|") for cell in cells] for cells in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def markdown_text(text: str) -> str:
    """Text of others for a cell of a Markdown table: no link, HTML or formatting comes of it."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", text)


def as_html(table: Table) -> Markup:
    """The table with its caption, in a box that scrolls sideways where it is too wide."""
    return render("table.html", table=table)
