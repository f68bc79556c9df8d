"""What is wrong with a file of a run: the error that names it, and JSON and YAML read with care.

In: a file, a line of it, and words; or a file to be read. Out: a `DamageError`; or plain content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lenet_bench.common.errors import UserError
from lenet_bench.common.regular_files import read_regular
from lenet_bench.common.text import printable

_LARGEST = 1 << 24  # bytes of a JSON or YAML file; a run's take less than a hundredth of that
_LONGEST = 60
_MOST_VALUES = 100_000
_DEEPEST = 20


class DamageError(UserError):
    """A file of a run directory that cannot be believed.

    Args:
        path: The file.
        problem: What is wrong, as the rest of a sentence that begins with the file.
        line: The line of the file, from 1.
    """

    def __init__(self, path: Path, problem: str, line: int | None = None) -> None:
        place = str(path) if line is None else f"{path}, line {line}"
        super().__init__(printable(f"{place}: {problem}"))


class MissingFileError(DamageError):
    """A file that is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "is missing")


def shown(value: object) -> str:
    """A value as JSON writes it, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def refuse_overgrown(path: Path, content: Any, most_values: int = _MOST_VALUES) -> None:
    """Refuse content that is not made of plain values, or unfolds into very many.

    YAML can name a part and repeat it: a few lines then unfold into billions of values.

    Raises:
        DamageError: It is not plain, too deep or too large.
    """
    left = most_values
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= 1
        if depth > _DEEPEST:
            raise DamageError(path, f"is nested more than {_DEEPEST} levels deep")
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise DamageError(path, "has a key that is no text")
            inside = list(value.values())
        elif isinstance(value, list):
            inside = value
        elif value is None or isinstance(value, str | bool | int | float):
            continue
        else:
            raise DamageError(path, f"holds a value of the type {type(value).__name__}")
        if len(inside) + len(waiting) > left:
            raise DamageError(path, f"holds more than {most_values:,} values")
        waiting += [(item, depth + 1) for item in inside]


def read_text(path: Path, at_most: int = _LARGEST) -> str:
    """Read a text of a run directory.

    Raises:
        DamageError: It is missing, cannot be read, is no text, or unreasonably large.
    """
    try:
        text = read_regular(path, at_most).decode("utf-8")
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except OSError as error:
        raise DamageError(path, error.strerror or "cannot be read") from None
    except UnicodeDecodeError as error:
        raise DamageError(path, f"is not UTF-8 text from byte {error.start + 1} on") from None
    if "\0" in text:
        raise DamageError(path, "holds NUL bytes: a part of it was lost")
    return text


def read_json(path: Path, at_most: int = _LARGEST, most_values: int = _MOST_VALUES) -> Any:
    """Read a JSON file of a run directory.

    Args:
        path: The file.
        at_most: How many bytes it may hold.
        most_values: How many values it may hold.

    Raises:
        MissingFileError: There is none.
        DamageError: It cannot be read, is not JSON, or holds too much.
    """
    text = read_text(path, at_most)

    def refuse(constant: str) -> NoReturn:
        raise DamageError(path, f"holds {constant}, which JSON does not have")

    try:
        content = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise DamageError(path, f"is not JSON ({error.msg})", error.lineno) from None
    except (ValueError, RecursionError):
        raise DamageError(path, "is not JSON of a reasonable size") from None
    refuse_overgrown(path, content, most_values)
    return content
