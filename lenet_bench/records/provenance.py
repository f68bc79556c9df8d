"""Which software made the numbers: versions of the libraries, and the commit of the source.

In: nothing. Out: what `status.json` says of them.
"""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("lenet-bench", "torch", "torchvision", "hydra-core", "numpy")
"""Those that take part in the computation."""


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of `PACKAGES`."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def commit() -> str | None:
    """The git commit of the source, with `+` behind it where files differ; None outside git."""
    source = Path(__file__).resolve()
    try:
        # The source may be installed below a repository that is not its own.
        _git(source.parent, "ls-files", "--error-unmatch", source.name)
        described = _git(
            source.parent, "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.strip() or None


def _git(folder: Path, *arguments: str) -> str:
    """What a git command prints."""
    # The user's own git, found as their shell finds it; no argument comes from a file.
    return subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=folder,
        capture_output=True,
        check=True,
        text=True,
        timeout=10,
    ).stdout
