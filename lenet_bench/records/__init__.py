"""Run directories: what a run writes while it trains, and how it is read back.

In: configurations, rows, metrics and weights; later the directories. Out: `config.json`, CSVs,
`status.json` and `weights.pt`; later tidy pandas frames.
May import: `config`, `choices`, `common`.
"""
