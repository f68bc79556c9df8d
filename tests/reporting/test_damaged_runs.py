"""A report over a folder that holds damaged runs of every kind beside good ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lenet_bench.commands.report import main
from lenet_bench.reporting.report import write_report
from tests.fabricate import descent, write_run
from tests.records.test_damaged_runs import CASES
from tests.reporting.drawing import write_three


def test_a_report_over_all_damages_at_once_shows_the_good_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good = write_three(tmp_path / "good")
    numbers = write_report(good, tmp_path / "alone").summary["final_train_loss"].tolist()
    for number, (damage, _) in enumerate(CASES.values()):
        damage(write_run(good, f"zz{number}", descent(120, number), seed=number))
    with pytest.raises(SystemExit) as ended:
        main([str(good), "--output", "all"])
    assert str(ended.value.code) == (
        f"lenet-bench-report: {len(CASES)} damaged runs are left out of the report; train again or "
        "remove what it names"
    )
    printed = capsys.readouterr().out
    html = (tmp_path / "all" / "report.html").read_text(encoding="utf-8")
    assert printed.count("\nDAMAGED ") + printed.startswith("DAMAGED ") == len(CASES)
    assert html.index("Damaged runs, left out") < html.index("What was run")
    for number, (_, words) in enumerate(CASES.values()):
        line = next(line for line in printed.splitlines() if f"{good}/zz{number}" in line)
        assert words in line
        assert f"good/zz{number}/" in html or f"good/zz{number}:" in html
    summary = pd.read_csv(tmp_path / "all" / "summary.csv")
    assert len(summary) == 9
    assert summary["final_train_loss"].tolist() == numbers
    assert not (tmp_path / "owned").exists()


def test_nothing_but_damage_is_an_error_of_one_line(tmp_path: Path) -> None:
    damage, words = CASES["NULs"]
    damage(write_run(tmp_path / "s", "a", descent(120, 0)))
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "s")])
    message = str(ended.value.code)
    assert words in message
    assert message.isprintable()
    assert not (tmp_path / "s" / "report.html").exists()
