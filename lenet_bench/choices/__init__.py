"""What can be chosen on the command line: activations, initial weights, optimizers, schedules.

In: names and parameters. Out: one table per group, an entry per choice, with its formula, its
parameters and what is known about it. Nothing here imports torch when it is imported, so that
`--help` and a mistake answer at once.
May import: `common`.
"""
