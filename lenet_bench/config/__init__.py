"""A run's configuration: typed, checked, and every mistake reported at once.

In: the mapping that Hydra composed. Out: a frozen `RunConfig`, or a `ConfigError` with a line per
mistake. Nothing here imports torch.
May import: `choices`, `common`.
"""
