"""What a run costs, and which runs are trained together.

In: the configurations of a sweep. Out: estimates of time and memory, and stacks. Nothing here
imports torch.
May import: `config`, `choices`, `common`.
"""
