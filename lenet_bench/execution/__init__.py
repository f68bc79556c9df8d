"""One sweep from its plan to its outcomes: worker processes, signals, progress.

In: the parsed configurations of a sweep, by the directories of its runs. Out: trained runs, and how
each of them ended. Stacks are trained on this machine; there is no other engine so far.
May import: `training`, `planning` and what these may import.
"""
