"""Configurations for tests: as Hydra composes them, changed, and what `parse` says of them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from lenet_bench.config.errors import ConfigError
from lenet_bench.config.parse import parse
from lenet_bench.hydra_app.groups import CONF, VERSION_BASE
from lenet_bench.hydra_app.names import register_resolvers
from lenet_bench.hydra_app.plain import plain


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """What Hydra makes of a command line, as plain containers."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        return plain(compose("config", [*overrides]))


def changed(key: str, value: object, *overrides: str) -> dict[str, Any]:
    """A composed configuration with one key set."""
    config = pickle.loads(pickle.dumps(composed(*overrides)))
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[part]
    node[last] = value
    return config  # type: ignore[no-any-return]


def mistakes(config: Mapping[str, Any]) -> list[str]:
    """What `parse` has to say."""
    with pytest.raises(ConfigError) as caught:
        parse(config)
    return caught.value.problems
