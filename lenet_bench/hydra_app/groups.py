"""Where the configuration lies, and how Hydra is to read it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries `conf` inside the package; a checkout has it beside.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
VERSION_BASE = "1.3"


def quote(path: Path) -> str:
    """Quote a path for Hydra's grammar, whatever characters are in it."""
    return "'" + str(path).replace("'", r"\'") + "'"
