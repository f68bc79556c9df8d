"""LeNet under every activation function, measured fairly.

Importing the package is cheap: nothing heavy is loaded until it is asked for.
`lenet_bench.load_sweep(path)` reads the runs that a sweep left behind, and
`lenet_bench.load_model(path)` gives the network that one of them trained.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenet_bench.records.loading import Sweep, load_sweep
    from lenet_bench.training.saved_model import load_model

    __version__: str

__all__ = ["Sweep", "__version__", "load_model", "load_sweep"]


def __getattr__(name: str) -> Any:
    if name in ("Sweep", "load_sweep"):
        return getattr(import_module("lenet_bench.records.loading"), name)
    if name == "load_model":
        return getattr(import_module("lenet_bench.training.saved_model"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("lenet-bench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
