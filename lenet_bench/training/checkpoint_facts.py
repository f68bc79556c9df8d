"""Whether a checkpoint says what one says, before a stack goes on from it.

In: the facts and the tensors of a checkpoint with a right checksum, and what a stack trains with.
Out: why nothing can go on from it, or None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt, ValidationError

from lenet_bench.records.checkpoint import StoredState
from lenet_bench.records.schema import RUN_TABLES
from lenet_bench.training.setup import Setup
from lenet_bench.training.state import tensors_of, values_of


class _Records(BaseModel):
    started: str
    tables: dict[str, tuple[NonNegativeInt, NonNegativeInt, str]]


class _Run(BaseModel):
    ended: bool
    metrics: dict[str, float]
    records: _Records


class _Recording(BaseModel):
    iteration: NonNegativeInt
    seconds: NonNegativeFloat
    runs: list[_Run]


class _Facts(BaseModel):
    origin: dict[str, Any]
    recording: _Recording
    values: dict[str, dict[str, bool | int | float | str]]


def problem_of_state(state: StoredState, setup: Setup) -> str | None:
    """Say why a stack cannot go on from a state, whoever wrote it; a phrase, or None."""
    try:
        facts = _Facts.model_validate_json(json.dumps(state.facts), strict=True)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        return f"does not say what a checkpoint says ({place})"
    runs = facts.recording.runs
    fits = (
        len(runs) == len(setup.configs)
        and facts.recording.iteration <= setup.iterations
        and all(run.records.tables.keys() == RUN_TABLES.keys() for run in runs)
        and facts.values.keys() == values_of(setup).keys()
    )
    if not fits or not _fit(state.tensors, tensors_of(setup)):
        return "does not hold the state of this stack"
    return None


def _fit(stored: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether all tensors are there that a stack begins with; those of a module may change."""
    fixed = (name for name in here if not name.startswith("module."))
    return all(
        name in stored
        and stored[name].shape == here[name].shape
        and stored[name].dtype == here[name].dtype
        for name in fixed
    )
