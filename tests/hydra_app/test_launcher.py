"""The Hydra launcher `stacked`: Hydra's own suites, and the results of Hydra's basic launcher."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from PIL import Image

from lenet_bench.common.files import make_new_folder
from lenet_bench.records.run_directory import read_status
from tests.conftest import Lenet

TINY = (
    "dataset=fake", "dataset.images=150", "batch_size=16", "iterations=4", "probe.every=2",
    "probe.images=16", "precision=float64", "device=cpu",
)  # fmt: skip


# The suites expect jobs to run in their directories, as they did before Hydra 1.2.
@pytest.mark.parametrize(("launcher_name", "overrides"), [("stacked", ["hydra.job.chdir=true"])])
class TestHydrasLauncherSuite(LauncherTestSuite):
    """What every launcher has to do."""


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [("stacked", ["hydra.job.chdir=true", "hydra.sweeper.max_batch_size=2"])],
)
class TestHydrasBatchedSuite(BatchedSweeperTestSuite):
    """A sweep that is launched batch by batch."""


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        (
            {},
            [
                "-m",
                "hydra/job_logging=hydra_debug",
                "hydra/job_logging=disabled",
                "hydra/launcher=stacked",
            ],
        )
    ],
)
class TestHydrasIntegrationSuite(IntegrationTestSuite):
    """The same in applications of their own, in processes of their own."""


# --- the program, in this process -----------------------------------------------------------------


def csvs(directory: Path) -> dict[str, str]:
    """The three tables of a run, as text."""
    return {
        name: (directory / f"{name}.csv").read_text() for name in ("train", "evaluation", "layers")
    }


@pytest.mark.usefixtures("without_report")
def test_basic_and_stacked_write_the_same(lenet: Lenet, tmp_path: Path) -> None:
    """In float64, to the last digits: trained one by one or in a stack."""
    swept = ("activation=tanh,leaky_relu", "seed=0,1", "optimizer=adam")
    for launcher in ("basic", "stacked"):
        done = lenet(
            *TINY, *swept, f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path / launcher}",
            *(["hydra.launcher.workers=1"] if launcher == "stacked" else []),
        )  # fmt: skip
        assert done.code == 0
    import pandas as pd

    alone = sorted(path.parent for path in (tmp_path / "basic").glob("*/status.json"))
    assert len(alone) == 4
    stacked = {path.parent.name: path.parent for path in (tmp_path / "stacked").glob("*/train.csv")}
    # What varies is not known to the basic launcher, so its names may be longer.
    by_hash = {name[-8:]: path for name, path in stacked.items()}
    assert (
        json.loads((next(iter(stacked.values())) / "status.json").read_text())["stack"]["size"] > 1
    )
    for directory in alone:
        other = by_hash[directory.name[-8:]]
        assert read_status(directory)["stack"]["size"] == 1
        for name in ("train", "evaluation", "layers"):
            one = pd.read_csv(directory / f"{name}.csv")
            two = pd.read_csv(other / f"{name}.csv")
            pd.testing.assert_frame_equal(one, two, rtol=1e-9, atol=1e-12)


def test_a_run_of_one_is_reported_like_a_sweep(lenet: Lenet) -> None:
    """One path: directory, records, Hydra's own files, report."""
    done = lenet(*TINY, "activation=relu", "seed=3")
    assert done.code == 0
    (name,) = done.runs
    assert name[:-9] == "relu-xavier_uniform-lr0.01-seed3"
    assert len(name[-8:]) == 8
    assert int(name[-8:], 16) >= 0
    directory = done.runs[name]
    assert {path.name for path in directory.iterdir()} == {
        ".hydra", "config.json", "status.json", "train.csv", "evaluation.csv", "layers.csv",
        "weights.pt",
    }  # fmt: skip
    hydra = {path.stem: path for path in (directory / ".hydra").iterdir()}
    assert set(hydra) == {"config", "hydra", "overrides"}
    config = yaml.safe_load(hydra["config"].read_text())
    assert (config["seed"], config["iterations"], config["activation"]["name"]) == (3, 4, "relu")
    assert yaml.safe_load(hydra["overrides"].read_text()) == [*TINY, "activation=relu", "seed=3"]
    found = {path.name for path in done.sweeps[0].iterdir()}
    assert {"summary.csv", "figures", "report.html", "multirun.yaml", name} <= found
    assert done.sweeps[0].name.startswith("sweep-20")


@pytest.mark.usefixtures("without_report")
def test_what_varies_is_in_the_name_and_constants_are_not(lenet: Lenet) -> None:
    """Keys by their own name, groups by their choice."""
    done = lenet(*TINY, "weight_decay=0,0.001", "schedule=constant,cosine", "init=orthogonal")
    assert [name[:-9] for name in sorted(done.runs)] == [
        "relu-orthogonal-weight_decay0-constant-lr0.01-seed0",
        "relu-orthogonal-weight_decay0-cosine-lr0.01-seed0",
        "relu-orthogonal-weight_decay0.001-constant-lr0.01-seed0",
        "relu-orthogonal-weight_decay0.001-cosine-lr0.01-seed0",
    ]


@pytest.mark.usefixtures("without_report")
def test_the_same_run_twice_is_trained_once(lenet: Lenet, tmp_path: Path) -> None:
    """`seed=1,1` asks for one directory twice."""
    for launcher in ("stacked", "basic"):
        directory = tmp_path / launcher
        done = lenet(
            *TINY, "seed=1,1", f"hydra/launcher={launcher}", f"hydra.sweep.dir={directory}"
        )
        assert done.code == 0
        (directory,) = (path.parent for path in directory.glob("*/status.json"))
        assert len((directory / "train.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.usefixtures("without_report")
def test_only_what_is_missing_is_trained_again(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into the same sweep directory; a half-trained run counts as missing."""
    first = lenet(*TINY, "seed=0,1", "hydra.sweep.dir=runs/mine")
    before = {name: (path / "status.json").stat().st_mtime_ns for name, path in first.runs.items()}
    half = next(name for name in before if "seed1" in name)
    status = read_status(first.runs[half])
    (first.runs[half] / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    capsys.readouterr()
    done = lenet(*TINY, "seed=0,1,2", "hydra.sweep.dir=runs/mine")
    assert done.code == 0
    assert "1 run finished before" in capsys.readouterr().err
    assert len(done.runs) == 3
    after = {name: (path / "status.json").stat().st_mtime_ns for name, path in done.runs.items()}
    assert [after[name] == before[name] for name in before] == [name != half for name in before]
    assert {read_status(path)["status"] for path in done.runs.values()} == {"finished"}


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_a_run_is_found_again_when_other_keys_vary(
    lenet: Lenet, launcher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name tells what varied in the command that made it; its fingerprint stays."""
    into = ("hydra.sweep.dir=runs/mine", f"hydra/launcher={launcher}")
    first = lenet(*TINY, "seed=0,1", *into)
    before = {name: (path / "status.json").stat().st_mtime_ns for name, path in first.runs.items()}
    done = lenet(*TINY, "seed=0", "init.gain=1,2", *into)
    assert len(done.runs) == 3
    for name, changed in before.items():
        assert (done.runs[name] / "status.json").stat().st_mtime_ns == changed
    assert "1 run finished before" in capsys.readouterr().err


@pytest.mark.usefixtures("without_report")
def test_a_divergence_is_a_result_and_not_trained_again(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (*TINY, "activation=square", "lr=1e6", "hydra.sweep.dir=runs/mine")
    (run,) = lenet(*command).runs.values()
    assert read_status(run)["status"] == "diverged"
    before = (run / "status.json").stat().st_mtime_ns
    assert lenet(*command).code == 0
    assert "1 run finished before" in capsys.readouterr().err
    assert (run / "status.json").stat().st_mtime_ns == before


@pytest.mark.usefixtures("without_report")
def test_finished_runs_can_be_trained_again(lenet: Lenet) -> None:
    """`hydra.launcher.skip_finished=false`."""
    first = lenet(*TINY, "hydra.sweep.dir=runs/mine")
    (directory,) = first.runs.values()
    (directory / "train.csv").write_text("")
    lenet(*TINY, "hydra.sweep.dir=runs/mine", "hydra.launcher.skip_finished=false")
    assert len((directory / "train.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.usefixtures("without_report")
def test_two_commands_of_one_second_never_share_a_directory(
    lenet: Lenet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one takes another name, and its jobs go there."""
    monkeypatch.setattr("hydra.core.utils.datetime", StoppedClock)
    for launcher in ("stacked", "stacked", "basic"):
        done = lenet(*TINY, "iterations=1", f"hydra/launcher={launcher}")
        assert done.code == 0
    names = ["sweep-2001-01-01_01-01-01" + suffix for suffix in ("", "-2", "-3")]
    assert [path.name for path in done.sweeps] == names
    assert [len(list(path.glob("*/status.json"))) for path in done.sweeps] == [1, 1, 1]


class StoppedClock(datetime):
    """Always the same second."""

    @classmethod
    def now(cls, tz: object = None) -> StoppedClock:
        """The first second of the millennium."""
        return cls(2001, 1, 1, 1, 1, 1)


def test_directories_are_taken_one_by_one(tmp_path: Path) -> None:
    """However many ask for the same at once."""
    wanted = tmp_path / "sweep-now"
    names = [make_new_folder(wanted).name for _ in range(3)]
    assert names == ["sweep-now", "sweep-now-2", "sweep-now-3"]


@pytest.mark.usefixtures("without_report")
def test_a_preset_gives_the_sweep_its_name(lenet: Lenet) -> None:
    """And its values; the command line may narrow them."""
    done = lenet("experiment=sigmoid_tanh_relu", *TINY, "seed=0")
    assert done.sweeps[0].name.startswith("sigmoid_tanh_relu-20")
    assert {name.partition("-")[0] for name in done.runs} == {"sigmoid", "tanh", "relu"}


def test_hydras_mode_run_works(lenet: Lenet) -> None:
    """One job, no sweep around it; its directory and report lie where a sweep's would."""
    done = lenet(*TINY, "hydra.mode=RUN")
    assert done.code == 0
    (directory,) = done.runs.values()
    assert read_status(directory)["status"] == "finished"
    assert (directory.parent / "summary.csv").is_file()


@pytest.mark.usefixtures("without_report")
def test_a_warm_up_longer_than_the_epochs_of_a_folder_is_refused(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known only once the images are counted, and still before any training."""
    for kind in ("cat", "dog"):
        folder = Path("photos/train") / kind
        folder.mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (32, 32), (number, 9 * number, 40)).save(folder / f"{number}.png")
    done = lenet(
        "dataset=image_folder", "dataset.root=photos", "batch_size=8", "epochs=2",
        "schedule.warmup=8", "device=cpu",
    )  # fmt: skip
    assert done.code == 1
    assert "schedule.warmup=8: must be less than the budget, the 8 iterations of epochs=2" in (
        capsys.readouterr().err
    )


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_a_failure_is_one_line_and_exit_code_one(
    lenet: Lenet, launcher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device that the machine lacks is known only once torch is loaded."""
    done = lenet(*TINY, "device=cuda:99", f"hydra/launcher={launcher}")
    assert done.code == 1
    captured = capsys.readouterr()
    assert "device=cuda:99: this machine has" in captured.err
    assert "Traceback" not in captured.err + captured.out


def test_a_failure_in_mode_run_is_exit_code_one(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """No sweep report would tell."""
    assert lenet(*TINY, "device=cuda:99", "hydra.mode=RUN").code == 1
    assert "device=cuda:99" in capsys.readouterr().err


# --- the plan -------------------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.usefixtures("without_report")
def test_a_sweep_is_planned_trained_and_planned_again(
    lenet: Lenet, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan changes nothing; it says what is finished, and leaves that out of the time."""
    command = (*TINY, "seed=0,1,2,3", "hydra.sweep.dir=runs/mine", "hydra.launcher.workers=2")
    planned = lenet(*command, "plan=true")
    assert planned.code == 0
    assert "4 runs in 2 stacks, 2 workers; nothing was trained." in capsys.readouterr().out
    assert not (planned.folder / "runs").exists()

    done = lenet(*command)
    half = next(path for name, path in done.runs.items() if "seed3" in name)
    status = read_status(half)
    (half / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    before = snapshot(done.folder)
    capsys.readouterr()
    assert lenet(*command, "plan=true").code == 0
    told = capsys.readouterr().out
    assert "3 runs are finished and not in the time." in told
    assert sum("finished" in line.split() for line in told.splitlines()[1:3]) == 1
    assert snapshot(done.folder) == before


@pytest.mark.usefixtures("without_report")
def test_the_plan_is_kept_and_does_not_depend_on_what_is_finished(lenet: Lenet) -> None:
    """A run that is trained later belongs to the stack that it belonged to from the start."""
    command = (
        *TINY, "activation=gelu,relu", "seed=0,1,2", "hydra.sweep.dir=runs/mine",
        "hydra.launcher.workers=1", "hydra.launcher.stack_size=3",
    )  # fmt: skip
    done = lenet(*command)
    file = done.folder / "runs" / "mine" / "plan.json"
    text = file.read_text()
    plan = json.loads(text)
    assert sorted(run for stack in plan["stacks"] for run in stack["runs"]) == sorted(done.runs)
    for stack in plan["stacks"]:
        found = [read_status(done.runs[run])["stack"] for run in stack["runs"]]
        assert [each["index"] for each in found] == [stack["stack"]] * 3
        assert [each["position"] for each in found] == [0, 1, 2]
    late = plan["stacks"][1]["runs"][2]
    (done.runs[late] / "status.json").unlink()
    lenet(*command)
    assert file.read_text() == text
    assert read_status(done.runs[late])["stack"]["index"] == 1
    assert read_status(done.runs[late])["stack"]["size"] == 3  # neighbours decide its bits


@pytest.mark.usefixtures("without_report")
def test_a_sweep_in_batches_has_a_plan_for_each(lenet: Lenet) -> None:
    """Hydra launches them one after another."""
    done = lenet(*TINY, "seed=0,1,2", "hydra.sweeper.max_batch_size=2")
    (only,) = done.sweeps
    stacks = [json.loads(path.read_text())["stacks"] for path in sorted(only.glob("plan*.json"))]
    assert [sum(len(stack["runs"]) for stack in each) for each in stacks] == [1, 2]
