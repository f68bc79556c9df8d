"""Pydantic's errors in the words of the command line.

In: an error of pydantic's and the configuration it was found in. Out: one line, such as
`lr=-1: must be greater than 0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic_core import ErrorDetails

from lenet_bench.config.errors import MISSING, as_typed, nearest
from lenet_bench.config.schema import RunConfig


def describe(error: ErrorDetails, composed: Mapping[str, Any]) -> str:
    """Describe an error of pydantic's as `key=value: what is allowed`.

    Pydantic reports a value once for each branch of its type and for each item of a list. Here they
    all become the same line about the whole value, and `ConfigError` holds it once.
    """
    names, schema = _key_and_schema(error["loc"])
    key, value, kind = ".".join(names), error["input"], error["type"]
    if value == MISSING or kind == "missing":
        return f"{key}: must be given, as in {key}=VALUE"
    if kind == "extra_forbidden":
        return f"{'.'.join([*names, str(error['loc'][-1])])}={value}: there is no such key"
    if kind == "union_tag_invalid":
        allowed = list(schema["discriminator"]["mapping"])
        near = nearest(str(value["name"]), allowed)
        return f"{key}={value['name']}: there is no such {key}; {near}allowed: {', '.join(allowed)}"
    value = _value_at(composed, names)
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if kind == "model_type":
        message = f"must be set key by key, as in {key}.KEY=VALUE"
    elif kind in ("too_short", "too_long"):
        message = message.replace("List should", "must").split(" after")[0]
    elif "pattern" in schema:
        message = "must be auto, cpu, mps, cuda or cuda:K"
    elif "anyOf" in schema or "items" in schema:
        message = f"must be {_in_words(schema)}"
    elif schema.get("type") in _NOUNS and kind not in _BEYOND_A_BOUND:
        message = f"must be {_in_words(schema)}"
        if kind == "finite_number":
            message = message.replace("a number", "a finite number")
    return f"{key}={as_typed(value)}: {message}{_hint_at_quotes(value)}"


def _hint_at_quotes(value: object) -> str:
    """A hint at text that would be a number or a switch without its quotes."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and re.fullmatch(_NUMBER_OR_SWITCH, item.strip(), re.I):
            return f"; '{item}' stands in quotes, which make it text: leave them out"
    return ""


_NUMBER_OR_SWITCH = r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|true|false|null"
_BEYOND_A_BOUND = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_NOUNS = {"integer": "an integer", "number": "a number", "boolean": "true or false"}
_BOUNDS = {
    "exclusiveMinimum": "greater than",
    "minimum": "greater than or equal to",
    "exclusiveMaximum": "less than",
    "maximum": "less than or equal to",
}


@cache
def _schema() -> dict[str, Any]:
    return RunConfig.model_json_schema()


def _key_and_schema(location: Sequence[str | int]) -> tuple[list[str], dict[str, Any]]:
    """The key that a location of pydantic's lies in, and the JSON schema of its values."""
    schema, names = _schema(), []
    for part in location:
        if "discriminator" in schema:  # the part is the choice, which is no part of the key
            schema = _resolve(schema["discriminator"]["mapping"][part])
        elif part in schema.get("properties", {}):
            names.append(str(part))
            schema = schema["properties"][part]
            schema = _resolve(schema["$ref"]) if "$ref" in schema else schema
        else:  # an item of a list, or a branch of a union
            break
    return names, schema


def _resolve(reference: str) -> dict[str, Any]:
    definition: dict[str, Any] = _schema()["$defs"][reference.rpartition("/")[2]]
    return definition


def _in_words(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows: "'auto' or an integer greater than or equal to 0"."""
    if "anyOf" in schema:
        return " or ".join(_in_words(branch) for branch in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"a list, each item {_in_words(schema['items'])}"
    noun = _NOUNS.get(schema["type"]) or {"string": "a text"}.get(schema["type"], schema["type"])
    bounds = [f"{words} {schema[key]}" for key, words in _BOUNDS.items() if key in schema]
    return f"{noun} {' and '.join(bounds)}" if bounds else noun


def _value_at(composed: Mapping[str, Any], names: Iterable[str]) -> Any:
    value: Any = composed
    for name in names:
        value = value[name]
    return value
