"""`lenet-bench-claims`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lenet_bench.claims.files import read_claims
from lenet_bench.commands import claims as command
from lenet_bench.commands.claims import main
from lenet_bench.commands.report import main as report
from lenet_bench.commands.verify import main as verify
from lenet_bench.common.errors import UserError
from lenet_bench.records import schema
from lenet_bench.records.run_directory import read_status
from lenet_bench.records.schema import names
from tests import warm
from tests.claims.made_up import ROOT, rounds, sweep
from tests.fabricate import descent, write_run


def ended(arguments: list[str]) -> int | str | None:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return stopped.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "sigmoid_is_slow"], "there is no such claim; choose from sigmoid_slower, "),
        (["--only", "sigmoid_slower", "lr=-1"], "lr=-1"),
        (["activation=rleu"], "did you mean relu?"),
        (["experiment=depth"], "claims set this themselves"),
        (["plan=true"], "claims set this themselves"),
    ],
)
def test_mistakes_are_answered_before_anything_trains(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_trains_decides_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "it's mine"
    arguments = [
        "dataset=fake", "dataset.images=150", "iterations=4", "batch_size=16", "seed=0,1,2",
        "probe.every=2", "probe.images=16", "device=cpu", "hydra.launcher.workers=1",
        "--output", str(output), "--only", "sigmoid_slower",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "lenet_bench.commands.claims", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 claim: " in done.stdout
    assert "[1/1, " in done.stderr
    frame = pd.read_csv(output / "claims.csv")
    assert tuple(frame.columns) == names(schema.CLAIMS)
    assert frame["claim"].to_list() == ["sigmoid_slower"]
    assert frame["seeds"].to_list() == [3]
    assert (output / "claims.html").is_file()
    assert len(list((output / "sigmoid_tanh_relu").glob("*/status.json"))) == 9
    assert (output / "sigmoid_tanh_relu" / "report.html").is_file()
    runs = pd.read_csv(output / "sigmoid_tanh_relu" / "evidence.csv")
    assert runs["run"].nunique() == len(runs) == 9
    # The sweep's own report decides the same, and what else its preset decides.
    own = pd.read_csv(output / "sigmoid_tanh_relu" / "claims.csv")
    assert own["claim"].to_list() == ["sigmoid_slower", "tanh_close_to_relu"]
    pd.testing.assert_frame_equal(own.iloc[:1], frame)

    others = [item for item in arguments if item != "iterations=4"]
    assert ended(["iterations=5", *others]) == 1
    assert "its runs were trained with" in capsys.readouterr().err


def test_a_preset_that_fails_leaves_its_claims_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(parts: Any) -> int:
        write_run(tmp_path / "sigmoid_tanh_relu", "a", descent(10, 0), status="failed")
        return 1

    monkeypatch.setattr(command, "_run_to_the_end", fails)
    assert ended(["--output", str(tmp_path), "--only", "sigmoid_slower", "relu_twice"]) == 1
    frame = pd.read_csv(tmp_path / "claims.csv", index_col="claim")
    assert frame.loc["sigmoid_slower", "verdict"] == "inconclusive"
    reason = "training sigmoid_tanh_relu failed: 1 of 1 runs failed: RuntimeError: out of memory"
    assert frame.loc["sigmoid_slower", "note"] == reason
    assert frame.loc["relu_twice", "verdict"] == "supported"
    told = capsys.readouterr()
    assert "2 claims" in told.out
    assert told.err.splitlines()[-1].startswith("To go on: lenet-bench-claims ")


def test_only_some_claims_leave_the_verdicts_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(["--output", str(tmp_path), "--only", "relu_twice", "max_pool_commutes"]) == 0
    path = tmp_path / "claims.csv"
    before = path.read_text(encoding="utf-8")
    marked = before.replace("ReLU after ReLU changes nothing.", "Marked.")
    path.write_text(f"{marked}gone,Old.,refuted,1,,,,5,depth,,digits\n", encoding="utf-8")
    capsys.readouterr()
    assert ended(["--output", str(tmp_path), "--only", "max_pool_commutes"]) == 0
    rows = path.read_text(encoding="utf-8").splitlines()
    assert rows == marked.splitlines(), "kept as it was; a claim that there is no more goes"
    assert "relu_twice" in (tmp_path / "claims.html").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "1 claim: 1 supported" in printed
    assert "claims.csv (with 1 that were there)" in printed
    assert ended(["--output", str(tmp_path), "--only", "relu_twice"]) == 0
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("content", ["", "claim,verdict\n", "a,b\nc,d,e,f\ng,h\n", "\xff\xfe\x00"])
@pytest.mark.parametrize("name", ["claims.csv", "activation_cost_rounds.csv"])
def test_tables_that_nobody_can_read_are_answered_before_anything_trains(
    name: str,
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "_decide_all", lambda *_: pytest.fail("it went on"))
    (tmp_path / name).write_text(content, encoding="latin-1")
    assert ended(["--output", str(tmp_path), "--only", "hard_swish_cheaper", "sigmoid_slower"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lenet-bench-claims: {tmp_path / name}: ")
    assert "; delete it" in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("5", "does not hold overrides"),
        ("[1]", "does not hold overrides"),
        ("[" * 100_000, "is not JSON of a reasonable size"),
        (None, "is a FIFO, not a file"),
    ],
    ids=["number", "numbers", "nested deep", "FIFO"],
)
def test_overrides_that_nobody_wrote_are_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, reason: str
) -> None:
    path = tmp_path / "overrides.json"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    assert ended(["--output", str(tmp_path), "--only", "relu_twice"]) == 1
    first = capsys.readouterr().err.splitlines()[0]
    said = f"lenet-bench-claims: --output={tmp_path}: cannot be used: {path}"
    assert first.startswith(said)
    assert first.endswith(reason)


def test_numbers_of_a_table_have_to_be_numbers(tmp_path: Path) -> None:
    assert ended(["--output", str(tmp_path), "--only", "relu_twice"]) == 0
    path = tmp_path / "claims.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",0.0,", ",none of it,"), "utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        read_claims(path, "delete it")


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lenet_bench.training.activation_cost.measure", stopped)
    output = tmp_path / "it's mine"
    arguments = ["--output", str(output), "--only", "hard_swish_cheaper"]
    assert ended([*arguments, "lr=0.1"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    told, _, again = last.partition("To go on: lenet-bench-claims ")
    assert told == ""
    assert shlex.split(again) == ["lr=0.1", *arguments]
    assert not (output / "activation_cost_rounds.csv").exists()


def test_a_failure_says_how_to_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file lies where a preset's folder is to be."""
    (tmp_path / "sigmoid_tanh_relu").touch()
    arguments = ["--output", str(tmp_path), "--only", "sigmoid_slower", "relu_twice"]
    assert ended(arguments) == 1
    text = capfd.readouterr().err
    assert "sigmoid_tanh_relu: cannot be made (File exists)" in text
    assert text.splitlines()[-1] == f"To go on: lenet-bench-claims {shlex.join(arguments)}"
    assert "Traceback" not in text
    frame = pd.read_csv(tmp_path / "claims.csv", index_col="claim")
    assert frame["verdict"].to_dict() == {
        "relu_twice": "supported",
        "sigmoid_slower": "inconclusive",
    }


@pytest.mark.slow
def test_the_command_of_the_last_line_goes_on_where_it_was(tmp_path: Path) -> None:
    """Real processes, a real Ctrl-C in the middle of training, and the bytes at the end."""
    arguments = [
        "dataset=fake", "dataset.images=150", "batch_size=8", "model.channels=[2,2]",
        "model.hidden=[8]", "iterations=300", "seed=0", "probe.every=0", "checkpoint.every=10",
        "device=cpu", "hydra.launcher.workers=1",
    ]  # fmt: skip
    command = [sys.executable, "-m", "lenet_bench.commands.claims"]
    output = tmp_path / "claims"
    sweep = output / "sigmoid_tanh_relu"
    with warm.Popen(
        [*command, *arguments, "--output", str(output), "--only", "sigmoid_slower"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        end = time.monotonic() + 60
        while not list(sweep.glob("checkpoints/*")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "Traceback" not in text
    runs = sorted(path.parent for path in sweep.glob("*/status.json"))
    stopped = {run: read_status(run) for run in runs}
    assert {status["status"] for status in stopped.values()} == {"interrupted"}
    assert all(0 < status["iteration"] < 300 for status in stopped.values())
    rows = {run: (run / "train.csv").read_bytes() for run in runs}

    _, _, again = text.splitlines()[-1].partition("To go on: lenet-bench-claims ")
    done = warm.run([*command, *shlex.split(again)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for run in runs:
        status = read_status(run)
        assert (status["status"], status["iteration"]) == ("finished", 300)
        assert status["started"] == stopped[run]["started"]
        assert (run / "train.csv").read_bytes().startswith(rows[run])
    assert pd.read_csv(output / "claims.csv")["claim"].to_list() == ["sigmoid_slower"]
    # What went on has the bytes of what nobody has stopped.
    assert verify([str(sweep)]) == 0


def test_measured_costs_are_written_whole_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = rounds(hard_swish=1.0, swish=2.0).rounds
    monkeypatch.setattr("lenet_bench.training.activation_cost.measure", lambda **_: measured)
    arguments = ["--output", str(tmp_path), "--only", "hard_swish_cheaper"]
    assert ended(arguments) == 0
    before = (tmp_path / "claims.csv").read_text(encoding="utf-8")
    assert ",supported," in before
    monkeypatch.setattr(
        "lenet_bench.training.activation_cost.measure", lambda **_: pytest.fail("again")
    )
    assert ended(arguments) == 0
    assert (tmp_path / "claims.csv").read_text(encoding="utf-8") == before


def test_a_report_does_not_replace_what_the_command_wrote(tmp_path: Path) -> None:
    output = tmp_path / "claims"
    assert ended(["--output", str(output), "--only", "relu_twice"]) == 0
    before = (output / "claims.csv").read_text(encoding="utf-8")
    other = sweep(tmp_path / "sweep", {"relu": 5}, seeds=1, preset="my_own")
    for arguments in ([str(output)], [str(other), "--output", str(output)]):
        with pytest.raises(SystemExit, match=r"holds what lenet-bench-claims wrote"):
            report(arguments)
    assert (output / "claims.csv").read_text(encoding="utf-8") == before
    assert not (output / "summary.csv").exists()
