"""Reading run directories back: directories in, tidy pandas frames out.

A run directory is read from its own files alone (`config.json`, `status.json` and three CSVs),
without torch and without Hydra. A killed run may have left files missing, empty or cut off. A
warning of one line names each of them, and the rest is used.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.common.errors import UserError
from lenet_bench.records.configuration import (
    FILE,
    OLDER_FILE,
    has_configuration,
    read_configuration,
)
from lenet_bench.records.run_directory import read_status
from lenet_bench.records.schema import METRICS, RUN_TABLES, Dtypes, dtypes, names

log = logging.getLogger(__name__)

OUTCOMES = (
    *("run", "sweep", "directory", "status", "error", "iteration", "budget", "seconds", "classes"),
    *("trained_on", "commit", "preset", "started", "ended"),
    *names(METRICS),
)
"""The columns of `Sweep.runs` that are no configuration: names, outcomes, origins."""

BOOKKEEPING = ("device", "dataset.root", "checkpoint", "evaluate", "probe", "report")
"""Keys that decide what is recorded and where, but not what is trained.

Two runs that differ only in these are the same experiment.
"""


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of one sweep or of several, as tidy frames.

    The frames `train`, `evaluation` and `layers` are read when they are first used. Each of their
    rows holds `run`, `sweep` and what was swept: activation, init, lr, seed and every other key
    that varies.

    Attributes:
        runs: A row per run: `run`, `sweep`, `directory`; its configuration, flattened to
            `activation`, `activation.negative_slope`, `init`, `lr`, `seed`, ...; and what became
            of it.
    """

    runs: pd.DataFrame

    @cached_property
    def train(self) -> pd.DataFrame:
        """A row per run and iteration; the scheduled learning rate is `scheduled_lr`."""
        return self._collect("train", needed_by=None)

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """A row per run, evaluation and split (train, validation, test)."""
        return self._collect("evaluation", needed_by="evaluate.every")

    @cached_property
    def layers(self) -> pd.DataFrame:
        """A row per run, probe and layer."""
        return self._collect("layers", needed_by="probe.every")

    def select(self, chosen: Sequence[bool] | pd.Series[bool]) -> Sweep:
        """The same sweep with some of its runs only: those for which `chosen` is true."""
        return Sweep(self.runs[np.asarray(chosen, dtype=bool)].reset_index(drop=True))

    def _collect(self, table: str, needed_by: str | None) -> pd.DataFrame:
        """Concatenate one CSV of all runs, and join what was swept.

        Args:
            table: The name of the CSV, as in `RUN_TABLES`.
            needed_by: The key that switches its recording off if it is 0.
        """
        columns = dtypes(RUN_TABLES[table])
        switched_on = (
            pd.to_numeric(self.runs[needed_by], errors="coerce").ne(0).tolist()
            if needed_by in self.runs
            else [True] * len(self.runs)
        )
        frames = []
        columns_of_runs = (self.runs[name] for name in ("directory", "status", "iteration"))
        for directory, status, iteration, expected in zip(
            *columns_of_runs, switched_on, strict=True
        ):
            expected = expected and status not in ("failed", "running")
            expected = expected and not (status == "interrupted" and iteration == 0)
            frames.append(_read_csv(Path(directory) / f"{table}.csv", columns, expected))
        frame = pd.concat(frames, ignore_index=True).rename(columns={"lr": "scheduled_lr"})
        for name, dtype in columns.items():
            if dtype == "str":
                frame[name] = frame[name].astype("category")
        positions = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
        for name in reversed(["run", "sweep", *swept_keys(self.runs)]):
            frame.insert(0, name, _spread(self.runs[name], positions))
        return frame


def load_sweep(paths: str | Path | Iterable[str | Path]) -> Sweep:
    """Read the runs of a sweep directory, of several, or single run directories.

    Every direct subdirectory with a `status.json` is a run. With several paths the runs are
    concatenated; the column `sweep` tells them apart.

    Raises:
        UserError: a path does not exist, is no directory, or holds no run.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not given:
        raise UserError("no sweep directory was given; name at least one, e.g. runs/sweep-...")
    directories = list(dict.fromkeys(run for path in given for run in _run_directories(path)))
    rows = [row for row in map(_read_run, directories) if row is not None]
    if not rows:
        places = ", ".join(map(str, given))
        raise UserError(
            f"{places}: none of its {len(directories)} runs has a readable "
            f"configuration ({FILE}; {OLDER_FILE} in older ones); nothing can be reported"
        )
    return Sweep(_tidy(pd.DataFrame(rows)))


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
    if (path / "status.json").is_file():
        return [path]
    try:
        inside = sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    runs = [entry for entry in inside if (entry / "status.json").is_file()]
    for entry in inside:
        if entry not in runs and has_configuration(entry):
            log.warning("%s: has no status.json; the run is left out", entry)
    if not runs:
        raise UserError(
            f"{path}: holds no runs (no subdirectory with a status.json); give the "
            "sweep directory itself, e.g. runs/sweep-..."
        )
    return runs


def _read_run(directory: Path) -> dict[str, Any] | None:
    """One row of `Sweep.runs`; None, with a warning, if the run has no usable configuration."""
    try:
        stored = read_configuration(directory)
    except UserError as error:
        log.warning("%s; the run is left out", error)
        return None
    status = read_status(directory)
    if not status:
        log.warning("%s: cannot be read; the run's status is unknown", directory / "status.json")
    dataset = _mapping(status.get("dataset"))
    row: dict[str, Any] = {
        "run": directory.name,
        "sweep": directory.resolve().parent.name,
        "directory": str(directory),
        **_flatten(stored.content),
        "dataset.fingerprint": dataset.get("fingerprint"),
        "status": status.get("status", "unknown"),
        "error": status.get("error"),
        "iteration": status.get("iteration"),
        "budget": status.get("iterations"),
        "seconds": status.get("seconds"),
        "classes": _count(dataset.get("classes")),
        "trained_on": status.get("device"),
        "commit": status.get("commit"),
        "preset": stored.preset,
        "started": status.get("started"),
        "ended": status.get("ended"),
    }
    metrics = _mapping(status.get("metrics"))
    return row | {name: metrics.get(name) for name in names(METRICS)}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(classes: Any) -> Any:
    return len(classes) if isinstance(classes, list) else classes


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"init": {"name": "normal", "std": 0.1}}` becomes `init=normal, init.std=0.1`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flatten(value, f"{path}.")
        elif key == "name" and prefix:
            flat[prefix[:-1]] = value
        else:
            flat[path] = json.dumps(value) if isinstance(value, list) else value
    return flat


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


def _read_csv(path: Path, columns: Dtypes, expected: bool) -> pd.DataFrame:
    """Read a CSV, which a killed run may have left missing, empty or cut off within a line.

    Args:
        path: The CSV.
        columns: Its columns and their dtypes.
        expected: Whether the run should have written rows; if not, their absence is no problem.
    """
    empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    try:
        data = path.read_bytes()
    except OSError as error:
        if expected or not isinstance(error, FileNotFoundError):
            log.warning("%s: %s", path, "is missing" if not path.exists() else error.strerror)
        return empty
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        log.warning("%s: the last line is cut off; it is left out", path)
    if not whole:
        if not data:
            log.warning("%s: is empty", path)
        return empty
    try:
        frame: pd.DataFrame = pd.read_csv(io.BytesIO(whole), dtype=dict(columns), **READ_EXACTLY)
    except (ValueError, UnicodeDecodeError):
        frame = _read_damaged(path, whole, columns)
    missing = [name for name in columns if name not in frame]
    if missing:
        log.warning("%s: lacks the column %s", path, ", ".join(missing))
        if "iteration" in missing:
            return empty
    frame = frame.reindex(columns=list(columns))
    if expected and frame.empty:
        log.warning("%s: holds no rows", path)
    keys = [name for name in ("iteration", "split", "layer") if name in columns]
    repeated = frame.duplicated(keys, keep="last")
    if repeated.any():
        count = int(repeated.sum())
        words = f"{count:,} repeated row{'s' * (count != 1)}"
        log.warning("%s: %s; the last of each is used", path, words)
        frame = frame[~repeated].sort_values("iteration", kind="stable")
    return frame


def _read_damaged(path: Path, data: bytes, columns: Dtypes) -> pd.DataFrame:
    """Read the lines that can be read, and warn of the others."""
    lines = data.decode("utf-8", errors="replace").replace("\0", "").splitlines()
    header = lines[0].split(",")
    cells = [line.split(",") for line in lines[1:]]
    frame = pd.DataFrame([row for row in cells if len(row) == len(header)], columns=header)
    numeric = [name for name, dtype in columns.items() if dtype != "str" and name in frame]
    for name in numeric:
        values = frame[name]
        frame[name] = pd.to_numeric(values, errors="coerce").astype("float64")
        blank = values.str.strip().str.lower().isin(["", "nan"])
        frame = frame[frame[name].notna() | blank]
    whole = [name for name in numeric if columns[name] == "int64"]
    frame = frame.dropna(subset=whole)
    left_out = len(lines) - 1 - len(frame)
    if left_out:
        words = "1 unreadable line is" if left_out == 1 else f"{left_out:,} unreadable lines are"
        log.warning("%s: %s left out", path, words)
    return frame.astype({name: columns[name] for name in whole})


def _spread(values: pd.Series[Any], positions: np.ndarray[Any, np.dtype[np.int_]]) -> Any:
    """Repeat the value of each run on its rows; to save memory, as a categorical if no number."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.to_numpy()[positions]
    codes, categories = pd.factorize(values)
    return pd.Categorical.from_codes(codes[positions], categories=categories)


# Floats must be read back as they were written; pandas always does that from version 3.1 on.
READ_EXACTLY: dict[str, Any] = (
    {}
    if tuple(int(part) for part in pd.__version__.split(".")[:2]) >= (3, 1)
    else {"float_precision": "round_trip"}
)
