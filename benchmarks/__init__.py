"""Benchmarks: how fast lenet-bench is beside its alternatives, and how its cost grows.

In: command lines. Out: tables, figures and facts of the machine below `runs/`. Not part of the
wheel. May import: `lenet_bench`.
"""
