"""What the tests share: a quiet process, configurations as the command line gives them, data, the
command itself run in this process.

The suite leaves nothing behind: caches go to a temporary folder, runs to `tmp_path`.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from lenet_bench import __main__ as entry
from lenet_bench import datasets
from lenet_bench.config.parse import parse
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets import Dataset
from lenet_bench.execution import workers as local
from lenet_bench.execution.signals import SIGNALS
from lenet_bench.hydra_app.groups import CONF, VERSION_BASE
from lenet_bench.hydra_app.names import register_resolvers
from lenet_bench.hydra_app.plain import plain
from lenet_bench.records.run_directory import Run, read_status
from lenet_bench.training.loop import train_stack
from lenet_bench.training.recording import Outcome
from tests import warm

_caches = tempfile.TemporaryDirectory(prefix="lenet-bench-tests-")
for _variable in ("HYPOTHESIS_STORAGE_DIRECTORY", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
    os.environ[_variable] = str(Path(_caches.name) / _variable.lower())

# For the commands that tests start: two threads each crawl where other tests take the cores.
os.environ["OMP_NUM_THREADS"] = "1"

# Under `nohup` the commands that tests start would inherit that a hangup is ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Every test has exactly one tier: its own mark, or the tier of the folder it stands in.
TIERS = ("unit", "integration", "slow")
INTEGRATION_FOLDERS = ("tests", "commands", "execution", "hydra_app")


def tier_of(folder: str, fixtures: Collection[str], marks: Iterable[str]) -> str:
    """The tier of a test: that of its mark, else `integration` for what runs the command.

    Args:
        folder: The name of the folder that its file stands in.
        fixtures: The fixtures it uses.
        marks: The names of its marks.

    Raises:
        pytest.UsageError: It is marked with several tiers.
    """
    own = sorted(set(TIERS) & set(marks))
    if len(own) > 1:
        raise pytest.UsageError(f"a test has one tier, not {' and '.join(own)}")
    if own:
        return own[0]
    runs_the_command = folder in INTEGRATION_FOLDERS or "lenet" in fixtures
    return "integration" if runs_the_command else "unit"


@pytest.hookimpl(tryfirst=True)  # before pytest selects by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test its tier."""
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        tier = tier_of(item.path.parent.name, getattr(item, "fixturenames", ()), marks)
        if tier not in marks:
            item.add_marker(tier)


def pytest_configure() -> None:
    """Leave the other cores to other processes; small batches gain nothing from threads."""
    torch.set_num_threads(1)


def pytest_unconfigure() -> None:
    """Remove the caches."""
    _caches.cleanup()


Configure = Callable[..., RunConfig]


@cache
def _composed(overrides: tuple[str, ...]) -> RunConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        return parse(plain(compose("config", ["device=cpu", *overrides])))


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


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    folder: Path

    @property
    def sweeps(self) -> list[Path]:
        """The sweep directories that lie in the folder."""
        return sorted(path for path in (self.folder / "runs").glob("*") if path.is_dir())

    @property
    def runs(self) -> dict[str, Path]:
        """The run directories of the only sweep, by name."""
        (only,) = self.sweeps
        return {path.parent.name: path.parent for path in sorted(only.glob("*/status.json"))}


Lenet = Callable[..., Done]


def last_of_each(arguments: Iterable[str]) -> list[str]:
    """Of arguments with the same key the last, as a test replaces one of a list that it shares."""
    by_key = {text.partition("=")[0] if "=" in text else text: text for text in arguments}
    return list(by_key.values())


@pytest.fixture
def lenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: None) -> Lenet:
    """`lenet("lr=0.1", "seed=0,1")`: the command, run in this process, from tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    # A process that has loaded all the libraries has other threads; its memory is left alone.
    monkeypatch.setattr(local, "keep_memory", lambda: None)
    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", warm.spawn_from(warm.server()))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lenet-bench", *last_of_each(arguments)])
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            with pytest.raises(SystemExit) as ended:
                entry.main()
        finally:  # a command leaves the system's own
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Done(int(ended.value.code or 0), tmp_path)

    return run
