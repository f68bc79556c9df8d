"""From the runs of sweeps to numbers and verdicts: summaries, comparisons, tuned learning rates.

In: the frames that `records` reads. Out: the frames of `summary.csv`, `comparisons.csv` and
`tuned.csv`, and the one rule for what a run counts as that diverged or did not end (`outcomes`).
Nothing here draws, prints or imports torch.
May import: `records`, `choices`, `common`.
"""

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
