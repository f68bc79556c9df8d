"""What may not slip through when a sweep goes on: grown sweeps, other code, parts of a sweep."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lenet_bench.hydra_app.resume import how_to_go_on
from lenet_bench.hydra_app.session import Session
from lenet_bench.records.configuration import read_run_configuration
from lenet_bench.records.run_directory import Run, mark_interrupted, read_status
from tests.conftest import Lenet
from tests.hydra_app.test_resume import TINY, tables, unfinish

pytestmark = pytest.mark.usefixtures("without_report")

HERE = (*TINY, "hydra.sweep.dir=runs/mine", "hydra.launcher.workers=1")


def runs_of(activation: str) -> list[Path]:
    """The run directories of an activation."""
    return sorted(Path("runs/mine").glob(f"{activation}*"))


def change_status(run: Path, **changes: Any) -> None:
    """As an earlier program would have written it."""
    content = read_status(run)
    (run / "status.json").write_text(json.dumps({**content, **changes}))


def test_a_grown_sweep_goes_on_whole(lenet: Lenet) -> None:
    """By `resume=DIR`, which repeats the newest command that trained there."""
    assert lenet(*HERE, "activation=relu").code == 0
    assert lenet(*HERE, "activation=relu,tanh").code == 0
    before = tables(Path("runs/mine"))
    for activation in ("tanh", "relu"):
        unfinish(*runs_of(activation))
    assert lenet("resume=runs/mine").code == 0
    assert read_status(*runs_of("tanh"))["status"] == "finished"
    assert tables(Path("runs/mine")) == before


def test_a_run_that_was_stopped_before_it_began_goes_on(lenet: Lenet) -> None:
    """Of its program and versions nothing is known, and nothing needs to be."""
    command = (*HERE, "activation=relu,tanh")
    assert lenet(*command).code == 0
    unfinish(*runs_of("relu"))
    (run,) = runs_of("tanh")
    config = read_run_configuration(run)
    shutil.rmtree(run)
    mark_interrupted(Run(config, run, None))
    assert lenet(*command).code == 0
    assert read_status(run)["status"] == "finished"


def test_a_refused_command_does_not_become_that_of_the_sweep(lenet: Lenet) -> None:
    assert lenet(*HERE, "activation=relu", "seed=0,1").code == 0
    kept = Path("runs/mine/sweep.json").read_text()
    unfinish(runs_of("relu")[0])
    assert lenet(*HERE, "activation=relu", "seed=0,1", "lr=0.3").code == 1
    assert Path("runs/mine/sweep.json").read_text() == kept


def test_part_of_a_sweep_keeps_the_stacks_of_the_whole(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """And runs that are gone are noticed, although a part of the sweep was trained last."""
    whole = [*HERE, "activation=rrelu,tanh", "seed=0,1"]
    assert lenet(*whole).code == 0
    plan, before = Path("runs/mine/plan.json").read_text(), tables(Path("runs/mine"))
    for run in runs_of("tanh"):
        unfinish(run)
    assert lenet(*HERE, "activation=tanh", "seed=0,1").code == 0
    assert Path("runs/mine/plan.json").read_text() == plan
    assert tables(Path("runs/mine")) == before
    shutil.rmtree(runs_of("rrelu")[0])
    capsys.readouterr()
    assert lenet(*whole).code == 0
    assert "3 runs finished before" in capsys.readouterr().err
    assert tables(Path("runs/mine")) == before


def test_everything_anew_is_asked_for_once(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """`resume=DIR` does not repeat it: a sweep that was killed would lose what it had."""
    assert lenet(*HERE, "activation=relu", "hydra.launcher.skip_finished=false").code == 0
    ended = read_status(*runs_of("relu"))["ended"]
    capsys.readouterr()
    assert lenet("resume=runs/mine").code == 0
    assert "nothing is left to train" in capsys.readouterr().err
    assert read_status(*runs_of("relu"))["ended"] == ended


@pytest.mark.parametrize("kept_plan", [True, False], ids=["plan", "no plan"])
def test_other_code_is_noticed_by_the_statuses(
    lenet: Lenet, capsys: pytest.CaptureFixture[str], *, kept_plan: bool
) -> None:
    """As after a stop while everything is trained anew, or where `plan.json` is lost."""
    assert lenet(*HERE, "activation=relu,tanh").code == 0
    change_status(*runs_of("relu"), source="0" * 16)
    unfinish(*runs_of("tanh"))
    if not kept_plan:
        Path("runs/mine/plan.json").unlink()
    capsys.readouterr()
    assert lenet("resume=runs/mine").code == 1
    text = capsys.readouterr().err
    assert "source code: 0000000000000000 (commit " in text
    assert f"of {runs_of('relu')[0].name}" in text
    assert read_status(*runs_of("tanh"))["status"] == "running"
    assert lenet("resume=runs/mine", "resume_anyway=true").code == 0
    assert "0000000000000000" in str(read_status(*runs_of("tanh"))["resumed_anyway"])
    unfinish(*runs_of("tanh"))
    assert lenet("resume=runs/mine").code == 0  # it has been said


@pytest.mark.slow
def test_an_edited_module_of_the_users_own_is_noticed(
    lenet: Lenet, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By name, unless nothing of it is kept: a run that failed may be mended."""
    module = tmp_path / "mine.py"
    source = (
        "import torch\n\nclass Act(torch.nn.Module):\n    def forward(self, x):\n        return "
    )
    module.write_text(f"{source}x.relu()\n")
    command = [*HERE, "activation=custom", "activation.path=mine:Act", "seed=0,1"]
    assert lenet(*command).code == 0
    one, other = runs_of("custom")
    unfinish(one)
    module.write_text(f"{source}x.tanh()\n")
    capsys.readouterr()
    assert lenet("resume=runs/mine").code == 1
    text = capsys.readouterr().err
    assert f"source code of mine:Act: {read_status(one)['module']}, now " in text
    assert read_status(one)["status"] == "running"
    for run in (one, other):
        change_status(run, status="failed")
    before = tables(Path("runs/mine"))
    assert lenet("resume=runs/mine").code == 0
    assert tables(Path("runs/mine")).keys() == before.keys()
    assert tables(Path("runs/mine")) != before


def test_a_refusal_by_another_launcher_changes_nothing(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run stays as it is, the exit code is 1, and what goes on has a `sweep.json`."""
    command = [*TINY, "hydra.sweep.dir=runs/mine", "hydra/launcher=basic", "activation=relu"]
    assert lenet(*command).code == 0
    (run,) = runs_of("relu")
    unfinish(run)
    plan = json.loads((run / "plan.json").read_text())
    plan["conditions"]["versions"]["torch"] = "1.0"
    (run / "plan.json").write_text(json.dumps(plan))
    capsys.readouterr()
    assert lenet(*command).code == 1
    text = capsys.readouterr().err
    assert "runs/mine was begun otherwise" in text
    assert "versions.torch: 1.0, now " in text
    assert "lenet-bench resume=runs/mine" in text
    assert read_status(run)["status"] == "running"


def test_the_way_on_is_told_from_where_the_command_was_typed(lenet: Lenet, tmp_path: Path) -> None:
    """`resume=DIR` works where the sweep was begun; its last line may be read elsewhere."""
    assert lenet(*HERE, "activation=relu").code == 0
    unfinish(*runs_of("relu"))
    told = {
        folder: how_to_go_on(Session(directory=Path("runs/mine"), folder=folder))
        for folder in (tmp_path, tmp_path / "runs", tmp_path / "elsewhere")
    }
    assert list(told.values()) == [
        "lenet-bench resume=runs/mine",
        "lenet-bench resume=mine",
        f"lenet-bench resume={tmp_path / 'runs' / 'mine'}",
    ]


def test_files_that_a_status_does_not_name_are_no_evidence(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lenet(*HERE, "activation=relu").code == 0
    (run,) = runs_of("relu")
    before = tables(Path("runs/mine"))
    change_status(run, files={})
    (run / "train.csv").unlink()
    capsys.readouterr()
    assert lenet("resume=runs/mine").code == 0
    said = f"{run.name} is trained again: status.json does not say what its files hold."
    assert said in capsys.readouterr().err
    assert tables(Path("runs/mine")) == before


def test_a_run_without_metrics_is_no_obstacle(lenet: Lenet) -> None:
    """A status may say `null`, as where nothing was evaluated."""
    assert lenet(*HERE, "activation=relu,tanh").code == 0
    change_status(*runs_of("relu"), metrics=None)
    unfinish(*runs_of("tanh"))
    assert lenet("resume=runs/mine").code == 0
    assert read_status(*runs_of("tanh"))["status"] == "finished"
