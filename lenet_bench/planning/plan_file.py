"""`plan.json`: the stacks of a sweep as they were planned, and under which conditions it was begun.

In: a plan. Out: a file beside the run directories; later, the same plan. The bits of a run depend
on the stack and the threads that it was trained in, so a sweep that goes on keeps its stacks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import write_json
from lenet_bench.planning.stacks import PlannedStack, SweepPlan

PLAN_FILE = "plan.json"
PLAN_FILES = "plan*.json"  # a sweep that is launched in batches has a plan for each


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
        content = json.loads(file.read_bytes())
        stacks = tuple(_stack(stack, file.parent) for stack in content["stacks"])
        workers = int(content["workers"])
        conditions = content.get("conditions")
        if not isinstance(conditions, dict | None):
            raise TypeError
        plan = SweepPlan(workers, stacks)
        resumed = tuple(content.get("resumed_anyway", ()))
        return StoredPlan(plan, conditions, resumed, content.get("has_grown") is True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{file}: does not hold the plan of a sweep") from None


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
    return PlannedStack(
        int(content["stack"]),
        tuple(Path(os.path.normpath(folder / str(run))) for run in content["runs"]),
        int(content["iterations"]),
        float(content["estimated_operations"]),
        int(content["estimated_bytes"]),
        int(content.get("threads", 0)),  # unknown in files of older versions
    )
