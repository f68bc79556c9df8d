"""`plan.json`: the stacks of a sweep as they were planned, and under which conditions it was begun.

In: a plan. Out: a file beside the run directories; later, the same plan. The bits of a run depend
on the stack and the threads that it was trained in, so a sweep that goes on keeps its stacks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_bench.common.files import write_json
from lenet_bench.planning.stacks import PlannedStack, SweepPlan
from lenet_bench.records.damage import DamageError, MissingFileError, read_json

PLAN_FILE = "plan.json"
PLAN_FILES = "plan*.json"  # a sweep that is launched in batches has a plan for each
MOST_THREADS = 4096  # that a plan or a status is believed; as many would not start
_LARGEST = 1 << 26  # bytes; that of 100,000 runs, each with a stack of its own, takes half of it
_MOST_VALUES = 2_000_000


@dataclass(frozen=True)
class StoredPlan:
    """What `plan.json` says.

    Attributes:
        plan: The stacks.
        conditions: Under which the runs are trained; None in files of older versions.
        resumed_anyway: When the sweep went on although something differed, and what did.
        has_grown: Whether runs were added later, which have stacks of their own: then the stacks
            are not those that would be planned of all runs at once.
    """

    plan: SweepPlan
    conditions: Mapping[str, Any] | None = None
    resumed_anyway: Sequence[Mapping[str, Any]] = ()
    has_grown: bool = False


def write_plan(stored: StoredPlan, file: Path) -> None:
    """Write a plan, with runs as paths relative to the file; equal plans give equal bytes."""
    stacks = [
        {
            "stack": stack.index,
            "iterations": stack.iterations,
            "estimated_operations": round(stack.operations),
            "estimated_bytes": stack.bytes,
            "threads": stack.threads,
            "runs": [os.path.relpath(run, file.parent) for run in stack.runs],
        }
        for stack in stored.plan.stacks
    ]
    content: dict[str, Any] = {"workers": stored.plan.workers, "stacks": stacks}
    if stored.conditions is not None:
        content["conditions"] = stored.conditions
    if stored.resumed_anyway:
        content["resumed_anyway"] = stored.resumed_anyway
    if stored.has_grown:
        content["has_grown"] = True
    write_json(file, content)


def read_plan(file: Path) -> StoredPlan | None:
    """Read a plan; None if there is no such file.

    Raises:
        UserError: The file does not hold a plan.
    """
    try:
        content = read_json(file, _LARGEST, _MOST_VALUES)
        stacks = tuple(_stack(stack, file.parent) for stack in _list(content["stacks"]))
        plan = SweepPlan(_count(content["workers"]), stacks)
        conditions = content.get("conditions")
        if not isinstance(conditions, dict | None):
            raise TypeError
        resumed = tuple(_list(content.get("resumed_anyway", [])))
    except MissingFileError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise DamageError(file, "does not hold the plan of a sweep") from None
    # Two stacks would otherwise write the same files at the same time.
    if len(set(plan.runs)) < len(plan.runs) or len({stack.index for stack in stacks}) < len(stacks):
        raise DamageError(file, "names a run or a stack twice")
    return StoredPlan(plan, conditions, resumed, content.get("has_grown") is True)


def planned_runs(sweep: Path) -> list[Path]:
    """The directories of all runs that a sweep directory has plans for.

    Raises:
        UserError: One of the files does not hold a plan.
    """
    plans = [read_plan(file) for file in sorted(sweep.glob(PLAN_FILES))]
    return [
        run
        for stored in plans
        if stored is not None
        for each in stored.plan.stacks
        for run in each.runs
    ]


def _stack(content: Mapping[str, Any], folder: Path) -> PlannedStack:
    runs = tuple(_run(run, folder) for run in _list(content["runs"]))
    if not runs:
        raise ValueError
    return PlannedStack(
        _count(content["stack"]),
        runs,
        _count(content["iterations"]),
        _finite(content["estimated_operations"]),
        _count(content["estimated_bytes"]),
        _count(content.get("threads", 0), MOST_THREADS),  # unknown in files of older versions
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _count(value: Any, most: int = 2**63) -> int:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise TypeError
    return value


def _finite(value: Any) -> float:
    if not math.isfinite(value):  # such as 1e999
        raise TypeError
    return float(value)


def _run(path: Any, folder: Path) -> Path:
    if not isinstance(path, str) or b"\0" in os.fsencode(path):  # no name that a folder can have
        raise TypeError
    return Path(os.path.normpath(folder / path))
