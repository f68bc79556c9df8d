"""Reading what sweeps left behind: run directories in, tidy frames and statistics out."""

from __future__ import annotations

from lenet_bench.analysis.loading import Sweep, load_sweep, varying_keys
from lenet_bench.analysis.summary import summarise, summarise_groups

__all__ = ["Sweep", "load_sweep", "summarise", "summarise_groups", "varying_keys"]
