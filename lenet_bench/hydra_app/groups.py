"""Where the configuration lies, and how Hydra is to read it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries `conf` inside the package; a checkout has it beside.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
VERSION_BASE = "1.3"


def register_activations() -> None:
    """Make every entry of the zoo a choice of the group `activation`."""
    from hydra.core.config_store import ConfigStore

    from lenet_bench.choices.activations import ACTIVATIONS

    for entry in ACTIVATIONS.values():
        node = {"name": entry.name, **entry.complete()}
        ConfigStore.instance().store(
            group="activation", name=entry.name, node=node, provider="lenet_bench"
        )
