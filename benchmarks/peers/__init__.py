"""The same training as users of other tools write it: a file and a function `train` for each.

In: the workload, how many models or loader processes to use, and a pacer, which `train` ticks after
every iteration. Out: losses, through the pacer. It trains until the pacer ends it.
"""
