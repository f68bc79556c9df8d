"""From OmegaConf's containers to Python's.

In: a configuration that Hydra composed. Out: nested dicts and lists, without the `hydra` node.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration without its `hydra` node, as plain containers."""
    content: Any = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for key, value in config.items_ex(resolve=False)
        if key != "hydra"
    }
    if "${" in str(content):  # resolving takes much longer
        content = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    return {str(key): value for key, value in content.items()}
