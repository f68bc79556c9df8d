"""What a report needs is tried before training, and a report that fails hides no training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_bench.commands.report import main
from lenet_bench.common.errors import UserError
from lenet_bench.reporting.rehearsal import rehearse
from tests.conftest import Lenet

TINY = (
    "iterations=2", "batch_size=8", "probe.every=0", "evaluate.every=0", "device=cpu",
    "dataset.train_size=16", "hydra.sweep.dir=sweep",
)  # fmt: skip

# what lies in the sweep directory (a folder where the name ends in /), then what is said of it
OBSTACLES = [
    ("figures", "figures: the report needs a folder of this name that it can write to; move it"),
    ("report.html/", "report.html: a file of the report has this name; move the folder"),
    ("summary.csv/", "summary.csv: a file of the report has this name; move the folder"),
    ("claims.html", "holds what lenet-bench-claims wrote, which the report would replace"),
    ("status.json", "is the directory of a run; name another for the sweep"),
]


def put(path: str, folder: Path) -> None:
    """Make a file, or a folder where the name ends in a slash."""
    if path.endswith("/"):
        (folder / path).mkdir(parents=True)
    else:
        folder.mkdir(exist_ok=True)
        (folder / path).touch()


@pytest.mark.parametrize(("path", "says"), OBSTACLES, ids=[path for path, _ in OBSTACLES])
def test_what_is_in_the_way_of_a_report_is_found(tmp_path: Path, path: str, says: str) -> None:
    put(path, tmp_path)
    with pytest.raises(UserError, match=says):
        rehearse(tmp_path)


def test_a_rehearsal_leaves_nothing_and_minds_no_earlier_report(tmp_path: Path) -> None:
    rehearse(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    for path in ("figures/", "report.html", "summary.csv", "plan.json"):
        put(path, tmp_path)
    rehearse(tmp_path)


@pytest.fixture
def broken_settings(tmp_path: Path) -> dict[str, str]:
    """Settings of matplotlib's that keep it from being loaded."""
    (tmp_path / "settings").write_bytes(b"\xb1\x00\xff")
    return {**os.environ, "MATPLOTLIBRC": str(tmp_path / "settings")}


def test_nothing_is_trained_where_no_report_could_be_made(
    tmp_path: Path, broken_settings: dict[str, str]
) -> None:
    """And `lenet-bench-report` says the same."""
    done = subprocess.run(
        [sys.executable, "-m", "lenet_bench", *TINY],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False, env=broken_settings,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("lenet-bench: no report can be made: UnicodeDecodeError: ")
    assert last.endswith("; matplotlib's settings may be the cause: a file matplotlibrc, "
                         "MATPLOTLIBRC (nothing has been trained)")  # fmt: skip
    assert not (tmp_path / "sweep").exists()
    done = subprocess.run(
        [sys.executable, "-m", "lenet_bench.commands.report", tmp_path],
        capture_output=True, text=True, timeout=120, check=False, env=broken_settings,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "lenet-bench-report: no report can be made: UnicodeDecodeError: " in done.stderr


def test_a_report_that_fails_does_not_hide_what_was_trained(
    lenet: Lenet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are printed, and one line says how the report is made once it can be."""
    assert lenet(*TINY).code == 0
    table = capsys.readouterr().out.partition("wrote")[0]
    assert "relu" in table
    report = tmp_path / "sweep" / "report.html"
    report.unlink()
    report.mkdir()
    assert lenet(*TINY).code == 1
    out, err = capsys.readouterr()
    assert out.startswith(table.partition("no validation")[0])
    assert "wrote" not in out
    *_, said = err.splitlines()
    assert said.startswith("lenet-bench: the report failed (sweep/report.html: cannot be written: ")
    assert said.endswith("; training has finished, and lenet-bench-report sweep makes it")
    report.rmdir()
    main([str(tmp_path / "sweep")])
    assert report.is_file()


def test_a_sweep_is_not_begun_where_its_report_has_no_place(
    lenet: Lenet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("figures", tmp_path / "sweep")
    for launcher in ("stacked", "basic"):
        assert lenet(*TINY, f"hydra/launcher={launcher}").code == 1
        assert "sweep/figures: the report needs a folder" in capsys.readouterr().err
        assert not list((tmp_path / "sweep").glob("*/*.*s*"))
