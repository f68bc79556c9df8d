"""Configurations as the command line composes them, for benchmarks that train in this process.

In: overrides. Out: a `RunConfig`.
"""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from lenet_bench.config.parse import parse
from lenet_bench.config.schema import RunConfig
from lenet_bench.hydra_app.groups import CONF, VERSION_BASE
from lenet_bench.hydra_app.names import register_resolvers
from lenet_bench.hydra_app.plain import plain


def configured(*overrides: str) -> RunConfig:
    """The configuration that these overrides mean."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        return parse(plain(compose("config", list(overrides))))
