"""A missing value is a value: null and 0.5 of one key are two settings, in figures and tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lenet_bench.analysis import Sweep, load_sweep
from lenet_bench.reporting import figures
from lenet_bench.reporting.figures.layout import arrange
from lenet_bench.reporting.report import write_report
from lenet_bench.reporting.tables.comparison import comparison_table
from tests.fabricate import descent, write_run
from tests.reporting.drawing import all_text, assert_all_text_fits, every_figure

BIASES = (None, 0.5)


def write_biases(directory: Path, *activations: str, rates: tuple[float, ...] = (0.01,)) -> Sweep:
    """Runs with and without a bias; those without one learn more slowly."""
    for activation in activations:
        for bias in BIASES:
            for lr in rates:
                for seed in range(2):
                    write_run(
                        directory,
                        f"{activation}-{bias}-{lr}-{seed}",
                        descent(200, seed, rate=60.0 if bias is None else 20.0),
                        activation=activation,
                        init={"name": "xavier_uniform", "gain": 1.0, "bias": bias},
                        lr=lr,
                        seed=seed,
                    )
    return load_sweep(directory)


def test_it_makes_a_panel(tmp_path: Path) -> None:
    sweep = write_biases(tmp_path, "tanh", "relu")
    layout = arrange(sweep.runs)
    assert [panel.title for panel in layout.panels] == ["init.bias 0.5", "init.bias null"]
    assert [len(panel.runs) for panel in layout.panels] == [4, 4]
    assert not layout.panels[0].runs & layout.panels[1].runs
    for figure in every_figure(sweep):
        assert_all_text_fits(figure)
        assert {"init.bias 0.5", "init.bias null"} <= set(
            re.findall(r"init\.bias \S+", all_text(figure))
        )


def test_it_makes_a_line_where_there_is_one_activation(tmp_path: Path) -> None:
    lines = arrange(write_biases(tmp_path, "relu").runs).lines
    assert [line.label for line in lines] == ["init.bias=0.5", "init.bias=null"]
    assert [len(line.runs) for line in lines] == [2, 2]
    assert lines[0].style != lines[1].style


def test_thinning_can_leave_it_out_and_says_so(tmp_path: Path) -> None:
    runs = write_biases(tmp_path, "tanh", "relu").runs
    layout = arrange(runs, most_panels=1)
    assert [panel.title for panel in layout.panels] == ["init.bias 0.5"]
    assert layout.left_out == "init.bias null"


def test_it_has_cells_over_learning_rates(tmp_path: Path) -> None:
    sweep = write_biases(tmp_path, "relu", rates=(0.01, 0.1))
    assert figures.phase_key(sweep.runs) == "init.bias"
    (axis,) = figures.phase_diagram(sweep.layers, sweep.runs).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["null", "0.5"]
    assert [text.get_text() for text in axis.texts] == ["0"] * 4


def test_it_is_a_row_and_stands_among_the_settings(tmp_path: Path) -> None:
    write_biases(tmp_path / "s", "tanh", "relu")
    report = write_report(tmp_path / "s", tmp_path / "s")
    table = comparison_table(report.groups, report.keys)
    cells = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    assert [(cell["activation"], cell["init.bias"], cell["seeds"]) for cell in cells] == [
        *(("tanh", "0.5", "2"), ("relu", "0.5", "2"), ("tanh", "null", "2"), ("relu", "null", "2")),
    ]
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "<dt>init.bias</dt><dd>0.5, null</dd>" in page


def test_a_parameter_that_a_choice_does_not_have_is_no_missing_value(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "relu", descent(60, 0))
    for slope in (0.01, 0.1):
        leaky = {"name": "leaky_relu", "negative_slope": slope}
        write_run(tmp_path / "s", f"leaky-{slope}", descent(60, 0), activation=leaky)
    write_report(tmp_path / "s", tmp_path / "s")
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "<dt>activation.negative_slope</dt><dd>0.01, 0.1</dd>" in page


@pytest.mark.parametrize("paths", [("mine:Act", "other:Act"), ("a.b:Act", "c.b:Act")])
def test_two_classes_of_one_name_are_two_lines(tmp_path: Path, paths: tuple[str, str]) -> None:
    for path in paths:
        custom = {"name": "custom", "path": path}
        write_run(tmp_path, path.replace(":", "-"), descent(60, 0), activation=custom)
    lines = arrange(load_sweep(tmp_path).runs).lines
    assert [line.label for line in lines] == [f"custom {path.replace(':', '.')}" for path in paths]
    assert lines[0].style != lines[1].style
