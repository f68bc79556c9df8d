"""A table in its three forms: terminal, Markdown, HTML."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pytest
from rich.console import Console

from lenet_bench.reporting.tables.table import (
    Table,
    as_html,
    as_markdown,
    as_text,
    make_table,
    print_table,
)

TABLE = make_table(
    ["claim", "verdict", "effect"],
    [
        ["[bold]a|b[/bold] & <c>", "supported", "-1.5 [-2, -1]"],
        ["d", "\N{CJK UNIFIED IDEOGRAPH-6CE2}", "0"],
    ],
    first_number="effect",
    caption="What <this> is.",
    sentences=("claim",),
)


def test_columns_are_words_sentences_and_numbers() -> None:
    assert TABLE.kinds == ("sentence", "word", "number")
    assert make_table(["a", "b"], []).kinds == ("word", "word")


def test_text_has_straight_columns_and_takes_no_cell_for_markup() -> None:
    header, first, second = as_text(TABLE).splitlines()
    assert header.split() == ["claim", "verdict", "effect"]
    assert first == "[bold]a|b[/bold] & <c>  supported  -1.5 [-2, -1]"
    # An ideograph is two columns wide.
    assert second == f"d{' ' * 23}\N{CJK UNIFIED IDEOGRAPH-6CE2}{' ' * 9}0"


def test_a_terminal_too_narrow_for_a_table_gets_it_unbroken() -> None:
    stream = io.StringIO()
    print_table(TABLE, Console(file=stream, width=20, force_terminal=True), "The title")
    assert "The title" in stream.getvalue()
    cells = [line.split("  ") for line in stream.getvalue().splitlines()]
    whole = [[cell.strip() for cell in line if cell.strip()] for line in cells]
    assert all(list(row) in whole for row in TABLE.rows)


def test_markdown_keeps_bars_inside_their_cell() -> None:
    assert as_markdown(TABLE).splitlines() == [
        "| claim | verdict | effect |",
        "| --- | --- | --- |",
        r"| [bold]a\|b[/bold] & <c> | supported | -1.5 [-2, -1] |",
        "| d | \N{CJK UNIFIED IDEOGRAPH-6CE2} | 0 |",
    ]


def test_html_is_well_formed_and_escaped() -> None:
    root = ElementTree.fromstring(as_html(TABLE))
    assert root.get("class") == "scroll"
    caption = root.find("table/caption/span")
    assert caption is not None
    assert caption.text == TABLE.caption
    rows = [[cell.text for cell in row] for row in root.iter("tr")]
    assert rows == [list(TABLE.headers), *map(list, TABLE.rows)]
    kinds = [[cell.get("class", "word") for cell in row] for row in root.iter("tr")]
    assert kinds == [list(TABLE.kinds)] * 3


def test_a_row_that_lacks_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="the same length"):
        Table(("a", "b"), (("1",),), ("word", "word"))
