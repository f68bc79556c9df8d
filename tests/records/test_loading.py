"""What is read back from run directories, older ones included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lenet_bench
from lenet_bench.analysis import load_sweep, varying_keys
from lenet_bench.common.errors import UserError
from tests.fabricate import descent, write_run, write_small_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two activations, two seeds each."""
    return write_small_sweep(tmp_path / "sweep")


def test_package_loads_nothing_heavy_and_reading_needs_no_torch(sweep: Path) -> None:
    code = (
        "import sys, lenet_bench\n"
        "assert not {'pandas', 'torch', 'matplotlib', 'hydra'} & set(sys.modules)\n"
        f"assert len(lenet_bench.load_sweep({str(sweep)!r}).train) == 480\n"
        "from lenet_bench.reporting.report import write_report\n"
        "assert not {'torch', 'hydra', 'matplotlib.pyplot'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version_and_unknown_names() -> None:
    assert lenet_bench.__version__.count(".") >= 1
    with pytest.raises(AttributeError, match="no attribute 'load_sweeps'"):
        _ = lenet_bench.load_sweeps


def test_frames_are_tidy_and_values_read_back_exactly(sweep: Path) -> None:
    loaded = lenet_bench.load_sweep(sweep)
    assert list(loaded.runs["run"]) == ["relu-0", "relu-1", "tanh-0", "tanh-1"]
    first = loaded.runs.iloc[0]
    assert (first["activation"], first["init"], first["lr"], first["seed"]) == (
        *("relu", "xavier_uniform", 0.01, 0),
    )
    assert first["init.gain"] == 1.0
    assert first["model.hidden"] == "[120, 84]"
    assert first["classes"] == 10
    train = loaded.train
    assert list(train.columns[:6]) == ["run", "sweep", "activation", "init", "lr", "seed"]
    assert train["scheduled_lr"].eq(0.01).all()
    for run, (seed, rate) in {"relu-1": (1, 20.0), "tanh-0": (0, 10.0)}.items():
        read = train.loc[train["run"] == run, "loss"].to_numpy()
        np.testing.assert_array_equal(read, descent(120, seed, rate=rate))
    layers = loaded.layers
    assert set(layers["layer"]) == {"conv1", "conv2", "fc1", "fc2", "logits"}
    assert layers.loc[layers["layer"] == "logits", "dead_fraction"].isna().all()
    assert layers.loc[layers["layer"] == "logits", "weight_norm"].eq(2.5).all()
    assert set(loaded.evaluation["split"]) == {"train", "validation", "test"}


def test_a_run_directory_given_itself(sweep: Path) -> None:
    runs = load_sweep(sweep / "tanh-1").runs
    assert list(runs["run"]) == ["tanh-1"]
    assert list(runs["sweep"]) == ["sweep"]


def test_several_sweeps_are_told_apart(sweep: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "other", "relu-0", descent(60, 5), activation="relu", seed=5)
    runs = load_sweep([sweep, tmp_path / "other", sweep]).runs
    assert len(runs) == 5, "a sweep named twice is read once"
    assert runs["run"].is_unique
    assert set(runs["sweep"]) == {"sweep", "other"}
    assert {"sweep/relu-0", "other/relu-0"} <= set(runs["run"])


def test_varying_keys_ignore_parameters_that_come_with_the_choice(tmp_path: Path) -> None:
    for name, activation in {
        "a": {"name": "elu", "alpha": 1.0},
        "b": {"name": "celu", "alpha": 2.0},
        "c": {"name": "leaky_relu", "negative_slope": 0.01},
    }.items():
        write_run(tmp_path / "s", name, descent(30, 0), activation=activation)
    assert varying_keys(load_sweep(tmp_path / "s").runs) == ["activation"]
    slope = {"name": "leaky_relu", "negative_slope": 0.2}
    write_run(tmp_path / "s", "d", descent(30, 0), activation=slope, lr=0.1, seed=1)
    keys = varying_keys(load_sweep(tmp_path / "s").runs)
    assert keys == ["activation", "activation.negative_slope", "lr"]


def test_what_is_only_recorded_never_parts_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "a", descent(30, 0), device="cpu", probe={"every": 10})
    write_run(tmp_path / "s", "b", descent(30, 1), device="cuda", probe={"every": 0}, seed=1)
    assert varying_keys(load_sweep(tmp_path / "s").runs) == []


def test_equal_names_with_other_images_are_other_datasets(tmp_path: Path) -> None:
    folder = {"name": "image_folder", "root": "a"}
    write_run(tmp_path / "s", "a", descent(30, 0), dataset=folder, classes=10)
    write_run(tmp_path / "s", "b", descent(30, 0), dataset=folder | {"root": "b"}, classes=7)
    assert varying_keys(load_sweep(tmp_path / "s").runs) == ["dataset.fingerprint"]


def test_a_run_that_was_stopped_before_it_began_lacks_nothing(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(sweep, "zz", np.array([]), status="interrupted", seed=7)
    for name in ("train", "evaluation", "layers"):
        (run / f"{name}.csv").unlink()
    loaded = load_sweep(sweep)
    assert len(loaded.train) == 480
    assert len(loaded.evaluation)
    assert len(loaded.layers)
    assert not caplog.messages


def test_useless_paths_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nope: there is no such directory.*runs/"):
        load_sweep(tmp_path / "nope")
    with pytest.raises(UserError, match="holds no runs"):
        load_sweep(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        load_sweep(tmp_path / "file")
    run = write_run(tmp_path / "s", "a", descent(30, 0))
    (run / "config.json").unlink()
    with pytest.raises(UserError, match=r"neither config.json nor .hydra/config.yaml. 1 of 1"):
        load_sweep(tmp_path / "s", damaged="leave out")
    with pytest.raises(UserError, match="no sweep directory was given"):
        load_sweep([])
