"""What can be chosen on the command line: activations, initial weights, optimizers, schedules.

In: names and parameters. Out: one list per group with an entry per choice: its formula, its
parameters, what is known about it. Importing this room does not import torch, so that `--help` and
a mistake are answered at once.
May import: `common`.
"""
