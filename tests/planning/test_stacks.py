"""Stacks from runs: nothing lost, nothing doubled, nobody with strangers."""

from __future__ import annotations

import json
import math
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.config.schema import RunConfig
from lenet_bench.planning.estimates import Estimate
from lenet_bench.planning.plan_file import StoredPlan, read_plan, write_plan
from lenet_bench.planning.stacks import (
    LARGEST_STACK,
    OVERHEAD,
    compatibility,
    makespan,
    pack,
    plan_sweep,
)
from tests.conftest import Configure

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
        "activation": ["rrelu", "relu", "tanh", "prelu"],
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
    stacks = pack(configs, workers=workers, stack_size=size)
    assert sorted(run for stack in stacks for run in stack) == list(range(len(configs)))
    assert max(len(stack) for stack in stacks) <= (size or LARGEST_STACK)
    for stack in stacks:
        first = configs[stack[0]]
        for run in stack:
            for key in SHARED:
                assert getattr(configs[run], key) == getattr(first, key)
        kinds = [(configs[run].activation, configs[run].optimizer) for run in stack]
        assert len(list(groupby(kinds))) == len({str(kind) for kind in kinds})
    assert pack(configs, workers=workers, stack_size=size) == stacks


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 60), workers=WORKERS, size=SIZES)
def test_alike_runs_fill_few_stacks_and_all_workers(
    configure: Configure, count: int, workers: int, size: int | None
) -> None:
    configs = [configure(seed=seed) for seed in range(count)]
    lengths = [len(stack) for stack in pack(configs, workers=workers, stack_size=size)]
    needed = math.ceil(count / (size or LARGEST_STACK))
    assert len(lengths) >= max(needed, min(workers, count))
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


def test_the_stack_with_the_most_work_starts_first(configure: Configure) -> None:
    configs = [configure(iterations=10), *(configure(iterations=1000, seed=s) for s in range(3))]
    assert pack(configs, workers=1) == [[1, 2, 3], [0]]


@settings(max_examples=50, deadline=None)
@given(seeds=st.lists(st.integers(0, 5), min_size=1, max_size=40), workers=WORKERS, size=SIZES)
def test_a_stack_holds_few_seeds(
    configure: Configure, seeds: list[int], workers: int, size: int | None
) -> None:
    configs = [configure(seed=seed) for seed in seeds]
    stacks = pack(configs, workers=workers, stack_size=size)
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
    assert len(pack([first, second], workers=1)) == (1 if key in FREE else 2)


class One(nn.Identity):
    """A user's own activation."""


class Two(nn.Identity):
    """Another."""


def test_an_own_module_shares_a_stack_with_itself_alone(configure: Configure) -> None:
    paths = ("torch.nn:ReLU", "torch.nn:Tanh")
    configs = [
        configure("activation=custom", f"activation.path={path}", seed=seed)
        for seed in (0, 1)
        for path in paths
    ]
    stacks = pack([*configs, configure()], workers=1)
    assert sorted(map(sorted, stacks)) == [[0, 2], [1, 3], [4]]


def test_runs_with_noise_stay_among_themselves(configure: Configure) -> None:
    """RReLU needs every input before pooling; its neighbours would wait."""
    names = ("rrelu", "relu", "rrelu", "tanh", "prelu")
    configs = [configure(f"activation={name}", seed=n) for n, name in enumerate(names)]
    assert sorted(map(sorted, pack(configs, workers=1))) == [[0, 2], [1, 3, 4]]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_what_pooling_commutes_with_comes_first(configure: Configure, data: st.DataObject) -> None:
    """So that a stack divides into one part pooled before and one pooled after the activation."""
    names = data.draw(st.lists(st.sampled_from(["mish", "relu", "gelu", "tanh", "prelu", "celu"])))
    configs = [configure(f"activation={name}") for name in ["relu", *names]]
    for stack in pack(configs, workers=1):
        late = [not ACTIVATIONS[configs[run].activation.name].non_decreasing for run in stack]
        assert late == sorted(late)


# --- balance --------------------------------------------------------------------------------------


def lengths_of(stacks: list[list[int]], costs: list[float]) -> list[float]:
    """What each stack takes."""
    return [sum(costs[run] for run in stack) * (1 + OVERHEAD / len(stack)) for stack in stacks]


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 60), workers=WORKERS, size=st.integers(1, 20))
def test_no_other_number_of_equal_stacks_ends_sooner(
    configure: Configure, count: int, workers: int, size: int
) -> None:
    """Compared with every number there is."""
    configs = [configure(seed=seed) for seed in range(count)]
    ours = makespan(
        lengths_of(pack(configs, workers=workers, stack_size=size), [1.0] * count), workers
    )
    for pieces in range(math.ceil(count / size), count + 1):
        cuts = [round(count * k / pieces) for k in range(pieces + 1)]
        other = [[0] * (b - a) for a, b in pairwise(cuts)]
        assert ours <= makespan(lengths_of(other, [1.0]), workers) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("count", "workers", "lengths"),
    [
        (40, 2, [10, 10, 10, 10]),  # not 14, 13, 13: one worker would wait for a third of the time
        (33, 2, [9, 8, 8, 8]),
        (16, 1, [16]),
        (17, 1, [9, 8]),
        (16, 3, [6, 5, 5]),
        (3, 8, [1, 1, 1]),
    ],
)
def test_the_number_of_stacks_is_a_multiple_of_the_workers(
    configure: Configure, count: int, workers: int, lengths: list[int]
) -> None:
    configs = [configure(seed=seed) for seed in range(count)]
    found = sorted((len(stack) for stack in pack(configs, workers=workers)), reverse=True)
    assert found == lengths


def test_a_long_family_is_cut_rather_than_waited_for(configure: Configure) -> None:
    """Ten long runs beside two short ones: not all in one stack while the other worker is idle."""
    configs = [configure(seed=seed) for seed in range(10)]
    configs += [configure(seed=seed, iterations=100) for seed in range(2)]
    stacks = pack(configs, workers=2)
    costs = [float(config.iterations) for config in configs]
    assert makespan(lengths_of(stacks, costs), 2) < 0.7 * sum(costs)


@given(lengths=st.lists(st.floats(0.1, 10), min_size=1, max_size=20), workers=WORKERS)
def test_the_end_is_between_the_ideal_and_twice_that(lengths: list[float], workers: int) -> None:
    """What Graham (1969) proves of the longest first."""
    ideal = max(sum(lengths) / workers, max(lengths))
    assert ideal <= makespan(lengths, workers) * (1 + 1e-9)
    assert makespan(lengths, workers) <= 2 * ideal


# --- memory ---------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(data=st.data(), workers=WORKERS, size=SIZES, memory=st.integers(1, 100))
def test_no_stack_takes_more_memory_than_there_is(
    runs: st.SearchStrategy[list[RunConfig]],
    data: st.DataObject,
    workers: int,
    size: int | None,
    memory: int,
) -> None:
    """Unless it is a single run, which cannot be divided."""
    configs = data.draw(runs)
    estimates = [
        Estimate(config.iterations, float(config.iterations), 7 if config.lr > 0.05 else 4)
        for config in configs
    ]
    stacks = pack(configs, workers=workers, stack_size=size, estimates=estimates, memory=memory)
    assert sorted(run for stack in stacks for run in stack) == list(range(len(configs)))
    for stack in stacks:
        assert len(stack) == 1 or sum(estimates[run].bytes for run in stack) <= memory


def test_a_gpu_takes_more_runs_at_once(configure: Configure, tmp_path: Path) -> None:
    """As many as its memory holds."""
    runs = {tmp_path / str(seed): configure(seed=seed) for seed in range(100)}
    (whole,) = plan_sweep(runs, workers=1, gpu_memory=80 * 2**30).stacks
    assert len(whole.runs) == 100
    half = plan_sweep(runs, workers=1, gpu_memory=whole.bytes // 2).stacks
    assert [len(stack.runs) for stack in half] == [50, 50]


def test_reproducible_runs_are_alone_on_one_thread(configure: Configure, tmp_path: Path) -> None:
    """Whatever else is asked for; the others are packed as they would be without them."""
    others = {tmp_path / f"other-{seed}": configure(seed=seed) for seed in range(6)}
    alone = {
        tmp_path / f"alone-{seed}": configure(seed=seed, reproducible=True) for seed in range(3)
    }
    plan = plan_sweep({**alone, **others}, workers=2, stack_size=6, threads=lambda _: 4)
    stacks = {stack.runs: stack.threads for stack in plan.stacks}
    assert {runs: threads for runs, threads in stacks.items() if runs[0] in alone} == {
        (run,): 1 for run in alone
    }
    rest = {runs: threads for runs, threads in stacks.items() if runs[0] in others}
    assert sorted(run for runs in rest for run in runs) == sorted(others)
    assert len(rest) < len(others)
    assert set(rest.values()) == {4}


# --- the plan that is kept ------------------------------------------------------------------------


def test_a_plan_is_kept_where_it_can_be_read(configure: Configure, tmp_path: Path) -> None:
    """Runs as paths from the sweep directory, in the order of the stack; always the same bytes."""
    runs = {
        tmp_path / f"{name}-{seed}": configure(f"activation={name}", seed=seed)
        for seed in (1, 0)
        for name in ("tanh", "gelu", "relu")
    }
    found = plan_sweep(runs, workers=1)
    write_plan(StoredPlan(found, {"device": "cpu"}), tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text()
    content = json.loads(text)
    assert content["workers"] == 1
    (stack,) = content["stacks"]
    assert stack["runs"] == ["relu-0", "relu-1", "tanh-0", "tanh-1", "gelu-0", "gelu-1"]
    assert (stack["stack"], stack["iterations"]) == (0, 2000)
    assert stack["estimated_operations"] > 0
    assert stack["estimated_bytes"] > 0
    write_plan(StoredPlan(plan_sweep(runs, workers=1), {"device": "cpu"}), tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json"}
    stored = read_plan(tmp_path / "plan.json")
    assert stored is not None
    assert stored.conditions == {"device": "cpu"}
    assert stored.plan.runs == found.runs
    assert [each.threads for each in stored.plan.stacks] == [each.threads for each in found.stacks]
