"""Which lines and panels a figure has."""

from __future__ import annotations

from pathlib import Path

from lenet_bench.analysis import load_sweep
from lenet_bench.reporting import figures
from lenet_bench.reporting.figures.layout import arrange
from tests.fabricate import descent, write_run
from tests.reporting.drawing import all_text, assert_all_text_fits, every_figure


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
    layout = arrange(sweep.runs)
    assert [line.label for line in layout.lines] == ["tanh", "relu"]
    assert layout.columns == 3
    titles = [panel.title for panel in layout.panels]
    assert [title.partition(", ")[2] for title in titles] == ["lr 0.003", "lr 0.01", "lr 0.1"] * 2
    assert all(len(panel.runs) == 2 for panel in layout.panels)
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
    layout = arrange(sweep.runs)
    assert len(layout.panels) == 24
    assert layout.panels[0].title == "lr 0.001"
    assert layout.left_out.startswith("lr ")
    assert layout.left_out.count(",") == 5
    figure = figures.training_loss(sweep.train, sweep.runs)
    assert "Not shown, for room: lr" in all_text(figure)
    assert_all_text_fits(figure)


def test_parameters_of_an_activation_and_one_activation_alone(tmp_path: Path) -> None:
    for slope in (0.01, 0.1, 0.3):
        activation = {"name": "leaky_relu", "negative_slope": slope}
        write_run(tmp_path / "s", f"{slope}", descent(60, 0), activation=activation)
    write_run(tmp_path / "s", "relu", descent(60, 0))
    lines = arrange(load_sweep(tmp_path / "s").runs).lines
    assert [line.label for line in lines] == [
        *("relu", "leaky_relu negative_slope=0.01", "leaky_relu negative_slope=0.1"),
        "leaky_relu negative_slope=0.3",
    ]
    assert len({(line.style.colour, line.style.dash) for line in lines}) == 4
    for lr in (0.1, 0.001):
        write_run(tmp_path / "t", f"{lr}", descent(60, 0), lr=lr)
    alone = arrange(load_sweep(tmp_path / "t").runs)
    assert [line.label for line in alone.lines] == ["lr=0.001", "lr=0.1"]
    assert len(alone.panels) == 1
