"""What a report prints."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from rich.console import Console

from lenet_bench.reporting.report import write_report
from lenet_bench.reporting.terminal import print_report
from tests.fabricate import descent, write_run
from tests.reporting.drawing import write_three


def test_table_is_plain_and_whole_away_from_a_terminal(tmp_path: Path) -> None:
    directory = write_three(tmp_path / "s")
    broken = np.append(descent(60, 0), np.nan)
    write_run(directory, "bad", broken, activation="relu", seed=9, status="diverged")
    report = write_report(directory, directory)
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=80))
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


def test_table_on_a_narrow_terminal_keeps_numbers_whole(tmp_path: Path) -> None:
    report = write_report(write_three(tmp_path / "s"), tmp_path / "s")
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=40, force_terminal=True))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert re.search(r"\d\.\d{4} ± \d\.\d{4}", plain)
