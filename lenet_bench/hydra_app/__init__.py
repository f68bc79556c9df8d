"""The only room that knows Hydra: from a command line to the runs it asks for.

In: the arguments of `lenet-bench`. Out: checked configurations, run names, the sweep directory.
May import: `execution` and what it may import.

A command passes through these files in this order: `check` (with `overrides`, `keys`, `values`,
`hydra_settings` and `composer`) refuses mistakes; `sweep_directory` is called by Hydra when a sweep
starts, and `preview` shows its plan; `fast_composition` and `swept_groups` compose the jobs;
`names` names their directories; `task` is called for each job, and trains. What they know of the
running command is in `session`. `conf_files` writes the files of `conf/`.

Kept separate: `fast_jobs` and `fast_copies` do what Hydra and OmegaConf do, five times as fast, by
private parts of these libraries. They save 4 s of a sweep of 160 jobs. Nothing else uses private
attributes of configurations. `known_versions` decides whether the installed libraries are known;
if not, Hydra and OmegaConf do the work themselves, and only time is lost. The tests compare both
ways, node by node and byte by byte.
"""
