"""What the tests share: a quiet process, configurations as the command line gives them, data.

The suite leaves nothing behind: caches go to a temporary folder, runs to `tmp_path`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from lenet_bench import command_line, datasets, sweep
from lenet_bench.config import RunConfig, parse
from lenet_bench.datasets import Dataset
from lenet_bench.records import read_status
from lenet_bench.training import Outcome, Run, train_stack

_caches = tempfile.TemporaryDirectory(prefix="lenet-bench-tests-")
for _variable in ("HYPOTHESIS_STORAGE_DIRECTORY", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
    os.environ[_variable] = str(Path(_caches.name) / _variable.lower())

# For the commands that tests start: two threads each crawl where other tests take the cores.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure() -> None:
    """Leave the other cores to other processes; small batches gain nothing from threads."""
    torch.set_num_threads(1)


def pytest_unconfigure() -> None:
    """Remove the caches."""
    _caches.cleanup()


Configure = Callable[..., RunConfig]


@cache
def _composed(overrides: tuple[str, ...]) -> RunConfig:
    command_line.register_activations()
    sweep.register_resolvers()
    with initialize_config_dir(str(command_line.CONF), version_base=command_line.VERSION_BASE):
        return parse(sweep.plain(compose("config", ["device=cpu", *overrides])))


@pytest.fixture(scope="session")
def configure() -> Configure:
    """`configure("activation=tanh", "batch_size=8", seed=3)`: what a command line means.

    Overrides are Hydra's; keywords replace top-level values afterwards, which is much faster.
    """

    def configured(*overrides: str, **values: object) -> RunConfig:
        return _composed(overrides).model_copy(update=values)

    return configured


@pytest.fixture(scope="session")
def digits(configure: Configure) -> Dataset:
    """The embedded data set."""
    return load(configure("dataset=digits"))


@cache
def _loaded(settings: str, **arguments: Any) -> Dataset:
    return datasets.load(**arguments)


def load(config: RunConfig) -> Dataset:
    """The data set of a configuration, loaded once."""
    settings = config.dataset
    return _loaded(settings.model_dump_json(), **settings.model_dump(exclude_none=True))


@dataclass(frozen=True)
class Trained:
    """A run that was trained: how it ended, and what its directory tells."""

    config: RunConfig
    outcome: Outcome

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.outcome.directory

    @property
    def status(self) -> dict[str, Any]:
        """The content of `status.json`."""
        return read_status(self.directory)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The content of `weights.pt`."""
        content: dict[str, Tensor] = torch.load(self.directory / "weights.pt", weights_only=True)
        return content

    @cached_property
    def train(self) -> pd.DataFrame:
        """`train.csv`, floats as they were written."""
        return self._frame("train")

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """`evaluation.csv`."""
        return self._frame("evaluation")

    @cached_property
    def layers(self) -> pd.DataFrame:
        """`layers.csv`."""
        return self._frame("layers")

    def _frame(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.directory / f"{name}.csv")


def train(
    configs: Sequence[RunConfig], directory: Path, dataset: Dataset | None = None, **options: Any
) -> list[Trained]:
    """Train a stack below `directory`, a folder per run."""
    runs = [Run(config, directory / str(number)) for number, config in enumerate(configs)]
    outcomes = train_stack(runs, dataset or load(configs[0]), **options)
    return [Trained(config, outcome) for config, outcome in zip(configs, outcomes, strict=True)]
