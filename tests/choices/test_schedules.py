"""The schedules against torch's own, and the warm-up against its definition."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
    StepLR,
)

from lenet_bench.choices.parameters import Parameter
from lenet_bench.choices.schedules import SCHEDULES, learning_rates
from lenet_bench.common.errors import UserError

LR = 0.037


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)


def rates(scheduler: LRScheduler, optimizer: torch.optim.Optimizer, iterations: int) -> list[float]:
    """The learning rates a torch scheduler gives to that many updates."""
    used = []
    for _ in range(iterations):
        used.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return used


def close(expected: list[float]) -> object:
    return pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine_is_torchs(final: float) -> None:
    optimizer = sgd()
    scheduler = CosineAnnealingLR(optimizer, T_max=60, eta_min=final * LR)
    ours = learning_rates(name="cosine", lr=LR, iterations=60, final=final)
    assert ours == close(rates(scheduler, optimizer, 60))


@pytest.mark.parametrize(("gamma", "every"), [(0.1, 7), (0.5, 1), (1.0, 10), (0.3, 100)])
def test_step_is_torchs(gamma: float, every: int) -> None:
    optimizer = sgd()
    scheduler = StepLR(optimizer, step_size=every, gamma=gamma)
    ours = learning_rates(name="step", lr=LR, iterations=40, gamma=gamma, every=every)
    assert ours == close(rates(scheduler, optimizer, 40))


@pytest.mark.parametrize("warmup", [2, 5, 24])
@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_is_torchs_linear_followed_by_the_schedule(name: str, warmup: int) -> None:
    iterations = 25
    optimizer = sgd()
    rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    after: dict[str, LRScheduler] = {
        "constant": ConstantLR(optimizer, factor=1.0),
        "cosine": CosineAnnealingLR(optimizer, T_max=iterations - warmup),
        "step": StepLR(optimizer, step_size=3, gamma=0.2),
    }
    scheduler = SequentialLR(optimizer, [rise, after[name]], milestones=[warmup])
    settings = {"gamma": 0.2, "every": 3} if name == "step" else {}
    ours = learning_rates(name=name, lr=LR, iterations=iterations, warmup=warmup, **settings)
    assert ours == close(rates(scheduler, optimizer, iterations))


def test_the_rise_starts_at_a_share_and_ends_at_the_learning_rate() -> None:
    ours = learning_rates(name="constant", lr=0.1, iterations=6, warmup=4)
    assert ours == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-15)
    assert ours[3] == 0.1


def test_a_warm_up_of_one_changes_nothing_and_of_the_whole_run_leaves_the_rise() -> None:
    assert learning_rates(name="constant", lr=0.1, iterations=3, warmup=1) == [0.1] * 3
    ours = learning_rates(name="cosine", lr=0.1, iterations=2, warmup=2)
    assert ours == [0.05, 0.1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_iteration_gets_one_positive_rate_never_above_the_given(name: str) -> None:
    ours = learning_rates(name=name, lr=LR, iterations=2500)
    assert len(ours) == 2500
    assert ours[0] == LR
    assert all(0 < rate <= LR for rate in ours)
    assert learning_rates(name=name, lr=LR, iterations=0) == []


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("cosin", {}, ["schedule=cosin", "cosine", "step"]),
        ("constant", {"gamma": 0.5}, ["schedule.gamma=0.5", "warmup"]),
        ("step", {"gamma": 0.0}, ["schedule.gamma=0.0", "(0, 1]"]),
        ("step", {"every": 0}, ["schedule.every=0", "an integer >= 1"]),
        ("step", {"every": 2.5}, ["schedule.every=2.5", "an integer"]),
        ("cosine", {"final": 1.5}, ["schedule.final=1.5", "[0, 1]"]),
        ("cosine", {"final": float("nan")}, ["schedule.final=nan", "[0, 1]"]),
        ("cosine", {"warmup": 11}, ["schedule.warmup=11", "10"]),
        ("cosine", {"warmup": -1}, ["schedule.warmup=-1", ">= 0"]),
    ],
)
def test_mistakes_are_named(name: str, settings: dict[str, float], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        learning_rates(name=name, lr=LR, iterations=10, **settings)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


NUMBER = Parameter(0.5, "a fraction", low=0, high=1, high_open=True)
COUNT = Parameter(3, "a count", low=1)
SWITCH = Parameter(False, "a switch")
SLOPE = Parameter(0.0, "anything finite")
POSITIVE = Parameter(1.0, "a scale", low=0, low_open=True)
NEGATIVE = Parameter(-1.0, "a scale below", high=0, high_open=True)


@pytest.mark.parametrize(
    ("parameter", "fine", "refused", "allowed"),
    [
        (NUMBER, [0, 0.0, 0.999], [1, -1e-9, True, "0.5", None], "a number in [0, 1)"),
        (COUNT, [1, 10**30], [0, 2.0, True, "3", 10**400], "an integer >= 1"),
        (SWITCH, [True, False], [0, 1, 1.0, "true", None], "true or false"),
        (SLOPE, [-1e300, 7], [float("nan"), float("inf"), -float("inf")], "a finite number"),
        (POSITIVE, [1e-300, 5], [0, -1.0, float("inf")], "a number > 0"),
        (NEGATIVE, [-1e-300, -5], [0, 1.0, -float("inf")], "a number < 0"),
    ],
)
def test_parameters_refuse_what_is_out_of_kind_or_range(
    parameter: Parameter, fine: list[object], refused: list[object], allowed: str
) -> None:
    assert [parameter.problem(value) for value in fine] == [None] * len(fine)
    assert {parameter.problem(value) for value in refused} == {f"must be {allowed}"}


@pytest.mark.parametrize("table", ["optimizers", "schedules"])
def test_the_tables_do_not_import_torch(table: str) -> None:
    code = f"import sys, lenet_bench.choices.{table}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
