"""`lenet-bench-report`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lenet_bench.commands.report import main
from tests.fabricate import descent, write_run
from tests.reporting.drawing import write_three


def test_command_rebuilds_one_sweep_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_three(tmp_path / "s", seeds=1)
    main([str(directory), "--target-loss", "0.5"])
    assert "target loss 0.5 nats" in capsys.readouterr().out
    assert (directory / "report.html").exists()


def test_command_puts_several_sweeps_into_a_new_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_three(tmp_path / "a", seeds=1)
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


def test_a_run_directory_receives_no_report(tmp_path: Path) -> None:
    run = write_three(tmp_path / "s", seeds=1) / "relu-0"
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


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lenet_bench.commands.report import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'pandas', 'matplotlib', 'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
