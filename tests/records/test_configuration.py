"""A run directory says what was asked for: its own file now, Hydra's files in older ones."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

import lenet_bench
from lenet_bench.analysis import load_sweep
from lenet_bench.commands.report import main as report
from lenet_bench.common.errors import UserError
from lenet_bench.config.schema import RunConfig
from lenet_bench.records.configuration import read_configuration, write_configuration
from lenet_bench.records.run_directory import (
    Run,
    RunRecorder,
    mark_failed,
    mark_interrupted,
    read_status,
    write_status,
)
from tests.conftest import Configure, Lenet
from tests.fabricate import configuration, descent, make_older, write_run

TINY = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=20",
    "evaluate.every=20", "probe.every=0", "device=cpu", "hydra.launcher.workers=1",
)  # fmt: skip


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("dataset=fake", "dataset.images=200", "init.gain=auto", "schedule=cosine"),
        ("activation=prelu", "optimizer=adamw", "model.hidden=[84]", "init.bias=0.5"),
    ],
)
def test_what_is_written_is_the_configuration_again(
    overrides: tuple[str, ...], configure: Configure, tmp_path: Path
) -> None:
    config = configure(*overrides)
    write_configuration(tmp_path, config, "smoke")
    stored = read_configuration(tmp_path)
    assert stored.preset == "smoke"
    assert RunConfig.model_validate(stored.content) == config
    assert "plan" not in stored.content
    assert ("images" in stored.content["dataset"]) == ("dataset=fake" in overrides)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.integration
def test_it_is_there_before_the_first_row_and_of_runs_that_never_began(tmp_path: Path) -> None:
    config = RunConfig.model_validate(configuration())
    runs = {name: Run(config, tmp_path / name, "depth") for name in ("begun", "failed", "stopped")}
    RunRecorder(runs["begun"], {}).begin()
    mark_failed(runs["failed"], "out of memory")
    mark_interrupted(runs["stopped"])
    for run in runs.values():
        content = json.loads((run.directory / "config.json").read_text())
        assert content == {"preset": "depth", "config": configuration()}
    found = load_sweep(tmp_path).runs.set_index("run")
    assert found["preset"].to_list() == ["depth"] * 3
    assert found["status"].to_dict() == {
        **{"begun": "running", "failed": "failed", "stopped": "interrupted"},
    }


def test_an_older_directory_says_the_same(tmp_path: Path) -> None:
    for name, preset in (("a", "smoke"), ("b", None)):
        run = write_run(tmp_path / "s", name, descent(30, 0), preset=preset, activation="elu")
        before = read_configuration(run)
        make_older(run)
        assert not (run / "config.json").exists()
        assert read_configuration(run) == before
    presets = load_sweep(tmp_path / "s").runs.set_index("run")["preset"]
    assert presets.dropna().to_dict() == {"a": "smoke"}


def test_a_damaged_file_is_not_passed_over_for_an_older_one(tmp_path: Path) -> None:
    run = write_run(tmp_path, "a", descent(30, 0))
    make_older(run)
    for content, words in (
        ("{", r"config.json, line 1: is not JSON"),
        ("[1]", "config.json: names no activation"),
        ('{"config": {"lr": 1}, "preset": null}', "config.json: names no activation"),
    ):
        (run / "config.json").write_text(content)
        with pytest.raises(UserError, match=words):
            read_configuration(run)
    (run / "config.json").unlink()
    (run / ".hydra" / "config.yaml").write_text("activation: {name: [")
    with pytest.raises(UserError, match=r"config.yaml, line \d: is not plain YAML"):
        read_configuration(run)


def test_without_any_configuration_both_places_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s", "a", descent(30, 0))
    (run / "config.json").unlink()
    with pytest.raises(SystemExit, match=r"s/a: holds neither config\.json nor"):
        report([str(tmp_path / "s")])


@pytest.mark.integration
def test_a_sweep_needs_nothing_of_hydras_files(lenet: Lenet, tmp_path: Path) -> None:
    """Trained, reported, judged and loaded without `.hydra/`; with it, the same is said twice."""
    arguments = ("experiment=sigmoid_tanh_relu", *TINY, "seed=0,1,2")
    without = lenet(*arguments, "hydra.output_subdir=null", "hydra.sweep.dir=runs/without")
    assert without.code == 0
    folder = tmp_path / "runs" / "without"
    assert not list(folder.rglob(".hydra"))
    assert len(pd.read_csv(folder / "summary.csv")) == 9
    claims = pd.read_csv(folder / "claims.csv")
    assert claims["claim"].to_list() == ["sigmoid_slower", "tanh_close_to_relu"]
    assert claims["seeds"].to_list() == [3, 3]
    run = next(path.parent for path in folder.glob("*/weights.pt"))
    assert lenet_bench.load_model(run).training is False

    assert lenet(*arguments, "hydra.sweep.dir=runs/with").code == 0
    for run in (tmp_path / "runs" / "with").glob("*/config.json"):
        # What the command does, nothing about the run; and what is left out where it is false.
        said_once = ("plan", "resume_anyway", "reproducible")
        ours = json.loads(run.read_text())
        hydras = yaml.safe_load((run.parent / ".hydra" / "config.yaml").read_text())
        assert ours == {"preset": "sigmoid_tanh_relu", "config": hydras} | {
            "config": {key: value for key, value in hydras.items() if key not in said_once}
        }
        assert ours == json.loads((folder / run.parent.name / "config.json").read_text())


@pytest.mark.integration
def test_an_older_sweep_is_read_and_continued(
    lenet: Lenet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*TINY, "activation=relu,tanh", "hydra.sweep.dir=runs/older")
    assert lenet(*arguments).code == 0
    folder = tmp_path / "runs" / "older"
    for path in folder.glob("*/config.json"):
        assert json.loads(path.read_text())["preset"] is None
        path.unlink()
        status = read_status(path.parent)
        del status["files"]["config.json"]  # which no older version knew
        write_status(path.parent, status)
    capsys.readouterr()
    assert lenet(*arguments, "seed=0,1").code == 0
    assert "2 runs finished before" in capsys.readouterr().err
    runs = load_sweep(folder).runs
    assert len(runs) == 4
    assert runs["run"].map(lambda name: (folder / name / "config.json").exists()).sum() == 2
    assert sorted(load_sweep(folder).train["activation"].unique()) == ["relu", "tanh"]
    summary = pd.read_csv(folder / "summary.csv")
    assert summary["init.bias"].isna().all()
    assert summary["lr"].eq(0.01).all()
