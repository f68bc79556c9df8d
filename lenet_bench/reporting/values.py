"""Configuration values of several runs: which there are, in which order, and what all share.

A missing value is a value: `null` and 0.5 of one key are two values everywhere.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from lenet_bench.analysis.labels import FINGERPRINT, data_labels
from lenet_bench.analysis.lines import (
    activation_rank,
    describe_value,
    is_missing,
    line_labels,
    ordered,
)
from lenet_bench.common.text import printable
from lenet_bench.records.loading import varying_keys

SHARED_SETTINGS = (
    *(("init", "{} init"), ("optimizer", "{}"), ("lr", "lr {}")),
    *(("batch_size", "batch {}"), ("model", "{}"), ("model.pool", "{} pooling")),
)
"""The keys that a caption names where all runs share them, and how."""


def distinct_values(runs: pd.DataFrame, key: str) -> list[Any]:
    """The values of a key, in order, missing ones included.

    A choice that does not have this parameter at all (ReLU has no `negative_slope`) adds none.
    """
    choice = key.partition(".")[0]
    if choice != key and choice in runs:
        known = runs.groupby(choice, dropna=False)[key].transform("count") > 0
        runs = runs[known]
    return ordered(runs[key])


def name_data(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Put a readable name in place of each fingerprint of data.

    Args:
        frame: Any frame that may have a column of fingerprints.
        runs: The runs behind it, which say where the data lie.
    """
    if FINGERPRINT not in frame:
        return frame
    names = data_labels(runs)
    return frame.assign(**{FINGERPRINT: [names.get(mark, mark) for mark in frame[FINGERPRINT]]})


def short_key(key: str) -> str:
    """What a key is called above a panel or a column."""
    return "data" if key == FINGERPRINT else key


def common_value(runs: pd.DataFrame, key: str) -> str:
    """The one value of a key that all runs share, else nothing."""
    values = ordered(runs[key]) if key in runs else []
    return printable(str(values[0])) if len(values) == 1 and not is_missing(values[0]) else ""


def shared_settings(runs: pd.DataFrame) -> str:
    """The settings that all runs share, as a sentence."""
    varying = varying_keys(runs)
    parts = [
        form.format(describe_value(runs[key].iloc[0]))
        for key, form in SHARED_SETTINGS
        if key in runs and key not in varying and runs[key].notna().all()
    ]
    return ", ".join(parts) + "." if parts else ""


def describe_runs(runs: pd.DataFrame) -> str:
    """`sigmoid, tanh, relu on digits (15 runs)`."""
    kinds = runs[[key for key in ("activation", "activation.path") if key in runs]]
    kinds = kinds.drop_duplicates()
    names = sorted(set(line_labels(kinds, [])), key=lambda n: (activation_rank(n), n))
    activations = ", ".join(names) if len(names) <= 5 else f"{len(names)} activations"
    datasets = (
        [printable(str(name)) for name in runs["dataset"].dropna().unique()]
        if "dataset" in runs
        else []
    )
    where = f" on {', '.join(datasets)}" if datasets else ""
    return f"{activations}{where} ({len(runs)} run{'s' if len(runs) != 1 else ''})"
