"""One sweep from its plan to its outcomes: worker processes, signals, progress.

In: the configurations of a sweep. Out: trained runs, and how each of them ended.
May import: `training`, `planning` and what these may import.
"""
