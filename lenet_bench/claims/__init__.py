"""Claims about activation functions, each with a decision rule in code, and verdicts on them.

In: the runs of a preset, or measured costs of activations. Out: a verdict per claim with the
numbers behind it, and the frames of `claims.csv` and `evidence.csv`.
May import: `analysis`, and what `analysis` may import; `model` where a claim is computed.
"""
