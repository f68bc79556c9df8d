"""What may not slip through when a sweep goes on: grown sweeps, other code, parts of a sweep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lenet_bench.execution import workers
from lenet_bench.hydra_app.resume import answer_finished, how_to_go_on
from lenet_bench.hydra_app.session import Session
from lenet_bench.hydra_app.stored_command import name_of, read_command, stored_command
from lenet_bench.records.configuration import read_run_configuration
from lenet_bench.records.run_directory import Run, mark_interrupted, read_status
from lenet_bench.training.recording import Outcome
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


# --- everything anew, of a part -------------------------------------------------------------------

PAIRS = (*HERE, "hydra.launcher.stack_size=2", "activation=relu,tanh")  # a stack for each seed
ANEW = "hydra.launcher.skip_finished=false"


def runs_with(seed: int) -> list[Path]:
    """The run directories of a seed."""
    return sorted(Path("runs/mine").glob(f"*seed{seed}*"))


def plan_of(sweep: Path) -> dict[int, list[str]]:
    """The runs of each stack."""
    content = json.loads((sweep / "plan.json").read_text())
    return {stack["stack"]: stack["runs"] for stack in content["stacks"]}


def test_training_a_part_anew_leaves_the_other_stacks_and_their_checkpoints(lenet: Lenet) -> None:
    """And `resume=DIR`, which then repeats that command, goes on with the others, too."""
    sweep = Path("runs/mine")
    assert lenet(*PAIRS, "seed=0,1").code == 0
    before, plan = tables(sweep), plan_of(sweep)
    for run in runs_with(1):
        unfinish(run)
    (other,) = (index for index, runs in plan.items() if "seed1" in runs[0])
    checkpoint = sweep / "checkpoints" / f"stack-{other}.ckpt"
    checkpoint.parent.mkdir()
    for file in (checkpoint, checkpoint.with_name("stack-77.ckpt")):
        file.write_bytes(b"damaged")
    ended = read_status(runs_with(0)[0])["ended"]
    assert lenet(*PAIRS, "seed=0", ANEW).code == 0
    assert plan_of(sweep)[other] == plan[other]
    assert sorted(plan_of(sweep).values()) == sorted(plan.values())
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    assert read_status(runs_with(0)[0])["ended"] != ended
    assert {read_status(run)["status"] for run in runs_with(1)} == {"running"}
    assert lenet("resume=runs/mine").code == 0
    assert {read_status(run)["status"] for run in runs_with(1)} == {"finished"}
    assert tables(sweep) == before


def test_what_training_a_part_anew_would_destroy_is_refused(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lenet(*PAIRS, "seed=0").code == 0
    one, other = runs_with(0)
    unfinish(other)
    part = [*HERE, "hydra.launcher.stack_size=2", "activation=relu", "seed=0"]
    ended = read_status(one)["ended"]
    capsys.readouterr()
    assert lenet(*part, ANEW).code == 1
    text = capsys.readouterr().err
    assert f"share a stack with runs that are, and would lose what they have: {other.name}" in text
    assert read_status(one)["ended"] == ended
    assert lenet(*part, ANEW, "resume_anyway=true").code == 0


def test_a_part_is_not_trained_anew_beside_others_of_other_code(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its plan would forget how these were begun."""
    assert lenet(*PAIRS, "seed=0,1").code == 0
    unfinish(runs_with(1)[0])
    plan = json.loads(Path("runs/mine/plan.json").read_text())
    plan["conditions"]["source"] = "0" * 16
    Path("runs/mine/plan.json").write_text(json.dumps(plan))
    capsys.readouterr()
    assert lenet(*PAIRS, "seed=0", ANEW).code == 1
    assert "source code: 0000000000000000 (commit " in capsys.readouterr().err


def test_an_ended_neighbour_that_cannot_be_computed_is_named(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an older program: nothing tells what it was asked to train."""
    assert lenet(*PAIRS, "seed=0").code == 0
    one, other = runs_with(0)
    unfinish(one)
    files = read_status(other)["files"]
    del files["config.json"]
    change_status(other, files=files)
    (other / "config.json").unlink()
    shutil.rmtree(other / ".hydra")
    part = [*HERE, "hydra.launcher.stack_size=2", "activation=relu", "seed=0"]
    capsys.readouterr()
    assert lenet(*part).code == 1
    assert f"config.json cannot be read: {other.name}" in capsys.readouterr().err


def test_a_stop_while_all_is_trained_anew_is_no_success(
    lenet: Lenet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statuses still say that an earlier attempt finished."""
    assert lenet(*HERE, "activation=relu").code == 0

    def stopped(jobs: Sequence[workers.StackJob], *_: Any, **options: Any) -> None:
        runs = [run.directory for job in jobs for run in job.runs]
        options["reports"].finished([Outcome(run, "interrupted", {}) for run in runs])

    monkeypatch.setattr(workers, "train", stopped)
    assert lenet(*HERE, "activation=relu", ANEW).code == 130
    assert read_status(*runs_of("relu"))["status"] == "finished"


# --- from another folder --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("lr=0.1", "lr"), ("+lr=1", "lr"), ("++ lr = 1", "lr"),
        ("hydra.sweep.dir=a=b", "hydra.sweep.dir"), ("~lr", "~lr"), ("--cfg", "--cfg"),
    ],
)  # fmt: skip
def test_the_key_that_an_argument_sets(argument: str, name: str) -> None:
    assert name_of(argument) == name


def test_what_concerns_one_command_is_not_kept_in_whatever_form() -> None:
    once = ["hydra.sweep.dir=a", "++hydra.sweep.dir = a", f"+{ANEW}", "++resume_anyway=true"]
    assert stored_command([*once, "lr=0.1"]).arguments == ("lr=0.1",)


def test_only_the_same_command_in_the_same_folder_is_finished(lenet: Lenet, tmp_path: Path) -> None:
    """Relative paths may mean other images elsewhere."""
    assert lenet(*HERE, "activation=relu").code == 0
    place = "hydra.sweep.dir=runs/mine"
    command = read_command(Path("runs/mine"))
    assert command is not None
    session = Session(command=command)
    assert answer_finished([place], session)
    session.end()
    assert not answer_finished([place], Session(command=replace(command, folder="/")))
    assert not answer_finished([place, f"++{ANEW}"], Session(command=command))
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        assert lenet("resume=../runs/mine").code == 0
    assert read_command(Path("runs/mine")) == command


def test_paths_that_are_printed_lead_there_from_where_the_command_was_typed(
    lenet: Lenet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert lenet(*HERE, "activation=relu").code == 0
    (tmp_path / "elsewhere").mkdir()
    for folder, argument, told in (
        (tmp_path, "runs/mine", "runs/mine/report.html"),
        (tmp_path / "elsewhere", "../runs/mine", f"{tmp_path}/runs/mine/report.html"),
    ):
        Path(tmp_path, "runs/mine/report.html").touch()
        monkeypatch.chdir(folder)
        capsys.readouterr()
        assert lenet(f"resume={argument}").code == 0
        assert f"Report: {told}\n" in capsys.readouterr().err


def test_other_images_under_the_same_relative_path_are_no_finished_sweep(
    lenet: Lenet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder, shade in (("here", 10), ("copy", 10), ("other", 200)):
        for number in range(12):
            file = tmp_path / folder / "photos" / "train" / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (28, 28), shade + number).save(file)
    command = (
        "dataset=image_folder", "dataset.root=photos", "dataset.validation_size=4",
        "batch_size=4", "iterations=2", "probe.every=0", f"hydra.sweep.dir={tmp_path}/runs/mine",
    )  # fmt: skip
    codes = []
    for folder in ("here", "copy", "other"):
        monkeypatch.chdir(tmp_path / folder)
        capsys.readouterr()
        codes.append(lenet(*command).code)
    assert codes == [0, 0, 1]
    assert "images of dataset " in capsys.readouterr().err
    assert lenet(*command, "resume_anyway=true").code == 0
