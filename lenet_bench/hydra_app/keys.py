"""Keys of a configuration: whether they exist, what to say where they do not, setting them.

In: an override and a composed configuration as plain containers. Out: a message, or a copy of the
configuration.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from lenet_bench.config.errors import nearest
from lenet_bench.hydra_app.overrides import Given


def unknown_key(item: Given, config: Mapping[str, Any]) -> str | None:
    """What to say about a key that the configuration does not have; None if it has it."""
    node: Any = config
    path: list[str] = []
    for part in item.key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            break
        node = node[part]
        path.append(part)
    else:
        return None
    above = ".".join(path)
    text = item.with_value(item.values[0])
    if not isinstance(node, Mapping):
        return f"{text}: {above} holds a value, no keys"
    prefix = f"{above}." if above else ""
    siblings = [key for key in node if key not in ("name", "_target_")]
    where = f"{above}={node['name']}" if "name" in node and len(path) == 1 else above
    elsewhere = [key for key in _all_keys(config) if not key.endswith(".name")]
    near = nearest(part, siblings, prefix) or ("" if above else nearest(part, elsewhere))
    return (
        f"{text}: {where or 'the configuration'} has no such key; "
        f"{near}it has {', '.join(prefix + key for key in siblings) or 'none'}"
    )


def there_already(item: Given) -> str:
    """What to say about `+KEY=VALUE` where the key exists."""
    return f"{item.text}: {item.key} is there already; leave out the +"


def with_key(config: Mapping[str, Any], item: Given, value: object) -> dict[str, Any]:
    """A copy of a configuration with one key set, or removed."""
    result = copy.deepcopy(dict(config))
    node = result
    *path, last = item.key.split(".")
    for part in path:
        node = node[part]
    if item.override.is_delete():
        node.pop(last, None)
    else:
        node[last] = value
    return result


def _all_keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _all_keys(value, f"{prefix}{key}.")
        yield f"{prefix}{key}"
