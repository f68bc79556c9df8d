"""`status.json`, believed only if every field that a reader uses has the type that is written.

In: a run directory. Out: the content, or a `DamageError` that names the field, its value and what
it must be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from lenet_bench.records.damage import DamageError, read_json, shown
from lenet_bench.records.schema import METRICS, names

STATUS = "status.json"

Status = Literal["running", "finished", "diverged", "interrupted", "failed"]

_Check = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)  # the loss of a run that exploded may be any of these
    except OverflowError:
        return False  # an integer that no float64 holds


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and 0 <= value < 2**53


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_classes(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return _is_count(value)


def _or_null(check: Callable[[Any], bool], words: str) -> _Check:
    return (lambda value: value is None or check(value)), f"{words}, or null"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_STATUSES = get_args(Status)
_FIELDS: Mapping[str, _Check] = MappingProxyType(
    {
        "status": ((lambda value: value in _STATUSES), f"one of {', '.join(_STATUSES)}"),
        "iteration": (_is_count, "a whole number from 0"),
        "iterations": _or_null(_is_count, "a whole number from 0"),
        "seconds": _or_null(_is_positive, "a number from 0"),
        **{
            name: _or_null(_is_text, "text")
            for name in ("error", "device", "commit", "started", "ended")
        },
        "dataset": _or_null(_is_object, "an object"),
        "metrics": _or_null(_is_object, "an object"),
        "files": _or_null(_is_object, "an object"),
    }
)
_DATASET_FIELDS: Mapping[str, _Check] = MappingProxyType(
    {
        "fingerprint": _or_null(_is_text, "text"),
        "classes": _or_null(_is_classes, "a whole number, or names"),
    }
)
_METRIC_FIELDS: Mapping[str, _Check] = MappingProxyType(
    {
        name: _or_null(_is_fraction, "a number from 0 to 1")
        if name.endswith("accuracy")
        else _or_null(_is_positive, "a number from 0")
        for name in names(METRICS)
    }
)


def read_stored_status(directory: Path) -> dict[str, Any]:
    """Read and check `status.json`.

    Raises:
        DamageError: It cannot be read, or says what this program never writes.
    """
    path = directory / STATUS
    content = read_json(path)
    if not isinstance(content, dict):
        raise DamageError(path, f"is {shown(content)} instead of an object")
    for name in ("status", "iteration"):
        if name not in content:
            raise DamageError(path, f"says no {name}")
    _check(path, content, _FIELDS)
    _check(path, content.get("dataset") or {}, _DATASET_FIELDS, "dataset.")
    _check(path, content.get("metrics") or {}, _METRIC_FIELDS, "metrics.")
    return content


def _check(
    path: Path, content: Mapping[str, Any], fields: Mapping[str, _Check], prefix: str = ""
) -> None:
    for name, (is_right, words) in fields.items():
        value = content.get(name)
        if name in content and not is_right(value):
            raise DamageError(path, f"{prefix}{name} is {shown(value)}; it must be {words}")
