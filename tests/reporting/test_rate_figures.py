"""Figures over the learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lenet_bench.analysis import load_sweep
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.reporting import figures
from lenet_bench.reporting.figures.stylesheet import CROSS
from lenet_bench.reporting.palette import PALETTE
from tests.fabricate import descent, write_run
from tests.reporting.drawing import all_text, assert_all_text_fits, visible_texts


def rates_summary(activations: tuple[str, ...], inits: tuple[str, ...] = ("u",)) -> pd.DataFrame:
    """Parabolas of the logarithm of the rate with a best rate each; some runs diverge."""
    rows: list[dict[str, Any]] = []
    for number, activation in enumerate(activations):
        for init in inits:
            for lr in (0.001, 0.003, 0.01, 0.03, 0.1):
                for seed in range(3):
                    diverged = lr == 0.1 and number % 3 == 0 and seed == 0
                    best = 10 ** (-3 + number % 5 / 2)
                    loss = 0.2 + 0.4 * np.log10(lr / best) ** 2 + 0.01 * seed
                    rows.append(
                        {
                            **{"run": f"{len(rows)}", "sweep": "s", "activation": activation},
                            **{"init": init, "lr": lr, "seed": seed, "dataset": "digits"},
                            **{"status": "diverged" if diverged else "finished", "classes": 10},
                            "final_validation_loss": np.nan if diverged else loss,
                        }
                    )
    return pd.DataFrame(rows)


def test_the_best_rate_is_ringed_and_the_edge_of_the_grid_is_grey() -> None:
    frame = rates_summary(("sigmoid", "tanh", "relu"))
    assert figures.has_learning_rates(frame)
    figure = figures.learning_rate(frame)
    assert_all_text_fits(figure)
    (axis,) = figure.axes
    rings = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
    found = {line.get_markeredgecolor(): np.asarray(line.get_xdata())[0] for line in rings}
    expected = {"sigmoid": 0.001, "tanh": 0.003, "relu": 0.01}
    assert found == {PALETTE[name].colour: lr for name, lr in expected.items()}
    assert axis.get_xscale() == "log"
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    marked = {line.get_color(): np.asarray(line.get_xdata()).tolist() for line in crosses}
    assert marked == {
        **{PALETTE[name].colour: [] for name in ("tanh", "relu")},
        PALETTE["sigmoid"].colour: [0.1],
    }
    assert len(axis.patches) == 2, "grey on both sides of what was tried"
    assert "runs diverged" in all_text(figure)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activations", "inits", "panels"),
    [
        (("tanh", "relu"), ("u", "n"), 2),
        (("tanh",), ("a", "b", "c", "d", "e"), 5),
        (("tanh", "relu"), tuple("abcdefghijklmn"), 12),
        (tuple(ACTIVATIONS), ("u",), 5),
    ],
)
def test_rates_of_many_lines_and_panels(
    activations: tuple[str, ...], inits: tuple[str, ...], panels: int
) -> None:
    figure = figures.learning_rate(rates_summary(activations, inits))
    assert len(figure.axes) == panels
    assert_all_text_fits(figure)
    assert set(activations) <= {text.get_text() for text in visible_texts(figure)}
    assert ("Not shown, for room" in all_text(figure)) == (len(inits) > 12)


def test_two_rates_or_no_validation_loss_make_no_figure() -> None:
    frame = rates_summary(("relu",))
    assert not figures.has_learning_rates(frame[frame["lr"] < 0.01])
    assert not figures.has_learning_rates(frame.assign(final_validation_loss=np.nan))


@pytest.mark.parametrize("activations", [("relu",), ("relu", "tanh"), tuple(ACTIVATIONS)[:5]])
def test_dead_units_by_rate_and_gain(tmp_path: Path, activations: tuple[str, ...]) -> None:
    for activation in activations:
        for lr in (0.01, 0.1):
            for gain in (0.5, 2.0):
                for seed, dead in enumerate((0.25, 0.75) if gain == 2 else (0.0, 0.0)):
                    write_run(
                        *(tmp_path / "s", f"{activation}-{lr}-{gain}-{seed}", descent(100, seed)),
                        activation=activation,
                        lr=lr,
                        seed=seed,
                        init={"name": "xavier_uniform", "gain": gain},
                        dead=dict.fromkeys(("conv1", "conv2", "fc1", "fc2"), dead),
                        status="diverged" if lr == 0.1 and gain == 2 else "finished",
                    )
    sweep = load_sweep(tmp_path / "s")
    assert figures.phase_key(sweep.runs) == "init.gain"
    figure = figures.phase_diagram(sweep.layers, sweep.runs)
    assert_all_text_fits(figure)
    assert len(figure.axes) == len(activations)
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["50", f"50\n{CROSS}2", "0", "0"], "the higher gain stands above"


def test_phase_diagrams_need_the_rate_and_one_other_number(tmp_path: Path) -> None:
    frame = rates_summary(("tanh", "relu"))
    assert figures.phase_key(frame) is None
    assert figures.phase_key(rates_summary(("tanh", "relu"), ("u", "n"))) is None, "no number"
    frame["weight_decay"] = frame["seed"] * 0.1
    assert figures.phase_key(frame) == "weight_decay"
    frame["activation.negative_slope"] = frame["seed"] * 0.1
    assert figures.phase_key(frame) is None, "two"
    assert figures.phase_key(frame.drop(columns="weight_decay")) is None, "not both have slopes"
    leaky = frame[frame["activation"] == "relu"].drop(columns="weight_decay")
    assert figures.phase_key(leaky) == "activation.negative_slope"
