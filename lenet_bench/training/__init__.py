"""From a configuration to a trained run: build, step, loop, probes, evaluation.

In: the runs of one stack and their data set. Out: a closed run directory and an `Outcome` per run.
May import: `records`, `model`, `datasets`, `config`, `choices`, `common`.
"""
