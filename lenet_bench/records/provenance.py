"""Which software made the numbers: versions of the libraries, and the source of the code.

In: nothing. Out: what `status.json` and `plan.json` say of them.
"""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_bench.choices.custom import digest_of_source
from lenet_bench.common.files import digest_of_files

if TYPE_CHECKING:
    from lenet_bench.config.schema import RunConfig

PACKAGES = ("lenet-bench", "torch", "torchvision", "hydra-core", "numpy")
"""Those that take part in the computation."""

ROOMS = ("choices", "config", "datasets", "model", "training")
"""Those whose source decides the numbers of a run."""


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


@cache
def source_digest() -> str:
    """Sixteen hexadecimal digits that tell the source of `ROOMS` from every other."""
    package = Path(__file__).resolve().parent.parent
    files = sorted(path for room in ROOMS for path in (package / room).rglob("*.py"))
    return digest_of_files((package, file) for file in files)


def digest_of_module(config: RunConfig) -> dict[str, str | None]:
    """Return what tells a user's own module as it is now, under `module`; nothing for others."""
    path = config.activation.parameters.get("path")
    return {} if path is None else {"module": digest_of_source(str(path))}


@cache
def processor() -> str:
    """The name of the processor, as Linux tells it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


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
