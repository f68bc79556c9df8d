"""Reading what sweeps left behind: run directories in, tidy frames and statistics out."""

from __future__ import annotations

from lenet_bench.analysis.comparisons import pairwise
from lenet_bench.analysis.summary import summarise, summarise_groups
from lenet_bench.analysis.tuning import reporting_runs, tuned_rates
from lenet_bench.records.loading import Sweep, load_sweep, varying_keys

__all__ = [
    "Sweep",
    "load_sweep",
    "pairwise",
    "reporting_runs",
    "summarise",
    "summarise_groups",
    "tuned_rates",
    "varying_keys",
]
