"""Tortures a sweep: kills and failures at every step of its records, and at random moments.

In: the command. Out: how many rows were lost or doubled, which files differ from those of an
undisturbed sweep, which processes were left behind. `make torture` does all of it;
`test_torture.py` is the short part that belongs to the test suite.
"""
