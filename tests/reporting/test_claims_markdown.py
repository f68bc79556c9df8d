"""Claims of several folders side by side: headings, gaps, and what cannot be read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_bench.common.errors import UserError
from lenet_bench.reporting.claims_markdown import TUNED, headings, main, tuned_table

REFERENCE = Path(__file__).resolve().parents[2] / "runs" / "reference" / "claims-digits"


def copied(folder: Path) -> Path:
    """A folder with what the tables are made of."""
    (folder / TUNED).parent.mkdir(parents=True)
    for name in ("claims.csv", TUNED):
        shutil.copy(REFERENCE / name, folder / name)
    return folder


def printed(*folders: Path) -> None:
    """Run the command."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["results", *map(str, folders)])
        main()


@pytest.mark.integration
def test_it_runs_as_a_module_and_says_its_name() -> None:
    command = [sys.executable, "-m", "lenet_bench.reporting.claims_markdown"]
    usage = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert usage.startswith("usage: python -m lenet_bench.reporting.claims_markdown ")
    done = subprocess.run([*command, str(REFERENCE)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("| claim | digits |")


def test_folders_of_one_name_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (copied(tmp_path / name / "claims-digits") for name in "ab")
    assert headings([a, Path("claims-mnist")]) == {"digits": a, "mnist": Path("claims-mnist")}
    printed(a, b)
    header, *_ = capsys.readouterr().out.splitlines()
    assert header == f"| claim | {a} | {b} |"
    with pytest.raises(UserError, match="given twice"):
        headings([a, a])


def test_an_activation_that_a_folder_lacks_is_a_gap(tmp_path: Path) -> None:
    whole, less = copied(tmp_path / "whole"), copied(tmp_path / "less")
    lines = (less / TUNED).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("mish,")]
    (less / TUNED).write_text("".join(kept), encoding="utf-8")
    for order in ((whole, less), (less, whole)):
        (row,) = (
            line
            for line in tuned_table({path.name: path for path in order}).splitlines()
            if line.startswith("| mish |")
        )
        assert row.count("\N{EN DASH}") == 3


@pytest.mark.parametrize("name", ["claims.csv", str(TUNED)])
@pytest.mark.parametrize("content", ["", "claim,activation\nmish,mish\n", "a,b\nc,d,e,f\ng,h\n"])
def test_what_cannot_be_read_is_answered(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path / "a")
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        printed(folder)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{folder / name}: ")
    assert line.endswith("give folders that lenet-bench-claims wrote")


def test_several_rows_of_an_activation_are_no_table(tmp_path: Path) -> None:
    folder = copied(tmp_path / "a")
    text = (folder / TUNED).read_text(encoding="utf-8")
    (folder / TUNED).write_text(text + text.splitlines(keepends=True)[-1], encoding="utf-8")
    with pytest.raises(UserError, match="several rows of mish"):
        tuned_table({"a": folder})
