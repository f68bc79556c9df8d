"""The learning-rate schedules: how the learning rate moves over the iterations of a run.

In: a schedule's name and settings, the learning rate and the budget. Out: the learning rate of
every iteration, known before training starts. Nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lenet_bench.choices.parameters import Parameter
from lenet_bench.common.errors import UserError


@dataclass(frozen=True)
class ScheduleKind:
    """A schedule and what can be set about it.

    Attributes:
        meaning: One line for the help text.
        reference: The paper to cite; empty if there is none.
        parameters: Its settings, by name; `warmup` is among those of every schedule.
        factor: (done, all, settings) -> what the learning rate is multiplied by, after `done` of
            the `all` iterations that follow the warm-up.
    """

    meaning: str
    reference: str
    parameters: Mapping[str, Parameter]
    factor: Callable[[int, int, Mapping[str, float]], float]


def _constant(_done: int, _all: int, _settings: Mapping[str, float]) -> float:
    return 1.0


def _cosine(done: int, all_: int, settings: Mapping[str, float]) -> float:
    final = settings["final"]
    return final + (1 - final) * (1 + math.cos(math.pi * done / all_)) / 2


def _step(done: int, _all: int, settings: Mapping[str, float]) -> float:
    return float(settings["gamma"] ** (done // settings["every"]))


# Goyal et al. 2017, arXiv:1706.02677, section 2.2 ("gradual warmup").
_WARMUP = {"warmup": Parameter(0, "iterations of linear rise from lr / warmup to lr", low=0)}

SCHEDULES: Mapping[str, ScheduleKind] = {
    "constant": ScheduleKind(
        meaning="the same learning rate throughout",
        reference="",
        parameters=_WARMUP,
        factor=_constant,
    ),
    "cosine": ScheduleKind(
        meaning="half a cosine wave from lr down to final * lr",
        reference="Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts",
        parameters={
            **_WARMUP,
            "final": Parameter(0.0, "fraction of lr left at the end", low=0, high=1),
        },
        factor=_cosine,
    ),
    "step": ScheduleKind(
        meaning="lr multiplied by gamma after every so many iterations",
        reference="He et al. 2016, arXiv:1512.03385, section 4.2",
        parameters={
            **_WARMUP,
            "gamma": Parameter(0.1, "factor of a step", low=0, high=1, low_open=True),
            "every": Parameter(1000, "iterations between two steps", low=1),
        },
        factor=_step,
    ),
}


def learning_rates(*, name: str, lr: float, iterations: int, **settings: float) -> list[float]:
    """Return the learning rate of each iteration.

    During the warm-up, iteration k uses lr * k / warmup. After it the schedule starts, and runs
    over the remaining iterations. The cosine would reach `final` one update after the last, as
    torch's `CosineAnnealingLR(T_max=iterations)` does, so that no update is made at a learning
    rate of 0.

    Args:
        name: A key of `SCHEDULES`.
        lr: The learning rate that the schedule scales.
        iterations: How many updates the run makes.
        settings: Of the schedule's parameters, those that differ from the defaults.

    Returns:
        (iterations,) learning rates, that of iteration 1 first.

    Raises:
        UserError: An unknown schedule or setting, a value out of range, or a warm-up longer than
            the run.
    """
    if name not in SCHEDULES:
        raise UserError(f"schedule={name} is unknown; choose {', '.join(SCHEDULES)}")
    kind = SCHEDULES[name]
    for key, value in settings.items():
        if key not in kind.parameters:
            known = ", ".join(kind.parameters)
            raise UserError(f"schedule.{key}={value} is unknown; schedule={name} has {known}")
        if problem := kind.parameters[key].problem(value):
            raise UserError(f"schedule.{key}={value} {problem}")
    complete = {key: settings.get(key, entry.default) for key, entry in kind.parameters.items()}
    warmup = int(complete["warmup"])
    if warmup > iterations:
        raise UserError(
            f"schedule.warmup={warmup} is longer than the run; choose at most its iterations, "
            f"{iterations}"
        )
    left = iterations - warmup
    rise = [lr * (k / warmup) for k in range(1, warmup + 1)]
    return rise + [lr * kind.factor(done, left, complete) for done in range(left)]
