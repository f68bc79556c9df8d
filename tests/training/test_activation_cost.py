"""What an activation costs: that the right things are timed, next to ReLU, and told rightly.

How long they take is for the benchmark to say; no test here depends on it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from benchmarks.activations import PANELS, plot
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.errors import UserError
from lenet_bench.model.groups import RunActivation
from lenet_bench.model.stack import Stack
from lenet_bench.training import activation_cost
from lenet_bench.training.activation_cost import (
    CHANNELS,
    KEYS,
    MAPS,
    RUNS,
    element_function,
    fastest,
    measure,
    summarise,
    tasks,
)
from tests import warm

WHERE_AND_PASS = {
    ("element", "forward"),
    ("element", "forward_backward"),
    ("lenet", "forward"),
    ("lenet", "forward_backward"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves behind after one round of the whole zoo."""
    output = tmp_path_factory.mktemp("cost") / "out"
    command = [sys.executable, "-m", "benchmarks.activations", "--rounds", "1"]
    root = Path(__file__).resolve().parents[2]
    done = warm.run([*command, "--output", str(output)], cwd=root)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ACTIVATIONS)
    return output


def maps() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(2, *MAPS[1:], generator=generator)


# --- what is timed --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_both_implementations_are_the_function_of_the_zoo(name: str) -> None:
    z, entry = maps(), ACTIVATIONS[name]
    wanted = entry.function(z, **entry.arguments())
    ours, _ = element_function(name, "lenet_bench", training=False)
    torch.testing.assert_close(ours(z), wanted, rtol=1e-5, atol=2e-6)
    if entry.torch_module is None:
        with pytest.raises(KeyError, match=name):
            element_function(name, "torch", training=False)
    else:
        theirs, _ = element_function(name, "torch", training=False)
        torch.testing.assert_close(theirs(z), wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_timed_is_what_a_stack_calls(name: str) -> None:
    assert len(list(tasks(name))) == (4 if ACTIVATIONS[name].torch_module is None else 6)
    fixed = RunActivation(name, ACTIVATIONS[name].complete()).fixed
    ours, learned = element_function(name, "lenet_bench", training=True)
    assert (fixed is None) or type(ours) is type(fixed)
    # One slope for each of the channels, as the stack's 4 runs have: 6 each.
    assert [tensor.numel() for tensor in learned] == ([RUNS * CHANNELS] if name == "prelu" else [])


@pytest.mark.parametrize("implementation", ["torch", "lenet_bench"])
def test_noise_is_drawn_in_training_alone(
    implementation: activation_cost.Implementation,
) -> None:
    z = maps()
    quiet, _ = element_function("rrelu", implementation, training=False)
    noisy, _ = element_function("rrelu", implementation, training=True)
    assert torch.equal(quiet(z), quiet(z))
    first, second = noisy(z), noisy(z)
    assert not torch.equal(first, second)
    slopes = first[z < 0] / z[z < 0]
    assert 1 / 8 - 1e-6 <= float(slopes.min()) < float(slopes.max()) <= 1 / 3 + 1e-6


@pytest.mark.parametrize("name", ["relu", "prelu", "rrelu", "mish"])
def test_a_step_inside_lenet_is_a_whole_one_and_leaves_the_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks: list[Stack] = []

    class Spied(Stack):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            stacks.append(self)

    monkeypatch.setattr(activation_cost, "Stack", Spied)
    timed = {(task.where, task.passes): task for task in tasks(name)}
    (stack,) = stacks
    before = stack.parameters.clone()
    timed["lenet", "forward"].run()
    assert not stack.gradients.any()
    timed["lenet", "forward_backward"].run()
    assert torch.equal(stack.parameters, before)
    for layer in stack.weighted_layers:  # every layer of every run has a gradient
        assert (stack.gradients[:, stack.columns(layer)].norm(dim=1) > 0).all()
    # 3 * 5 * 5 * 6 + 6, 6 * 5 * 5 * 16 + 16, 400 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10
    slopes = 6 + 16 + 120 + 84 if name == "prelu" else 0
    assert stack.parameters.shape == (4, 456 + 2416 + 48120 + 10164 + 850 + slopes)


# --- how it is timed and told ---------------------------------------------------------------------


def test_two_functions_take_turns_and_the_fastest_call_of_each_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0]
    monkeypatch.setattr("time.perf_counter_ns", lambda: now[0])
    called: list[str] = []

    def taking(name: str, *nanoseconds: int) -> object:
        durations = iter(nanoseconds)

        def call() -> None:
            called.append(name)
            now[0] += next(durations)

        return call

    first, second = taking("a", 50, 7, 90), taking("b", 20, 30, 11)
    assert fastest(first, second, calls=3) == (7, 11)  # type: ignore[arg-type]
    assert called == ["a", "b"] * 3


def test_a_summary_is_median_and_range_over_rounds() -> None:
    common = {"activation": "swish", "where": "lenet", "pass": "forward"}
    rows = [
        {**common, "implementation": "lenet_bench", "round": number, "nanoseconds": 10.0 * number,
         "relu_nanoseconds": 10.0, "relative": relative}
        for number, relative in enumerate((1.5, 4.0, 1.25, 1.0), 1)
    ]  # fmt: skip
    other = {**rows[0], "activation": "mish", "relative": 2.0}
    found = summarise(pd.DataFrame([*rows, other]))
    assert list(found["activation"]) == ["swish", "mish"]  # in the order of the measurements
    assert found.iloc[0].to_dict() == {
        **common, "implementation": "lenet_bench", "relative_median": 1.375, "relative_low": 1.0,
        "relative_high": 4.0, "nanoseconds_median": 25.0, "rounds": 4,
    }  # fmt: skip


@pytest.mark.slow
def test_the_command_measures_every_activation_everywhere(written: Path) -> None:
    measured = pd.read_csv(written / "activation_cost_rounds.csv")
    assert not measured.duplicated([*KEYS, "round"]).any()
    assert list(measured["activation"].unique()) == list(ACTIVATIONS)
    for name, part in measured.groupby("activation"):
        ours = part[part["implementation"] == "lenet_bench"]
        assert set(zip(ours["where"], ours["pass"], strict=True)) == WHERE_AND_PASS
        theirs = part[part["implementation"] == "torch"]
        assert set(theirs["where"]) == (
            {"element"} if ACTIVATIONS[str(name)].torch_module else set()
        )
    ratio = measured["nanoseconds"] / measured["relu_nanoseconds"]
    pd.testing.assert_series_equal(measured["relative"], ratio, check_names=False)
    summary = pd.read_csv(written / "activation_cost.csv")
    pd.testing.assert_frame_equal(summary, summarise(measured))
    assert summary["rounds"].eq(1).all()


@pytest.mark.slow
def test_the_command_leaves_a_figure_and_the_facts_of_the_machine(written: Path) -> None:
    facts = json.loads((written / "activation_cost.json").read_text(encoding="utf-8"))
    assert facts["threads"] == 1
    assert facts["cpu"]
    assert facts["versions"]["torch"]
    for ending in ("png", "svg"):
        assert (written / f"activation_cost.{ending}").stat().st_size > 10_000


def test_a_figure_shows_every_median_sorted_by_the_training_step() -> None:
    costs = {"relu": 1.0, "mish": 3.0, "swish": 2.0}
    summary = pd.DataFrame(
        [
            {"activation": name, "where": where, "pass": passes, "implementation": "lenet_bench",
             "relative_median": cost, "relative_low": cost / 2, "relative_high": cost * 2}
            for name, cost in costs.items()
            for where, passes in PANELS
        ]
    )  # fmt: skip
    figure = plot(summary, "caption")
    assert len(figure.axes) == len(PANELS)
    # The cheapest on top; the vertical axis counts from below.
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "mish", "swish", "relu",
    ]  # fmt: skip
    for axis in figure.axes:
        dots = sorted(
            (y, x)
            for line in axis.lines
            if line.get_marker() not in ("None", "")
            for x, y in np.asarray(line.get_xydata()).tolist()
        )
        assert dots == [(0.0, 3.0), (1.0, 2.0), (2.0, 1.0)]


@pytest.mark.parametrize(
    ("rounds", "names", "message"),
    [
        (1, ["relu", "reluu"], "activations=reluu: unknown; choose from identity"),
        (0, ["relu"], "rounds=0"),
        (1, [], "activations=:"),
    ],
)
def test_what_cannot_be_measured_is_said(rounds: int, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        measure(rounds, names)


@pytest.mark.slow
def test_ctrl_c_ends_the_command_with_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.activations", "--output", str(tmp_path / "o")]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        command,
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that a shell put in the background ignores it, and its children would too.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        assert "round 1 of" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in told
    assert told.splitlines()[-1] == "stopped"
    assert not (tmp_path / "o").exists()
