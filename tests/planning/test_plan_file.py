"""`plan.json` is read as what others may have written: a plan, or one clear line."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lenet_bench.common.errors import UserError
from lenet_bench.planning.plan_file import StoredPlan, read_plan, write_plan
from lenet_bench.planning.stacks import PlannedStack, SweepPlan

STACK: dict[str, Any] = {
    "stack": 0, "iterations": 40, "estimated_operations": 7, "estimated_bytes": 8, "threads": 1,
    "runs": ["a", "b"],
}  # fmt: skip
NO_PLAN = "does not hold the plan of a sweep"
TWICE = "names a run or a stack twice"


def plan(**changes: Any) -> bytes:
    """A plan of one stack, with changes to that stack."""
    return json.dumps({"workers": 2, "stacks": [{**copy.deepcopy(STACK), **changes}]}).encode()


BAD = {
    "cut off": (plan()[:-3], "is not JSON"),
    "nested very deep": (b"[" * 100_000, "is not JSON of a reasonable size"),
    "nested deep": (b"[" * 30 + b"]" * 30, "is nested more than 20 levels deep"),
    "Infinity": (b'{"workers": Infinity, "stacks": []}', "holds Infinity, which JSON does not"),
    "more than a float holds": (b'{"workers": 1e999, "stacks": []}', NO_PLAN),
    "operations without end": (plan().replace(b": 7", b": 1e999"), NO_PLAN),
    "no object": (b"[1]", NO_PLAN),
    "a stack without runs": (plan(runs=[]), NO_PLAN),
    "runs as text": (plan(runs="ab"), NO_PLAN),
    "a run that is no text": (plan(runs=[1]), NO_PLAN),
    "a run with a NUL": (plan(runs=["a\0b"]), NO_PLAN),
    "a run that no file name can be": (plan(runs=["\ud800"]), NO_PLAN),
    "a run twice": (plan(runs=["a", "./a"]), TWICE),
    "a stack twice": (
        json.dumps({"workers": 1, "stacks": [STACK, {**STACK, "runs": ["c"]}]}).encode(),
        TWICE,
    ),
    "negative threads": (plan(threads=-1), NO_PLAN),
    "very many threads": (plan(threads=10**9), NO_PLAN),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_plan_is_refused_in_a_line(tmp_path: Path, case: str) -> None:
    content, reason = BAD[case]
    file = tmp_path / "plan.json"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_plan(file)
    assert str(caught.value).startswith(f"{file}")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(UserError, match="is a FIFO, not a file"):
        read_plan(tmp_path / "plan.json")


def test_a_plan_of_the_largest_sweep_is_read(tmp_path: Path) -> None:
    """100,000 runs with long names."""
    runs = [tmp_path / f"{'activation=leaky_relu,' * 8}seed={number}" for number in range(100_000)]
    stacks = tuple(
        PlannedStack(number, tuple(runs[8 * number : 8 * number + 8]), 2000, 1e15, 10**8, 1)
        for number in range(len(runs) // 8)
    )
    file = tmp_path / "plan.json"
    write_plan(StoredPlan(SweepPlan(2, stacks)), file)
    stored = read_plan(file)
    assert stored is not None
    assert stored.plan.runs == runs


def test_no_plan_is_none(tmp_path: Path) -> None:
    assert read_plan(tmp_path / "plan.json") is None
