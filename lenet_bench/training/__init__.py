"""From a configuration to a trained run.

In: the runs of one stack and their data set. Out: a closed run directory and an `Outcome` per run.
Read in this order: `loop`; `setup` and `build`; `step`; `recording`, `probes` and `evaluation`.
May import: `records`, `model`, `datasets`, `config`, `choices`, `common`.
"""
