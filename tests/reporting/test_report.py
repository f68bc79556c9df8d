"""Figures, tables and the report: what is drawn is measured on the drawn figure itself."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from rich.console import Console

from lenet_bench.analysis import Sweep, load_sweep
from lenet_bench.analysis.lines import describe_value
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.commands.report import main
from lenet_bench.common.errors import UserError
from lenet_bench.reporting import figures, rates
from lenet_bench.reporting.comparison import compare
from lenet_bench.reporting.curves import (
    MOST_POINTS,
    centred_mean,
    curve,
    envelope,
    smoothing_window,
)
from lenet_bench.reporting.labels import spread
from lenet_bench.reporting.palette import PALETTE, activation_style
from lenet_bench.reporting.report import distinct_runs, write_report
from lenet_bench.reporting.tables import (
    comparison_rows,
    print_table,
    tuned_rows,
    verdict_lines,
)
from lenet_bench.reporting.words import NOTHING, p_value
from tests.fabricate import descent, set_preset, write_run


def three(directory: Path, seeds: int = 3, iterations: int = 200) -> Path:
    """Sigmoid, tanh and ReLU."""
    for activation, plateau in (("sigmoid", 80.0), ("tanh", 5.0), ("relu", 10.0)):
        for seed in range(seeds):
            losses = descent(iterations, seed, plateau=plateau)
            dead = {"fc1": 0.2} if activation == "relu" else None
            write_run(
                directory,
                f"{activation}-{seed}",
                losses,
                activation=activation,
                seed=seed,
                dead=dead,
            )
    return directory


def drawn(figure: Figure) -> list[Text]:
    """Every visible piece of text after a real drawing."""
    cast(Any, FigureCanvasAgg(figure)).draw()
    unseen = set()  # matplotlib keeps the labels of ticks just outside the axes, undrawn
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            outside = [t for t in axis.get_major_ticks() if not low <= t.get_loc() <= high]
            unseen |= {label for tick in outside for label in (tick.label1, tick.label2)}
    texts = [t for t in figure.findobj(Text) if isinstance(t, Text) and t not in unseen]
    return [t for t in texts if t.get_visible() and t.get_text().strip()]


def assert_all_text_fits(figure: Figure) -> None:
    """No text leaves the canvas, and no two labels of a figure overlap."""
    texts = [t for t in drawn(figure) if t.get_window_extent().width > 0]
    boxes = [t.get_window_extent() for t in texts]
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text.get_text()!r} leaves the canvas"
    for i, first in enumerate(boxes):
        for j in range(i):
            other = boxes[j]
            x = min(first.x1, other.x1) - max(first.x0, other.x0)
            y = min(first.y1, other.y1) - max(first.y0, other.y0)
            # A label's box holds room for descenders; three pixels of it may be shared.
            assert x < 1 or y < 3, f"{texts[i].get_text()!r} over {texts[j].get_text()!r}"


def every_figure(sweep: Sweep) -> list[Figure]:
    return [
        figures.training_loss(sweep.train, sweep.runs),
        figures.validation_accuracy(sweep.evaluation, sweep.runs),
        figures.dead_fraction(sweep.layers, sweep.runs),
    ]


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in drawn(figure))


# ---------------------------------------------------------------------------------- the parts


def test_every_activation_has_a_look_of_its_own() -> None:
    assert set(PALETTE) == {*ACTIVATIONS, "custom"}
    assert len({(s.colour, s.dash) for s in PALETTE.values()}) == len(PALETTE)
    variants = {(s.colour, s.dash) for s in (activation_style("leaky_relu", i) for i in range(8))}
    assert len(variants) == 8


def test_the_main_three_differ_in_lightness_too() -> None:
    def lightness(name: str) -> float:
        colour = PALETTE[name].colour
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return (0.299 * red + 0.587 * green + 0.114 * blue) / 255

    levels = sorted(map(lightness, ("sigmoid", "tanh", "relu")))
    assert min(np.diff(levels)) > 0.05


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=30),
    st.floats(0.01, 0.2),
)
def test_spread_labels_keep_apart_in_order_and_in_bounds(wished: list[float], gap: float) -> None:
    placed = spread(wished, gap, -1.0, 1.0)
    order = np.argsort(wished, kind="stable")
    room = min(gap, 2.0 / max(len(wished) - 1, 1))
    assert all(np.diff(np.array(placed)[order]) >= room - 1e-9)
    assert min(placed) >= -1 - 1e-9
    assert max(placed) <= 1 + 1e-9


def test_spread_moves_nothing_that_is_apart_and_centres_a_tie() -> None:
    assert spread([0.5, 0.1], 0.2, 0.0, 1.0) == [0.5, 0.1]
    np.testing.assert_allclose(spread([0.5, 0.5, 0.5], 0.1, 0.0, 1.0), [0.4, 0.5, 0.6])
    assert spread([], 0.1, 0, 1) == []


def test_smoothing_is_the_plain_mean_and_survives_a_spike() -> None:
    values = np.random.default_rng(0).normal(size=60)
    values[20] = 1e300
    smooth = centred_mean(values, np.arange(60), 5)
    assert smooth[0] == values[0]
    np.testing.assert_allclose(smooth[1], values[:3].mean())
    np.testing.assert_allclose(smooth[40], values[38:43].mean(), rtol=1e-14)
    np.testing.assert_allclose(smooth[-1], values[-3:].mean())
    assert [smoothing_window(n) for n in (0, 20, 780, 2000, 40_000)] == [1, 1, 19, 25, 501]


def test_thinning_keeps_the_extremes() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    x, y = envelope(np.arange(5000.0), values)
    assert len(y) <= MOST_POINTS
    assert (y.min(), y.max()) == (values.min(), values.max())
    np.testing.assert_array_equal(y, values[x.astype(int)])


def test_a_curve_is_the_mean_over_its_runs_and_marks_where_one_stopped() -> None:
    x = np.arange(1.0, 101.0)
    series = {"a": (x, np.full(100, 1.0)), "b": (x, np.full(100, 3.0))}
    series["c"] = (x[:50], np.append(np.full(49, 2.0), np.nan))
    found = curve(series, frozenset("abc"), frozenset("c"), window=5)
    assert found is not None
    np.testing.assert_allclose(found.mean, 2.0)
    assert found.stops == ((49.0, 2.0),)
    assert (found.runs, found.diverged) == (3, 1)
    assert curve({}, frozenset("a"), frozenset(), 1) is None


def test_values_read_as_typed() -> None:
    assert [describe_value(v) for v in (0.1, 1.0, 3, True, None, np.nan, "max")] == [
        *("0.1", "1", "3", "true", "none", "none", "max"),
    ]


# ---------------------------------------------------------------------------------- the figures


def test_figures_of_the_main_comparison(tmp_path: Path) -> None:
    sweep = load_sweep(three(tmp_path / "s"))
    before = dict(matplotlib.rcParams)
    for figure in every_figure(sweep):
        assert_all_text_fits(figure)
        for name in ("sigmoid", "tanh", "relu"):
            assert re.search(rf"\b{name}\b", words(figure))
    assert dict(matplotlib.rcParams) == before
    loss = figures.training_loss(sweep.train, sweep.runs)
    text = words(loss)
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


def test_figures_of_the_whole_zoo(tmp_path: Path) -> None:
    for number, name in enumerate(ACTIVATIONS):
        losses = descent(100, number, rate=5.0 + 7 * number)
        write_run(tmp_path / "s", name, losses, activation=name)
    sweep = load_sweep(tmp_path / "s")
    for figure in every_figure(sweep)[:2]:
        assert_all_text_fits(figure)
        labels = {text.get_text() for text in drawn(figure)}
        assert set(ACTIVATIONS) <= labels
    dead = figures.dead_fraction(sweep.layers, sweep.runs)
    assert_all_text_fits(dead)
    assert "No unit was dead at any probe" in words(dead)


def test_panels_for_what_else_varies(tmp_path: Path) -> None:
    for activation in ("tanh", "relu"):
        for init in ("xavier_uniform", "kaiming_normal"):
            for lr in (0.1, 0.003, 0.01):
                write_run(
                    tmp_path / "s",
                    f"{activation}-{init}-{lr}",
                    descent(60, 0),
                    activation=activation,
                    init=init,
                    lr=lr,
                )
    sweep = load_sweep(tmp_path / "s")
    comparison = compare(sweep.runs)
    assert [line.label for line in comparison.lines] == ["tanh", "relu"]
    assert comparison.columns == 3
    titles = [panel.title for panel in comparison.panels]
    assert [title.partition(", ")[2] for title in titles] == ["lr 0.003", "lr 0.01", "lr 0.1"] * 2
    assert all(len(panel.runs) == 2 for panel in comparison.panels)
    for figure in every_figure(sweep):
        assert_all_text_fits(figure)


def test_too_many_panels_are_thinned_by_value_and_named(tmp_path: Path) -> None:
    for activation in ("tanh", "relu"):
        for number in range(30):
            write_run(
                tmp_path / "s",
                f"{activation}-{number}",
                descent(30, 0),
                activation=activation,
                lr=0.001 * (number + 1),
            )
    sweep = load_sweep(tmp_path / "s")
    comparison = compare(sweep.runs)
    assert len(comparison.panels) == 24
    assert comparison.panels[0].title == "lr 0.001"
    assert comparison.left_out.startswith("lr ")
    assert comparison.left_out.count(",") == 5
    figure = figures.training_loss(sweep.train, sweep.runs)
    assert "Not shown, for room: lr" in words(figure)
    assert_all_text_fits(figure)


def test_parameters_of_an_activation_and_one_activation_alone(tmp_path: Path) -> None:
    for slope in (0.01, 0.1, 0.3):
        activation = {"name": "leaky_relu", "negative_slope": slope}
        write_run(tmp_path / "s", f"{slope}", descent(60, 0), activation=activation)
    write_run(tmp_path / "s", "relu", descent(60, 0))
    lines = compare(load_sweep(tmp_path / "s").runs).lines
    assert [line.label for line in lines] == [
        *("relu", "leaky_relu negative_slope=0.01", "leaky_relu negative_slope=0.1"),
        "leaky_relu negative_slope=0.3",
    ]
    assert len({(line.style.colour, line.style.dash) for line in lines}) == 4
    for lr in (0.1, 0.001):
        write_run(tmp_path / "t", f"{lr}", descent(60, 0), lr=lr)
    alone = compare(load_sweep(tmp_path / "t").runs)
    assert [line.label for line in alone.lines] == ["lr=0.001", "lr=0.1"]
    assert len(alone.panels) == 1


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
    three(tmp_path / "s", seeds=2)
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
    assert "where a run diverged" in words(figure)
    for first in (np.array([np.nan]), np.array([2.3, np.nan])):
        write_run(tmp_path / f"only{len(first)}", "bad", first, status="diverged")
        only = load_sweep(tmp_path / f"only{len(first)}")
        assert_all_text_fits(figures.training_loss(only.train, only.runs))


def test_figures_from_threads_are_the_same(tmp_path: Path) -> None:
    sweep = load_sweep(three(tmp_path / "s", seeds=1, iterations=60))
    sweep.train  # noqa: B018  read once, before the threads

    def picture(_: int) -> bytes:
        return figures.save(figures.training_loss(sweep.train, sweep.runs), Path("a.svg"))

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(picture, range(4)))) == 1


# ------------------------------------------------------------------- figures over learning rates


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
    assert rates.has_rates(frame)
    figure = rates.learning_rate(frame)
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
    assert "runs diverged" in words(figure)


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
    figure = rates.learning_rate(rates_summary(activations, inits))
    assert len(figure.axes) == panels
    assert_all_text_fits(figure)
    assert set(activations) <= {text.get_text() for text in drawn(figure)}
    assert ("Not shown, for room" in words(figure)) == (len(inits) > 12)


def test_two_rates_or_no_validation_loss_make_no_figure() -> None:
    frame = rates_summary(("relu",))
    assert not rates.has_rates(frame[frame["lr"] < 0.01])
    assert not rates.has_rates(frame.assign(final_validation_loss=np.nan))


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
    assert rates.phase_key(sweep.runs) == "init.gain"
    figure = rates.phase_diagram(sweep.layers, sweep.runs)
    assert_all_text_fits(figure)
    assert len(figure.axes) == len(activations)
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["50", f"50\n{figures.CROSS}2", "0", "0"], "the higher gain stands above"


def test_the_last_probe_counts_units_not_layers() -> None:
    layers = pd.DataFrame(
        {
            "run": ["a"] * 5,
            "iteration": [0, 0, 9, 9, 9],
            "layer": ["conv1", "fc1", "conv1", "fc1", "logits"],
            "units": [10, 90, 10, 90, np.nan],
            "dead_fraction": [1.0, 1.0, 0.5, 0.1, np.nan],
        }
    )
    assert rates.final_dead_fraction(layers)["a"] == pytest.approx((5 + 9) / 100)


def test_phase_diagrams_need_the_rate_and_one_other_number(tmp_path: Path) -> None:
    frame = rates_summary(("tanh", "relu"))
    assert rates.phase_key(frame) is None
    assert rates.phase_key(rates_summary(("tanh", "relu"), ("u", "n"))) is None, "no number"
    frame["weight_decay"] = frame["seed"] * 0.1
    assert rates.phase_key(frame) == "weight_decay"
    frame["activation.negative_slope"] = frame["seed"] * 0.1
    assert rates.phase_key(frame) is None, "two"
    assert rates.phase_key(frame.drop(columns="weight_decay")) is None, "not both have slopes"
    leaky = frame[frame["activation"] == "relu"].drop(columns="weight_decay")
    assert rates.phase_key(leaky) == "activation.negative_slope"


# ---------------------------------------------------------------------------------- the report


def test_report_writes_everything_and_again_the_same(tmp_path: Path) -> None:
    directory = three(tmp_path / "s")
    report = write_report(directory, directory)
    assert [path.relative_to(directory).as_posix() for path in report.paths] == [
        "summary.csv",
        "comparisons.csv",
        *(
            f"figures/{name}.{suffix}"
            for name in ("training_loss", "validation_accuracy", "dead_fraction")
            for suffix in ("png", "svg")
        ),
        "report.html",
    ]
    before = {path: path.read_bytes() for path in report.paths}
    assert write_report(directory, directory).paths == report.paths
    assert {path: path.read_bytes() for path in report.paths} == before
    assert not list(directory.rglob(".*"))
    pixels = imread(directory / "figures" / "training_loss.png")
    assert pixels.shape[1] >= 7 * 150
    assert pixels.shape[2] == 3 or pixels[..., 3].min() == 1.0, "opaque"
    ElementTree.parse(directory / "figures" / "training_loss.svg")
    html = (directory / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 3
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "prefers-color-scheme: dark" in html
    assert "target loss 1.151 nats (half of chance, ln(10)/2)" in html


def test_report_says_what_is_missing_and_removes_what_is_stale(tmp_path: Path) -> None:
    directory = three(tmp_path / "s", seeds=1)
    write_report(directory, directory)
    for run in directory.glob("*/status.json"):
        (run.parent / "layers.csv").unlink()
        (run.parent / "evaluation.csv").write_text("iteration,epoch,split,loss,accuracy\n")
    report = write_report(directory, directory)
    assert [path.name for path in report.paths if path.parent.name == "figures"] == [
        *("training_loss.png", "training_loss.svg"),
    ]
    assert not (directory / "figures" / "dead_fraction.png").exists()
    assert len(report.notes) == 2
    assert "layers.csv" in (directory / "report.html").read_text(encoding="utf-8")


def test_report_of_nothing_but_a_failed_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s", "a", np.array([]), status="failed")
    for name in ("train.csv", "evaluation.csv", "layers.csv"):
        (run / name).unlink()
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert [path.name for path in report.paths] == ["summary.csv", "report.html"]
    assert report.troubles == ("a: failed at iteration 0 of 200: RuntimeError: out of memory",)


def test_html_is_escaped(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "<b>&", descent(30, 0), status="failed")
    write_report(tmp_path / "s", tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html


def test_repeated_runs_count_once(tmp_path: Path) -> None:
    for name, status in (("first", "interrupted"), ("second", "finished")):
        for seed in range(2):
            run = write_run(tmp_path / name, f"r{seed}", descent(90, seed), seed=seed)
            if status != "finished":
                text = (run / "status.json").read_text().replace("finished", status)
                (run / "status.json").write_text(text)
    kept, notes = distinct_runs(load_sweep([tmp_path / "first", tmp_path / "second"]))
    assert list(kept.runs["sweep"]) == ["second", "second"]
    assert len(notes) == 2
    assert str(tmp_path / "first" / "r0") in notes[0]


def test_table_is_plain_and_whole_away_from_a_terminal(tmp_path: Path) -> None:
    directory = three(tmp_path / "s")
    broken = np.append(descent(60, 0), np.nan)
    write_run(directory, "bad", broken, activation="relu", seed=9, status="diverged")
    report = write_report(directory, directory)
    stream = io.StringIO()
    print_table(report, Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert "target loss 1.151 nats" in lines[0]
    (relu,) = [line for line in lines if line.startswith("relu ")]
    assert "(3 of 4)" in relu
    assert "never (1 of 4)" in relu
    (header,) = [line for line in lines if line.startswith("activation")]
    for name in ("seeds", "final loss", "iterations to target", "test accuracy", "diverged"):
        assert name in header
    assert any(line.startswith("bad: diverged at iteration 61 of 200: the loss") for line in lines)
    assert f"wrote {directory / 'report.html'}" in lines


def test_verdicts_are_printed_written_and_shown(tmp_path: Path) -> None:
    directory = three(tmp_path / "s", seeds=5)
    report = write_report(directory, directory)
    stream = io.StringIO()
    print_table(report, Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    printed = [line for line in lines if line.startswith(("mean training loss,", "test accuracy,"))]
    assert len(printed) == 2 * 3
    (first,) = [line for line in printed if "mean training loss, sigmoid vs relu" in line]
    assert re.search(r": sigmoid higher by \d\.\d+ \[\d\.\d+, \d\.\d+\] \(p [=<] [\d.]+\)$", first)
    table = pd.read_csv(directory / "comparisons.csv")
    assert len(table) == 3 * 7
    html = (directory / "report.html").read_text(encoding="utf-8")
    assert "<h2>Verdicts</h2>" in html
    for verdict in table["verdict"]:
        assert verdict in html
    assert not (directory / "tuned.csv").exists()
    assert "Shared and tuned" not in html


def test_claims_of_a_preset_are_printed_written_and_shown(tmp_path: Path) -> None:
    directory = three(tmp_path / "s", seeds=5)
    for run in directory.iterdir():
        set_preset(run, "sigmoid_tanh_relu")
    report = write_report(directory, directory)
    stream = io.StringIO()
    print_table(report, Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    printed = [line for line in lines if line.startswith("claim ")]
    statement = "Sigmoid trains LeNet clearly slower than tanh and ReLU."
    assert re.fullmatch(rf"claim supported \(p [=<] [\d.e-]+\): {statement}", printed[0])
    assert len(printed) == 2
    table = pd.read_csv(directory / "claims.csv")
    assert table["claim"].to_list() == ["sigmoid_slower", "tanh_close_to_relu"]
    assert f"wrote {directory / 'claims.csv'}" in lines
    html = (directory / "report.html").read_text(encoding="utf-8")
    assert [html.index(f"<h2>{name}</h2>") for name in ("Verdicts", "Claims", "Figures")] == sorted(
        html.index(f"<h2>{name}</h2>") for name in ("Verdicts", "Claims", "Figures")
    )
    assert f'<td class="sentence">{statement}</td>' in html
    # The rules of claims are fixed in advance; another target of the report does not move them.
    write_report(directory, tmp_path / "other", target_loss=0.5)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "other" / "claims.csv"), table)
    for path in directory.glob("*/config.json"):
        set_preset(path.parent, None)
    report = write_report(directory, directory)
    assert report.claims.empty
    assert not (directory / "claims.csv").exists()
    assert "<h2>Claims</h2>" not in (directory / "report.html").read_text(encoding="utf-8")


def test_claims_do_not_repeat_the_warnings_of_the_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = three(tmp_path / "s", seeds=3)
    for run in directory.iterdir():
        set_preset(run, "sigmoid_tanh_relu")
    record = directory / "relu-0" / "train.csv"
    record.write_text("".join(record.read_text().splitlines(keepends=True)[:100]))
    write_report(directory, tmp_path / "out")
    assert len([r for r in caplog.records if "train.csv ends at" in r.getMessage()]) == 1


def test_many_verdicts_are_folded_and_not_printed(tmp_path: Path) -> None:
    for number, name in enumerate(tuple(ACTIVATIONS)[:6]):
        for seed in range(3):
            losses = descent(60, seed, rate=5.0 + number)
            write_run(tmp_path / "s", f"{name}-{seed}", losses, activation=name, seed=seed)
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert verdict_lines(report.comparisons) == []
    html = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "<summary>all 105 verdicts</summary>" in html
    opened = html[html.index("<h2>Verdicts") : html.index("<summary>all 105")]
    assert opened.count("<tr>") == 1 + 2 * 15, "the headlines of 15 pairs"


def test_tuned_rates_are_written_and_shown_with_what_is_on_the_edge(tmp_path: Path) -> None:
    for name in ("tanh", "relu"):
        for lr in (0.01, 0.1, 1.0):
            for seed in range(4):
                stops = name == "relu" and lr == 1.0
                losses = np.full(100, 2.3) if name == "tanh" else descent(100, seed)
                write_run(
                    *(tmp_path / "s", f"{name}-{lr}-{seed}", losses),
                    activation=name,
                    lr=lr,
                    seed=seed,
                    status="diverged" if stops else "finished",
                )
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert len(pd.read_csv(tmp_path / "s" / "tuned.csv")) == 2
    html = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "Shared and tuned learning rate" in html
    headers, rows = tuned_rows(report.tuned)
    cells = [dict(zip(headers, row, strict=True)) for row in rows]
    assert [cell["activation"] for cell in cells] == ["tanh", "relu"]
    assert cells[0]["best rate on the edge"] == "yes, the lowest tried"
    never = cells[0]["iterations to target, tuned"]
    assert never == "\N{GREATER-THAN OR EQUAL TO} 200 ± 0 (never in 3)"
    assert (tmp_path / "s" / "figures" / "learning_rate.png").exists()
    for run in (tmp_path / "s").glob("*-0.1-*"):
        shutil.rmtree(run)
    for run in (tmp_path / "s").glob("*-1.0-*"):
        shutil.rmtree(run)
    write_report(tmp_path / "s", tmp_path / "s")
    assert not (tmp_path / "s" / "tuned.csv").exists()
    assert not (tmp_path / "s" / "figures" / "learning_rate.png").exists()


def test_one_seed_cannot_tune_and_is_told_so(tmp_path: Path) -> None:
    for lr in (0.01, 0.1):
        write_run(tmp_path / "s", f"{lr}", descent(60, 0), lr=lr)
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert report.tuned.empty
    (note,) = report.notes
    assert note.startswith("learning rates are not tuned: one seed")


def test_p_values_are_written_as_far_as_they_say_something() -> None:
    assert [p_value(p) for p in (0.01234, 1e-7, np.nan)] == ["0.012", "< 0.0001", NOTHING]
    assert p_value(0.5, sign=True) == "= 0.5"


def test_table_tells_never_from_unknown(tmp_path: Path) -> None:
    for seed in range(4):
        losses = np.full(200, 2.3) if seed == 0 else descent(200, seed)
        run = write_run(tmp_path / "s", f"relu-{seed}", losses, seed=seed)
        if seed == 1:
            (run / "train.csv").unlink()
    write_run(tmp_path / "s", "tanh-0", np.full(50, 2.3), activation="tanh", status="interrupted")
    report = write_report(tmp_path / "s", tmp_path / "s")
    headers, rows = comparison_rows(report.groups, report.keys)
    cells = {row[0]: row[headers.index("iterations to target")] for row in rows}
    assert re.fullmatch(r"median \d+, never \(1 of 4\), n/a \(1 of 4\)", cells["relu"])
    assert cells["tanh"] == "n/a (1 of 1)"


def test_table_on_a_narrow_terminal_keeps_numbers_whole(tmp_path: Path) -> None:
    report = write_report(three(tmp_path / "s"), tmp_path / "s")
    stream = io.StringIO()
    print_table(report, Console(file=stream, width=40, force_terminal=True))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert re.search(r"\d\.\d{4} ± \d\.\d{4}", plain)


# ---------------------------------------------------------------------------- the command line


def test_command_rebuilds_one_sweep_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = three(tmp_path / "s", seeds=1)
    main([str(directory), "--target-loss", "0.5"])
    assert "target loss 0.5 nats" in capsys.readouterr().out
    assert (directory / "report.html").exists()


def test_command_puts_several_sweeps_into_a_new_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(tmp_path / "a", seeds=1)
    write_run(tmp_path / "b", "elu", descent(60, 0), activation="elu")
    monkeypatch.chdir(tmp_path)
    main(["a", "b"])
    main(["a", "b"])
    made = sorted((tmp_path / "runs").glob("report-*"))
    assert len(made) == 2
    assert "elu" in (made[0] / "summary.csv").read_text()
    assert not (tmp_path / "a" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing"], "missing: there is no such directory", None),
        (["."], "holds no runs", None),
        ([], 2, "SWEEP"),
        ([".", "--target-loss", "-1"], 2, "'-1' is not a positive number"),
    ],
)
def test_command_explains_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: str | int,
    message: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    if isinstance(code, int):
        assert stopped.value.code == code
        assert str(message) in capsys.readouterr().err
    else:
        assert code in str(stopped.value.code)


def test_an_output_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    directory = three(tmp_path / "s", seeds=1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written.*--output"):
        write_report(directory, tmp_path / "file")


def test_a_run_directory_receives_no_report(tmp_path: Path) -> None:
    run = three(tmp_path / "s", seeds=1) / "relu-0"
    before = sorted(run.rglob("*"))
    for arguments in ([str(run)], [str(run), "--output", str(run)]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert f"{run}: is a run directory" in str(caught.value)
        assert f"give the sweep directory, {run.parent}, or another place" in str(caught.value)
    assert sorted(run.rglob("*")) == before
    main([str(run), "--output", str(tmp_path / "elsewhere")])
    assert (tmp_path / "elsewhere" / "summary.csv").exists()
    assert sorted(run.rglob("*")) == before


def test_directories_start_from_the_folder_of_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(tmp_path / "a" / "s", seeds=1)
    three(tmp_path / "b", seeds=2)
    monkeypatch.chdir(tmp_path)
    for sweeps, output in ((["a/s"], "a/s"), (["a/s", "b"], "c/d")):
        write_report(sweeps, output)
        monkeypatch.chdir(tmp_path / "a")  # reading it from elsewhere
        table = pd.read_csv(tmp_path / output / "summary.csv")
        for run, directory in zip(table["run"], table["directory"], strict=True):
            assert not Path(directory).is_absolute()
            assert (tmp_path / output / directory / "status.json").is_file()
            assert Path(directory).name == run.rpartition("/")[2]
        monkeypatch.chdir(tmp_path)


def test_the_title_names_activations_in_the_tables_order(tmp_path: Path) -> None:
    report = write_report(three(tmp_path / "s", seeds=1), tmp_path / "s")
    _, rows = comparison_rows(report.groups, report.keys)
    assert report.title.startswith("sigmoid, tanh, relu on digits (3 runs)")
    assert [row[0] for row in rows] == ["sigmoid", "tanh", "relu"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lenet_bench.commands.report import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'pandas', 'matplotlib', 'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
