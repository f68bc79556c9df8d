"""Text of others in CSVs that people open in a spreadsheet: nothing of it is executed there.

In: a frame. Out: its CSV; later, the text of a column as it was before. Names of folders, values of
the configuration and errors may come from others. A spreadsheet takes a cell for a formula if it
begins with one of a few characters; such a text gets an apostrophe before it. Where lists are
written with commas, as in German, spreadsheets split lines at semicolons; so this is done behind
each semicolon, too. Numbers stay as they are. What is not printable, such as the end of a line, is
escaped.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from lenet_bench.common.text import printable

# The signs of a formula, also as wide as East Asian letters, which some spreadsheets take for them.
# The tab and the ends of lines that count too are never there: they are escaped. A text with an
# apostrophe gets another one, so that no text is changed by writing and reading it.
_STARTS = re.compile("(^|;)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20'])")
_MARKED = re.compile("(^|;)'")
_NUMBER = re.compile(r"[+-](\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-](inf|nan)", re.IGNORECASE)


def spreadsheet_csv(frame: pd.DataFrame) -> str:
    """Write a frame as a CSV, without its index."""
    safe = frame.copy(deep=False)
    for name in frame:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            cells = [_safe(cell) for cell in frame[name]]
            safe[name] = pd.Series(cells, index=frame.index, dtype=object)
    return safe.rename(columns=_safe).to_csv(index=False)


def plain_text(column: pd.Series[str]) -> pd.Series[str]:
    """The text of a column of such a CSV as it was before, apart from what is escaped."""
    return column.str.replace(_MARKED, r"\1", regex=True)


def _safe(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return text if _NUMBER.fullmatch(text) else _STARTS.sub(r"\1'", text)
