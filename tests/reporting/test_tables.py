"""What stands in the cells of tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lenet_bench.analysis.lines import describe_value
from lenet_bench.reporting.report import write_report
from lenet_bench.reporting.tables.comparison import comparison_table
from lenet_bench.reporting.tables.tuned_rates import tuned_table
from lenet_bench.reporting.words import NOTHING, p_value
from tests.fabricate import descent, write_run
from tests.reporting.drawing import write_three


def test_values_read_as_typed() -> None:
    assert [describe_value(v) for v in (0.1, 1.0, 3, True, None, np.nan, "max")] == [
        *("0.1", "1", "3", "true", "null", "null", "max"),
    ]


def test_p_values_are_written_as_far_as_they_say_something() -> None:
    assert [p_value(p) for p in (0.01234, 1e-7, np.nan)] == ["0.012", "< 0.0001", NOTHING]
    assert p_value(0.5, sign=True) == "= 0.5"


def test_table_tells_never_from_unknown(tmp_path: Path) -> None:
    for seed in range(4):
        losses = np.full(200, 2.3) if seed < 2 else descent(200, seed)
        status = "interrupted" if seed == 1 else "finished"
        write_run(tmp_path / "s", f"relu-{seed}", losses, seed=seed, status=status)
    write_run(tmp_path / "s", "tanh-0", np.full(50, 2.3), activation="tanh", status="interrupted")
    report = write_report(tmp_path / "s", tmp_path / "s")
    table = comparison_table(report.groups, report.keys)
    cells = {row[0]: row[table.headers.index("iterations to target")] for row in table.rows}
    assert re.fullmatch(r"median \d+, never \(1 of 4\), n/a \(1 of 4\)", cells["relu"])
    assert cells["tanh"] == "n/a (1 of 1)"


def test_the_title_names_activations_in_the_tables_order(tmp_path: Path) -> None:
    report = write_report(write_three(tmp_path / "s", seeds=1), tmp_path / "s")
    rows = comparison_table(report.groups, report.keys).rows
    assert report.title.startswith("sigmoid, tanh, relu on digits (3 runs)")
    assert [row[0] for row in rows] == ["sigmoid", "tanh", "relu"]


def test_a_single_class_of_the_user_has_one_label_in_tables_verdicts_and_title(
    tmp_path: Path,
) -> None:
    wave = {"name": "custom", "path": "mine:Wave"}
    for seed in range(4):
        for lr in (0.01, 0.1):
            name = f"{seed}-{lr}"
            write_run(tmp_path / "s", f"relu-{name}", descent(60, seed), seed=seed, lr=lr)
            losses = descent(60, seed, rate=20)
            write_run(tmp_path / "s", f"wave-{name}", losses, activation=wave, seed=seed, lr=lr)
    report = write_report(tmp_path / "s", tmp_path / "s")
    labels = ["relu", "custom Wave"]
    assert [row[0] for row in comparison_table(report.groups, report.keys).rows] == labels * 2
    assert sorted(row[0] for row in tuned_table(report.tuned).rows) == sorted(labels)
    assert set(report.comparisons["a"]) | set(report.comparisons["b"]) == set(labels)
    assert report.title.startswith("relu, custom Wave on digits (16 runs)")
    assert "activation.path" not in report.keys, "one class is no difference of its own"
