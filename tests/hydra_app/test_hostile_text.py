"""What others may have chosen (names, values, files) never acts on the terminal that shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lenet_bench.commands import claims, report, verify
from tests.fabricate import write_small_sweep
from tests.hydra_app.conftest import Command

ESC = "\x1b]0;owned\x07\x1b[2J"
ACTS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    "arguments",
    [
        (f"lr='{ESC}'",),
        (f"'{ESC}'=1",),
        (f"activation={ESC}",),
        (f"activation='{ESC}'",),
        (f"experiment='{ESC}'",),
        (f"dataset='{ESC}'",),
        ("dataset=image_folder", f"dataset.root='{ESC}'"),
        ("activation=custom", f"activation.path='{ESC}:Wave'"),
        ("activation=custom", f"activation.path='mine:{ESC}'"),
        (f"hydra.sweep.dir='{ESC}'",),
        (f"hydra.sweep.subdir='{ESC}'",),
        (f"hydra.launcher.workers='{ESC}'",),
        (f"hydra.job_logging.handlers.x.class='{ESC}'",),
        (f"resume={ESC}",),
        (f"resume={ESC}/..", "a"),
        ("seed=range(2)", f"lr='{ESC}'", "plan=true"),
        ("--config-dir", ESC),
        ("--config-name", ESC),
        ("lr='1\nlenet-bench: all is well'",),
        ("activation='\u202eulr'",),
    ],
    ids=ascii,
)
def test_refused_values_are_shown_and_do_nothing(
    command: Command, arguments: tuple[str, ...]
) -> None:
    answer = command(*arguments)
    assert "CODE 1 " in answer.text
    assert "Traceback" not in answer.text
    assert not ACTS.search(answer.text), ascii(answer.text)
    assert not re.search("^lenet-bench: all is well", answer.text, re.MULTILINE)


def test_other_commands_show_names_and_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_small_sweep(tmp_path / f"s{ESC}")
    (sweep / f"tanh-{ESC}").mkdir()  # no run, which the report says
    (sweep / "relu-0" / "train.csv").write_text(f"iteration,{ESC}\n1,2\n", encoding="utf-8")
    status = json.loads((sweep / "relu-1" / "status.json").read_text(encoding="utf-8"))
    (sweep / "relu-1" / "status.json").write_text(json.dumps({**status, "status": ESC}))
    for main, arguments, fails in (
        (report.main, [str(sweep)], True),
        (report.main, [str(tmp_path / ESC)], True),
        (claims.main, [f"--only={ESC}"], True),
        (claims.main, [ESC], True),
        (
            claims.main,
            ["--only", "relu_twice", "--output", str(sweep / "relu-0" / "train.csv")],
            True,
        ),
        (claims.main, ["--only", "relu_twice", "--output", str(tmp_path / f"c{ESC}")], False),
    ):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert (left.value.code != 0) == fails
        said = capsys.readouterr()
        text = f"{said.out}{said.err}{left.value.code}"
        assert not ACTS.search(text), ascii(text)
        assert "owned" in text
    assert verify.main([str(sweep)]) == 1
    said = capsys.readouterr()
    assert not ACTS.search(said.out + said.err), ascii(said)
