"""Stacks from runs: nothing lost, nothing doubled, nobody with strangers."""

from __future__ import annotations

import math
from itertools import groupby, pairwise

import pytest
from conftest import Configure
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_bench.config import RunConfig
from lenet_bench.planner import LARGEST_STACK, compatibility, plan

# What may differ inside a stack, and what keeps runs apart.
FREE = {"activation", "init", "optimizer", "schedule", "lr", "weight_decay", "seed"}
SHARED = {
    "dataset",
    "model",
    "batch_size",
    "iterations",
    "epochs",
    "probe",
    "evaluate",
    "precision",
}


@pytest.fixture(scope="module")
def choices(configure: Configure) -> dict[str, list[object]]:
    """Two or three values of every key that a sweep is likely to touch."""
    choices: dict[str, list[object]] = {
        "lr": [0.01, 0.1],
        "weight_decay": [0.0, 1e-3],
        "seed": [0, 1, 2],
        "batch_size": [64, 128],
        "iterations": [100, 2000],
        "epochs": [None, 3],
        "precision": ["float32", "bfloat16"],
    }
    groups = {
        "activation": ["relu", "tanh", "prelu"],
        "init": ["xavier_uniform", "zeros"],
        "optimizer": ["sgd", "adam"],
        "schedule": ["constant", "cosine"],
        "dataset": ["digits", "fake"],
        "model": ["lenet5", "lenet_caffe"],
    }
    for group, names in groups.items():
        choices[group] = [getattr(configure(f"{group}={name}"), group) for name in names]
    choices["probe"] = [configure(f"probe.every={n}").probe for n in (0, 50)]
    choices["evaluate"] = [configure(f"evaluate.every={n}").evaluate for n in (0, 50)]
    return choices


@pytest.fixture(scope="module")
def runs(
    configure: Configure, choices: dict[str, list[object]]
) -> st.SearchStrategy[list[RunConfig]]:
    """Sweeps of up to 40 runs that differ in anything."""
    values = {key: st.sampled_from(allowed) for key, allowed in choices.items()}
    one = st.fixed_dictionaries({}, optional=values)
    return st.lists(one.map(lambda keys: configure(**keys)), min_size=1, max_size=40)


SIZES = st.one_of(st.none(), st.integers(1, 20))
WORKERS = st.integers(1, 8)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), workers=WORKERS, size=SIZES)
def test_a_plan_is_sound(
    runs: st.SearchStrategy[list[RunConfig]], data: st.DataObject, workers: int, size: int | None
) -> None:
    configs = data.draw(runs)
    stacks = plan(configs, workers=workers, stack_size=size)
    assert sorted(run for stack in stacks for run in stack) == list(range(len(configs)))
    assert max(len(stack) for stack in stacks) <= (size or LARGEST_STACK)
    for stack in stacks:
        first = configs[stack[0]]
        for run in stack:
            for key in SHARED:
                assert getattr(configs[run], key) == getattr(first, key)
        kinds = [(configs[run].activation, configs[run].optimizer) for run in stack]
        assert len(list(groupby(kinds))) == len({str(kind) for kind in kinds})
    assert plan(configs, workers=workers, stack_size=size) == stacks


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 60), workers=WORKERS, size=SIZES)
def test_alike_runs_fill_few_stacks_and_all_workers(
    configure: Configure, count: int, workers: int, size: int | None
) -> None:
    configs = [configure(seed=seed) for seed in range(count)]
    lengths = [len(stack) for stack in plan(configs, workers=workers, stack_size=size)]
    needed = math.ceil(count / (size or LARGEST_STACK))
    assert len(lengths) == max(needed, min(workers, count))
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


def test_the_stack_with_the_most_work_starts_first(configure: Configure) -> None:
    configs = [configure(iterations=10), *(configure(iterations=1000, seed=s) for s in range(3))]
    assert plan(configs, workers=1) == [[1, 2, 3], [0]]


@settings(max_examples=50, deadline=None)
@given(seeds=st.lists(st.integers(0, 5), min_size=1, max_size=40), workers=WORKERS, size=SIZES)
def test_a_stack_holds_few_seeds(
    configure: Configure, seeds: list[int], workers: int, size: int | None
) -> None:
    configs = [configure(seed=seed) for seed in seeds]
    stacks = plan(configs, workers=workers, stack_size=size)
    spans = sorted(sorted(configs[run].seed for run in stack) for stack in stacks)
    # No seed is split over two stacks that one of them could have held without the others.
    for one, other in pairwise(spans):
        assert one[-1] <= other[0]


@pytest.mark.parametrize("key", sorted(FREE | SHARED))
def test_what_keeps_two_runs_apart(
    configure: Configure, choices: dict[str, list[object]], key: str
) -> None:
    first, second = (configure(**{key: value}) for value in choices[key][-2:])
    assert first != second
    assert (compatibility(first) == compatibility(second)) == (key in FREE)
    assert len(plan([first, second], workers=1)) == (1 if key in FREE else 2)


def test_an_own_module_shares_a_stack_with_itself_alone(configure: Configure) -> None:
    paths = ("test_planner:One", "test_planner:Two")
    configs = [
        configure("activation=custom", f"activation.path={path}", seed=seed)
        for seed in (0, 1)
        for path in paths
    ]
    stacks = plan([*configs, configure()], workers=1)
    assert sorted(map(sorted, stacks)) == [[0, 2], [1, 3], [4]]
