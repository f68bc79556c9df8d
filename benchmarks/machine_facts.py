"""Facts of the machine that a measurement depends on: processor, cores, versions, command.

In: nothing. Out: facts for the JSON file beside every table.
"""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lenet_bench.common.machine import available_cores
from lenet_bench.records.provenance import commit

PACKAGES = (
    *("lenet-bench", "torch", "torchvision", "numpy", "hydra-core", "pillow"),
    *("lightning", "jax", "jaxlib", "hydra-joblib-launcher", "joblib"),
)


def facts() -> dict[str, Any]:
    """Collect the facts of this machine and process."""
    return {
        "cpu": processor(),
        "cores": len(available_cores()),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "load_before": os.getloadavg()[0],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory_bytes() -> int:
    """Physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def version(package: str) -> str | None:
    """The installed version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
