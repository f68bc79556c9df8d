"""The choices that each group must have, by the tables and the files that they come from.

A new file of `conf/` is a new choice; the tests compare what the program says with the disk.
"""

from __future__ import annotations

from pathlib import Path

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.schedules import SCHEDULES

CONF = Path(__file__).resolve().parents[2] / "conf"


def files(group: str) -> list[str]:
    """The choices of a group that is nothing but its files, as they lie in the checkout."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


CHOICES = {
    "activation": [*ACTIVATIONS, "custom"],
    "init": [*SCHEMES],
    "optimizer": [*OPTIMIZERS],
    "schedule": [*SCHEDULES],
    "dataset": files("dataset"),
    "model": files("model"),
    "experiment": files("experiment"),
    "hydra/launcher": ["stacked", "basic"],
}
