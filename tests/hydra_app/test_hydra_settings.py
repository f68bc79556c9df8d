"""Hydra's own settings: those that lead nowhere are refused by name, all others are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Lenet
from tests.hydra_app.conftest import Command

LONG = "a" * 256
DEEP = "/".join(["a" * 100] * 50)

# command line, then what its only line of mistake must hold
REFUSED: list[tuple[str, tuple[str, ...]]] = [
    # code that is named by its import path
    ("hydra.launcher._target_=os.system", ("nothing is run by its import path", "launcher=basic")),
    ("hydra.launcher={_target_:os.system}", ("nothing is run by its import path",)),
    ("+hydra.launcher.x={_target_:os.system}", ("nothing is run by its import path",)),
    (
        "hydra.launcher._target_=hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        ("choose by name, as in hydra/launcher=basic",),
    ),
    ("hydra.sweeper._target_=os.system", ("choose by name, as in hydra/sweeper=basic",)),
    ("+hydra.callbacks.mine._target_=os.getcwd", ("hydra.callbacks.mine._target_=os.getcwd: no",)),
    ("hydra.callbacks.sweep_directory._target_=os.getcwd", ("nothing is run by",)),
    ("~hydra.callbacks.sweep_directory", ("hydra.callbacks.sweep_directory: makes the sweep",)),
    ("+hydra.job_logging.handlers.x.class=os.system", ("handlers.x.class=os.system: nothing",)),
    # where files lie
    ("hydra.sweep.dir=", ("hydra.sweep.dir=: must name a folder",)),
    ("hydra.sweep.dir=null", ("hydra.sweep.dir=null: ",)),
    (f"hydra.sweep.dir={LONG}", ("hydra.sweep.dir=aaaa", "a name of more than 255 bytes")),
    (f"hydra.sweep.dir='{'ä' * 128}'", ("has a name of more than 255 bytes",)),
    (f"hydra.sweep.dir={DEEP}", ("has more than 3,584 bytes; choose a shorter path",)),
    ("hydra.sweep.dir='a\nb'", ("hydra.sweep.dir=a\\nb: holds characters that cannot be",)),
    ("hydra.sweep.subdir=../../escape", ("hydra.sweep.subdir=../../escape: must be the name of",)),
    ("hydra.sweep.subdir=..", ("hydra.sweep.subdir=..: must be the name of a folder",)),
    ("hydra.sweep.subdir=/tmp/escape", ("hydra.sweep.subdir=/tmp/escape: must be the name",)),
    ("hydra.sweep.subdir=${seed}/${activation.name}", ("must be the name of a folder",)),
    ("hydra.sweep.subdir=", ("hydra.sweep.subdir=: must be the name of a folder",)),
    (f"hydra.sweep.subdir={LONG}", ("must be the name of a folder",)),
    ("hydra.output_subdir=status.json", ("hydra.output_subdir=status.json: must be null or the",)),
    ("hydra.output_subdir=../x", ("hydra.output_subdir=../x: must be null or the name",)),
    # how many, and which
    ("hydra.sweeper.max_batch_size=0", ("max_batch_size=0: must be null or an integer >= 1",)),
    ("hydra.searchpath=[/no/such/folder]", ("hydra.searchpath=[/no/such/folder]: there is no",)),
    ("hydra.runtime.cwd=/", ("hydra.runtime.cwd=/: is set by Hydra itself; leave it out",)),
    ("hydra.overrides.task=[x]", ("hydra.overrides.task=[x]: is set by Hydra itself",)),
]


@pytest.mark.parametrize(("text", "says"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_a_setting_that_leads_nowhere_is_refused(
    command: Command, text: str, says: tuple[str, ...]
) -> None:
    """In one short line, before anything is made."""
    answer = command(text)
    answer.is_refusal()
    (problem,) = answer.problems
    assert len(problem) < 250
    for part in says:
        assert part in problem


# several arguments, then what their only line of mistake must hold
TOGETHER: list[tuple[tuple[str, ...], str]] = [
    (("lr=0.01", "lr=0.02"), "lr=0.02: contradicts lr=0.01; give lr once, or list values to sweep"),
    (("lr=0.01", "++lr=0.02"), "++lr=0.02: contradicts lr=0.01"),
    (("activation=relu", "activation=tanh"), "activation=tanh: contradicts activation=relu"),
    (
        ("hydra.launcher.workers=1", "hydra.launcher.workers=2"),
        "hydra.launcher.workers=2: contradicts hydra.launcher.workers=1; give",
    ),
    (("hydra.run.dir=out",), "hydra.run.dir=out: is for single runs, with hydra.mode=RUN"),
    (("hydra.mode=RUN", f"hydra.run.dir={LONG}"), "hydra.run.dir=aaaaaaaa"),
    (("hydra.mode=RUN", "seed=0,1"), "seed=0,1: hydra.mode=RUN trains one run; leave it out to"),
    (("--multirun", "hydra.mode=RUN"), "--multirun: contradicts hydra.mode=RUN"),
    (
        ("hydra.sweep.subdir=same", "seed=0,1"),
        "hydra.sweep.subdir=same: all 2 runs would be written into this folder; leave it out, or "
        "name what differs, as in same-${seed}",
    ),
    (("hydra.sweep.subdir=same", "experiment=smoke"), "hydra.sweep.subdir=same: all"),
    (
        ("seed=range(1000)", "lr=0.1,0.2", "weight_decay=range(600)", "plan=true"),
        "1,200,000 combinations: a sweep has at most 100,000; this one sweeps seed (1,000 values), "
        "weight_decay (600 values), lr (2 values)",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "says"), TOGETHER, ids=[" ".join(a)[:60] for a, _ in TOGETHER]
)
def test_arguments_that_contradict_each_other_are_refused(
    command: Command, arguments: tuple[str, ...], says: str
) -> None:
    """None of them wins in silence."""
    answer = command(*arguments)
    answer.is_refusal()
    (problem,) = answer.problems
    assert problem.startswith(says)


# arguments that others use Hydra with, then the names of the runs or how many there are
TAKEN: list[tuple[tuple[str, ...], list[str] | int]] = [
    (("hydra.sweep.dir=runs/my_target_x",), 1),
    (("hydra.sweep.dir='runs/${now:%Y-%m-%d}/${now:%H:%M:%S}'", "--run"), 1),
    ((f"hydra.sweep.dir={'a' * 255}",), 1),
    (("-m", "hydra.sweep.subdir=${hydra.job.num}", "hydra.mode=MULTIRUN", "seed=5,6"), ["0", "1"]),
    (("hydra.sweep.subdir=${hydra.job.override_dirname}", "seed=5,6"), ["seed=5", "seed=6"]),
    (("hydra.sweep.subdir=mine", "seed=5", "hydra/launcher=basic"), ["mine"]),
    (("hydra.mode=RUN", "hydra.run.dir=out", "lr=0.1", "lr=0.1"), ["out"]),
    (("hydra.output_subdir=null", "hydra.sweeper.max_batch_size=2", "seed=0,1,2", "-m"), 3),
    (
        (
            "hydra.searchpath=[file:///]", "hydra.job.chdir=true", "+hydra.job.env_set.A=b",
            "hydra/job_logging=default", "hydra/hydra_logging=default", "hydra.output_subdir=hydra",
            "+hydra.callbacks.log._target_=hydra.experimental.callbacks.LogJobReturnCallback",
            "iterations=10000000",
        ), 1,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "runs"), TAKEN, ids=[" ".join(a)[:60] for a, _ in TAKEN])
def test_what_hydra_offers_is_taken(
    command: Command, arguments: tuple[str, ...], runs: list[str] | int
) -> None:
    """Without a warning: Hydra would make one of an error in the callback that locks the sweep."""
    answer = command(*arguments)
    assert answer.code == 0, answer.text
    assert (answer.runs if isinstance(runs, list) else len(answer.runs)) == runs
    assert "Warning" not in answer.text


def test_an_absolute_sweep_directory_is_taken(command: Command, tmp_path: Path) -> None:
    """Of a folder that is there, and of one that is not."""
    for folder in (tmp_path, tmp_path / "a" / "b"):
        answer = command(f"hydra.sweep.dir={folder}")
        assert len(answer.runs) == 1
        assert answer.text.startswith(f"{folder}: composing the runs")


@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_a_value_cannot_lead_out_of_the_sweep_directory(command: Command, launcher: str) -> None:
    """What the name of a run's folder refers to is known only when the run is composed."""
    answer = command(
        "hydra.sweep.subdir=${hydra.job.env_set.A}", "+hydra.job.env_set.A=../../x",
        f"hydra/launcher={launcher}",
    )  # fmt: skip
    assert answer.code == 1
    assert "Traceback" not in answer.text
    assert "RUNS" not in answer.text
    assert "hydra.sweep.subdir=../../x: must be the name of a folder" in answer.text


def test_runs_that_differ_in_what_their_folder_does_not_name_are_refused(command: Command) -> None:
    """Half of them would replace the others, and the sweep would end well."""
    answer = command("hydra.sweep.subdir=${seed}", "seed=0,1", "activation=relu,tanh")
    assert answer.code == 1
    assert "RUNS" not in answer.text
    assert len(answer.problems) == 2
    assert answer.problems[0].startswith("hydra.sweep.subdir: 0 would hold several runs; ")


TINY = (
    "iterations=2", "batch_size=8", "probe.every=0", "evaluate.every=0", "device=cpu",
    "dataset.train_size=16",
)  # fmt: skip


@pytest.mark.usefixtures("without_report")
def test_the_folder_of_a_run_holds_no_other(
    lenet: Lenet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in a later command nor, where each job is trained by itself, in the same one."""
    named = ("hydra.sweep.subdir=mine", "hydra.sweep.dir=sweep")
    assert lenet(*TINY, *named).code == 0
    table = (tmp_path / "sweep" / "mine" / "train.csv").read_bytes()
    assert lenet(*TINY, *named, "lr=0.02").code == 1
    told = capsys.readouterr().err
    assert "sweep/mine: holds another run (lr=0.01, now 0.02); choose another folder" in told
    assert (tmp_path / "sweep" / "mine" / "train.csv").read_bytes() == table
    assert lenet(*TINY, *named).code == 0
    assert "1 run finished before" in capsys.readouterr().err
    by_seed = ("hydra.sweep.subdir=${seed}", "activation=relu,tanh", "hydra/launcher=basic")
    assert lenet(*TINY, *by_seed, "hydra.sweep.dir=basic").code == 1
    assert "basic/0: holds another run (activation=relu, now tanh)" in capsys.readouterr().err
