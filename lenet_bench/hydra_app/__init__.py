"""The only room that knows Hydra: from a command line to the runs it asks for.

In: the arguments of `lenet-bench`. Out: checked configurations, run names, the sweep directory.
May import: `execution` and what it may import.
"""
