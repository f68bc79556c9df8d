"""Reading run directories back: directories in, tidy pandas frames out.

A run directory is read from its own files alone (`config.json`, `status.json` and three CSVs),
without torch and without Hydra. Files that this program cannot have written are refused, by the
name of the file, the line and what is wrong; no other part of such a run is used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from lenet_bench.common.errors import UserError
from lenet_bench.common.regular_files import read_regular
from lenet_bench.common.text import printable
from lenet_bench.records.configuration import flatten, has_configuration, read_configuration
from lenet_bench.records.damage import DamageError
from lenet_bench.records.file_facts import TABLES, WEIGHTS, damage
from lenet_bench.records.run_directory import ENDED
from lenet_bench.records.run_tables import Expected, read_content, read_table
from lenet_bench.records.schema import METRICS, RUN_TABLES, dtypes, names
from lenet_bench.records.stored_status import STATUS, read_stored_status

log = logging.getLogger(__name__)

OUTCOMES = (
    *("run", "sweep", "directory", "status", "error", "iteration", "budget", "seconds", "classes"),
    *("trained_on", "commit", "preset", "started", "ended"),
    *names(METRICS),
)
"""The columns of `Sweep.runs` that are no configuration: names, outcomes, origins."""

BOOKKEEPING = (
    *("device", "reproducible", "dataset.root", "checkpoint", "evaluate", "probe", "report"),
)
"""Keys that decide what is recorded and where, and how sums are rounded, but not what is trained.

Two runs that differ only in these are the same experiment.
"""


MOST_NAMED = 5
"""Damaged runs that an error names one by one; more are only counted."""

_EMPTY_TABLE = 4096  # bytes; a CSV that holds its header only is smaller


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of one sweep or of several, as tidy frames.

    Each row of the frames `train`, `evaluation` and `layers` holds `run`, `sweep` and what was
    swept: activation, init, lr, seed and every other key that varies.

    Attributes:
        runs: A row per run: `run`, `sweep`, `directory`; its configuration, flattened to
            `activation`, `activation.negative_slope`, `init`, `lr`, `seed`, ...; and what became
            of it.
        damaged: A line for each run that was left out because its files cannot be believed.
        tables: By the directory of a run, its CSVs by name.
    """

    runs: pd.DataFrame
    damaged: tuple[str, ...] = ()
    tables: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict, repr=False)

    @cached_property
    def train(self) -> pd.DataFrame:
        """A row per run and iteration; the scheduled learning rate is `scheduled_lr`."""
        return self._collect("train")

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """A row per run, evaluation and split (train, validation, test)."""
        return self._collect("evaluation")

    @cached_property
    def layers(self) -> pd.DataFrame:
        """A row per run, probe and layer."""
        return self._collect("layers")

    def select(self, chosen: Sequence[bool] | pd.Series[bool]) -> Sweep:
        """The same sweep with some of its runs only: those for which `chosen` is true."""
        runs = self.runs[np.asarray(chosen, dtype=bool)].reset_index(drop=True)
        return Sweep(runs, self.damaged, self.tables)

    def _collect(self, table: str) -> pd.DataFrame:
        """Concatenate one CSV of all runs, and join what was swept."""
        frames = [self.tables[directory][table] for directory in self.runs["directory"]]
        frame = pd.concat(frames, ignore_index=True).rename(columns={"lr": "scheduled_lr"})
        for name, dtype in dtypes(RUN_TABLES[table]).items():
            if dtype == "str":
                frame[name] = frame[name].astype("category")
        positions = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
        for name in reversed(["run", "sweep", *swept_keys(self.runs)]):
            frame.insert(0, name, _spread(self.runs[name], positions))
        return frame


def load_sweep(
    paths: str | Path | Iterable[str | Path], *, damaged: Literal["refuse", "leave out"] = "refuse"
) -> Sweep:
    """Read the runs of a sweep directory, of several, or single run directories.

    Every direct subdirectory with a `status.json` is a run. With several paths the runs are
    concatenated; the column `sweep` tells them apart.

    Args:
        paths: One directory or several.
        damaged: What to do about runs whose files cannot be believed: `refuse` to read anything, or
            `leave out` these runs; `Sweep.damaged` then names them.

    Raises:
        UserError: a path does not exist, is no directory, or holds no run; or a run is damaged.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not given:
        raise UserError("no sweep directory was given; name at least one, e.g. runs/sweep-...")
    directories = list(dict.fromkeys(run for path in given for run in _run_directories(path)))
    runs: list[_StoredRun] = []
    problems: list[str] = []
    for directory in directories:
        try:
            runs.append(_read_run(directory))
        except DamageError as error:
            problems.append(str(error))
    if problems and (damaged == "refuse" or not runs):
        raise UserError(_refusal(problems, len(directories)))
    return Sweep(
        _tidy(pd.DataFrame([run.row for run in runs])),
        tuple(f"{problem}; nothing of this run is used" for problem in problems),
        {str(run.directory): run.tables for run in runs},
    )


def _refusal(problems: Sequence[str], runs: int) -> str:
    named = "; ".join(problems[:MOST_NAMED])
    more = f"; and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
    one = len(problems) == 1
    return (
        f"{named}{more}. {len(problems)} of {runs} run{'s' * (runs != 1)} cannot be used: train "
        f"{'it' if one else 'them'} again with the same command, or remove "
        f"{'its directory' if one else 'their directories'}"
    )


def varying_keys(runs: pd.DataFrame) -> list[str]:
    """The configuration keys in which these runs differ, `seed` apart.

    A missing value is a value: `init.bias=null` differs from `init.bias=0.5`. A parameter of a
    choice (`activation.negative_slope`) varies only when it differs between runs of the same
    choice: that ELU and leaky ReLU have parameters of their own is not a difference of its own.
    Keys that only steer recording (probes, checkpoints, device, where the data lies) never count.
    """
    return [
        key
        for key in _configuration_keys(runs)
        if key != "seed" and not _is_bookkeeping(key) and _varies(runs, key)
    ]


def _varies(runs: pd.DataFrame, key: str) -> bool:
    """Whether runs that could share a value of this key have several."""
    if runs[key].nunique(dropna=False) < 2:
        return False
    group = key.partition(".")[0]
    within = [group] if group != key and group in runs else []
    if key == "dataset.fingerprint":  # other settings of the data explain other images
        within += [
            name
            for name in _configuration_keys(runs)
            if name.startswith("dataset.") and name not in (key, *BOOKKEEPING)
        ]
    if not within:
        return True
    return bool((runs.groupby(within, dropna=False)[key].nunique(dropna=False) > 1).any())


def swept_keys(runs: pd.DataFrame) -> list[str]:
    """Activation, init, lr and seed, then every other key that varies."""
    always = ["activation", "init", "lr", "seed"]
    return [
        *(key for key in always if key in runs),
        *(key for key in varying_keys(runs) if key not in always),
    ]


def identity_keys(runs: pd.DataFrame) -> list[str]:
    """The keys, `seed` included, that are equal in two runs of the same experiment."""
    return [key for key in _configuration_keys(runs) if not _is_bookkeeping(key)]


def _configuration_keys(runs: pd.DataFrame) -> list[str]:
    return [str(column) for column in runs.columns if column not in OUTCOMES]


def _is_bookkeeping(key: str) -> bool:
    return key in BOOKKEEPING or key.partition(".")[0] in BOOKKEEPING


def _run_directories(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(
            f"{path}: there is no such directory; give a sweep directory such as "
            "runs/sweep-... (ls runs shows them)"
        )
    if not path.is_dir():
        raise UserError(
            f"{path}: is a file; give the sweep directory that holds the run directories"
        )
    if _exists(path / STATUS):
        return [path]
    try:
        inside = sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    runs = [entry for entry in inside if _exists(entry / STATUS) or _has_rows(entry)]
    for entry in inside:
        if entry not in runs and has_configuration(entry):
            log.warning("%s: has no status.json; the run is left out", printable(str(entry)))
    if not runs:
        raise UserError(
            f"{path}: holds no runs (no subdirectory with a status.json); give the "
            "sweep directory itself, e.g. runs/sweep-..."
        )
    return runs


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _has_rows(directory: Path) -> bool:
    """Whether a directory without a status holds what a run wrote, not only its preparations."""
    if not has_configuration(directory):
        return False
    files = [directory / name for name in TABLES]
    return any(file.is_file() and file.stat().st_size > _EMPTY_TABLE for file in files)


class _StoredRun(NamedTuple):
    """A run as its directory holds it: a row of `Sweep.runs`, and its CSVs by name."""

    directory: Path
    row: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def _read_run(directory: Path) -> _StoredRun:
    """Read a run; once more where it was changed meanwhile, for it may be training.

    Raises:
        DamageError: A file of it cannot be believed.
    """
    status = read_stored_status(directory)
    try:
        return _read_run_once(directory, status)
    except DamageError:
        if status["status"] in ENDED or read_stored_status(directory) == status:
            raise
    return _read_run_once(directory, read_stored_status(directory))


def _read_run_once(directory: Path, status: dict[str, Any]) -> _StoredRun:
    stored = read_configuration(directory)
    config = flatten(stored.content)
    return _StoredRun(
        directory,
        _row(directory, config, stored.preset, status),
        _read_tables(directory, config, status),
    )


def _read_tables(
    directory: Path, config: Mapping[str, Any], status: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """Read the CSVs of a run and compare them with what its status says of them."""
    contents: dict[Path, bytes | None] = {}
    tables = {}
    for table in RUN_TABLES:
        path = directory / f"{table}.csv"
        expected = _expected(table, config, status)
        contents[path] = read_content(path, expected)
        tables[table] = read_table(path, table, contents[path], expected)
    files = status.get("files")
    if status["status"] in ENDED and files is not None:

        def read(path: Path) -> bytes:
            if path not in contents:
                return read_regular(path)
            content = contents[path]
            if content is None:
                raise FileNotFoundError
            return content

        # The weights are checked when they are loaded; the numbers do without them.
        known = {name: facts for name, facts in files.items() if name != WEIGHTS}
        if problem := damage(directory, {"files": known}, read):
            name, _, words = problem.partition(" ")
            raise DamageError(directory / name, words)
    return tables


def _expected(table: str, config: Mapping[str, Any], status: Mapping[str, Any]) -> Expected:
    """What the status of a run says about one of its CSVs."""
    needed_by = {"evaluation": "evaluate.every", "layers": "probe.every"}.get(table)
    iteration = status["iteration"]
    has_file = config.get(needed_by) != 0 if needed_by else True
    has_file = has_file and status["status"] not in ("failed", "running")
    has_file = has_file and not (status["status"] == "interrupted" and iteration == 0)
    return Expected(
        iteration=iteration,
        at_least=0 if status["status"] in ("running", "failed") else iteration,
        ended=status["status"] in ENDED,
        finished=status["status"] == "finished",
        has_file=has_file,
        has_rows=has_file and status["status"] in ENDED,
    )


def _row(
    directory: Path, config: Mapping[str, Any], preset: str | None, status: Mapping[str, Any]
) -> dict[str, Any]:
    """One row of `Sweep.runs`."""
    dataset = _mapping(status.get("dataset"))
    row: dict[str, Any] = {
        "run": directory.name,
        "sweep": directory.resolve().parent.name,
        "directory": str(directory),
        **config,
        "dataset.fingerprint": dataset.get("fingerprint"),
        "status": status["status"],
        "error": status.get("error"),
        "iteration": status["iteration"],
        "budget": status.get("iterations"),
        "seconds": status.get("seconds"),
        "classes": _count(dataset.get("classes")),
        "trained_on": status.get("device"),
        "commit": status.get("commit"),
        "preset": preset,
        "started": status.get("started"),
        "ended": status.get("ended"),
    }
    metrics = _mapping(status.get("metrics"))
    return row | {name: metrics.get(name) for name in names(METRICS)}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(classes: Any) -> Any:
    return len(classes) if isinstance(classes, list) else classes


def _tidy(runs: pd.DataFrame) -> pd.DataFrame:
    """Order the columns, make the names of runs unique, and fill in facts about the data.

    What one run recorded about its data (classes, fingerprint) holds for every run of the same
    data, also for those that failed before they loaded them.
    """
    configuration = _configuration_keys(runs)
    groups = list(dict.fromkeys(key.partition(".")[0] for key in configuration))
    configuration.sort(key=lambda key: groups.index(key.partition(".")[0]))
    order = ["run", "sweep", *configuration, *OUTCOMES[2:]]
    runs = runs.reindex(columns=order)
    for key in configuration:
        if runs[key].map(lambda value: isinstance(value, bool)).any() or runs[key].dtype == object:
            # None and NaN would count as two different values.
            values = runs[key].astype(object)
            runs[key] = values.where(values.notna(), np.nan).infer_objects()
    for name in ("iteration", "budget", "seconds", "classes", *names(METRICS)):
        runs[name] = pd.to_numeric(runs[name], errors="coerce")
    repeated = runs["run"].duplicated(keep=False)
    runs.loc[repeated, "run"] = runs["sweep"] + "/" + runs["run"]
    repeated = runs["run"].duplicated(keep=False)
    runs.loc[repeated, "run"] = runs["directory"]
    data = [key for key in configuration if key.partition(".")[0] == "dataset"]
    data = [key for key in data if key != "dataset.fingerprint"]
    for name in ("dataset.fingerprint", "classes"):
        if data and runs[name].isna().any() and runs[name].notna().any():
            known = runs.groupby(data, dropna=False)[name].transform("first")
            runs[name] = runs[name].fillna(known)
    return runs


def _spread(values: pd.Series[Any], positions: np.ndarray[Any, np.dtype[np.int_]]) -> Any:
    """Repeat the value of each run on its rows; to save memory, as a categorical if no number."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.to_numpy()[positions]
    codes, categories = pd.factorize(values)
    return pd.Categorical.from_codes(codes[positions], categories=categories)
