"""The same training as users of other tools write it: one file per tool, each a function `train`.

A `train` function receives the workload, a pacer that it ticks after every iteration, and how many
models or loader processes to use. It trains until the pacer ends it.
"""
