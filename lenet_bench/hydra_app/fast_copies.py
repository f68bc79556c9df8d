"""Fast copies of OmegaConf's configurations: as `copy.deepcopy` makes, about six times as fast.

In: a configuration. Out: a copy that shares nothing with it that could change. A sweep of 1,000
jobs makes 4,000 copies, and `copy.deepcopy` spends most of its time on finding out how a dataclass
is copied, for each node anew.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from functools import cache
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, Node, ValueNode

from lenet_bench.hydra_app.known_versions import knows_nodes

Config = TypeVar("Config", bound=Node)


def duplicate(config: Config, without: str | None = None) -> Config:
    """A deep copy of a configuration; its parent is the same.

    Args:
        config: The configuration.
        without: A key of it to leave out.
    """
    if not knows_nodes():
        result = copy.deepcopy(config)
        if without is not None and isinstance(result, DictConfig):
            result.__dict__["_content"].pop(without)
        return result
    return _duplicate(config, config.__dict__["_parent"], without)  # type: ignore[no-any-return]


def _duplicate(node: Any, parent: Any, without: str | None = None) -> Any:
    kind: Any = type(node)
    if not _is_plain(kind):
        result = copy.deepcopy(node)  # a union, which holds a node of its own
        result.__dict__["_parent"] = parent
        return result
    result = kind.__new__(kind)
    attributes = result.__dict__
    attributes.update(node.__dict__)
    attributes["_metadata"] = _metadata(node.__dict__["_metadata"])
    attributes["_parent"] = parent
    attributes["_flags_cache"] = None  # filled again when asked for
    content = attributes.get("_content")
    if isinstance(content, dict):
        attributes["_content"] = {
            key: _duplicate(child, result) for key, child in content.items() if key != without
        }
    elif isinstance(content, list):
        attributes["_content"] = [_duplicate(child, result) for child in content]
    return result


@cache
def _is_plain(kind: Any) -> bool:
    return issubclass(kind, (DictConfig, ListConfig, ValueNode))


def _metadata(metadata: Any) -> Any:
    result = object.__new__(type(metadata))
    result.__dict__.update(metadata.__dict__)
    result.flags = dict(metadata.flags) if metadata.flags is not None else None
    cache = metadata.resolver_cache
    result.resolver_cache = copy.deepcopy(cache) if cache else defaultdict(dict)
    return result
