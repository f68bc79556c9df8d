"""Curves against the iteration: what is drawn is measured on the drawn figure itself."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from lenet_bench.analysis import load_sweep
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.reporting import figures
from lenet_bench.reporting.palette import PALETTE
from tests.fabricate import descent, write_run
from tests.reporting.drawing import (
    all_text,
    assert_all_text_fits,
    every_figure,
    visible_texts,
    write_three,
)


def test_figures_of_the_main_comparison(tmp_path: Path) -> None:
    sweep = load_sweep(write_three(tmp_path / "s"))
    before = dict(matplotlib.rcParams)
    for figure in every_figure(sweep):
        assert_all_text_fits(figure)
        for name in ("sigmoid", "tanh", "relu"):
            assert re.search(rf"\b{name}\b", all_text(figure))
    assert dict(matplotlib.rcParams) == before
    loss = figures.training_loss(sweep.train, sweep.runs)
    text = all_text(loss)
    for part in ("training loss (nats)", "iteration", "chance (ln 10)", "3 seeds", "Smoothed by"):
        assert part in text
    (axis,) = loss.axes
    colours = {line.get_color() for line in axis.lines if line.get_linewidth() > 1.5}
    assert {PALETTE[name].colour for name in ("sigmoid", "tanh", "relu")} <= colours
    dead = figures.dead_fraction(sweep.layers, sweep.runs)
    assert [axis.get_title(loc="left") for axis in dead.axes] == ["conv1", "conv2", "fc1", "fc2"]


def test_the_drawn_mean_is_the_mean(tmp_path: Path) -> None:
    for seed, loss in enumerate((1.0, 2.0)):
        write_run(tmp_path / "s", f"a{seed}", np.full(200, loss), seed=seed)
    sweep = load_sweep(tmp_path / "s")
    (axis,) = figures.training_loss(sweep.train, sweep.runs).axes
    (mean,) = [line for line in axis.lines if line.get_marker() == PALETTE["relu"].marker]
    np.testing.assert_allclose(np.asarray(mean.get_ydata(), dtype=float), 1.5)


@pytest.mark.slow
def test_figures_of_the_whole_zoo(tmp_path: Path) -> None:
    for number, name in enumerate(ACTIVATIONS):
        losses = descent(100, number, rate=5.0 + 7 * number)
        write_run(tmp_path / "s", name, losses, activation=name)
    sweep = load_sweep(tmp_path / "s")
    for figure in every_figure(sweep)[:2]:
        assert_all_text_fits(figure)
        labels = {text.get_text() for text in visible_texts(figure)}
        assert set(ACTIVATIONS) <= labels
    dead = figures.dead_fraction(sweep.layers, sweep.runs)
    assert_all_text_fits(dead)
    assert "No unit was dead at any probe" in all_text(dead)


def test_datasets_never_share_a_panel_and_have_their_own_chance(tmp_path: Path) -> None:
    for dataset, classes in (("digits", 10), ("cifar100", 100)):
        write_run(tmp_path / "s", dataset, descent(60, 0), dataset=dataset, classes=classes)
        write_run(
            tmp_path / "s",
            f"{dataset}-tanh",
            descent(60, 0),
            dataset=dataset,
            classes=classes,
            activation="tanh",
        )
    sweep = load_sweep(tmp_path / "s")
    figure = figures.training_loss(sweep.train, sweep.runs)
    assert len(figure.axes) == 2
    levels = [
        np.asarray(line.get_ydata(), dtype=float)[0]
        for axis in figure.axes
        for line in axis.lines
        if line.get_color() == "#555555"
    ]
    np.testing.assert_allclose(sorted(levels), [np.log(10), np.log(100)])
    assert_all_text_fits(figure)


def test_diverged_runs_are_marked_inside_the_picture(tmp_path: Path) -> None:
    write_three(tmp_path / "s", seeds=2)
    losses = np.append(np.linspace(2.3, 1, 55), [10.0, 1e5, 1e30, np.inf])
    write_run(tmp_path / "s", "bad", losses, activation="square", status="diverged")
    sweep = load_sweep(tmp_path / "s")
    for figure in every_figure(sweep):
        assert_all_text_fits(figure)
    figure = figures.training_loss(sweep.train, sweep.runs)
    (axis,) = figure.axes
    (cross,) = [line for line in axis.lines if line.get_marker() == "x"]
    assert np.asarray(cross.get_xdata(), dtype=float).tolist() == [58.0]
    assert axis.get_ylim()[1] < 4, "one explosion must not flatten everything else"
    assert "where a run diverged" in all_text(figure)
    for first in (np.array([np.nan]), np.array([2.3, np.nan])):
        write_run(tmp_path / f"only{len(first)}", "bad", first, status="diverged")
        only = load_sweep(tmp_path / f"only{len(first)}")
        assert_all_text_fits(figures.training_loss(only.train, only.runs))


def test_figures_from_threads_are_the_same(tmp_path: Path) -> None:
    sweep = load_sweep(write_three(tmp_path / "s", seeds=1, iterations=60))
    sweep.train  # noqa: B018  read once, before the threads

    def picture(_: int) -> bytes:
        return figures.save(figures.training_loss(sweep.train, sweep.runs), Path("a.svg"))

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(picture, range(4)))) == 1
