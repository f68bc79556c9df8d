"""What is one setting and what is another, whatever they are called."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lenet_bench.analysis import load_sweep, pairwise, summarise, summarise_groups, varying_keys
from lenet_bench.analysis.labels import data_labels, path_labels, shortest_labels
from lenet_bench.analysis.lines import line_labels, lines_in_order, ordered, split_keys
from lenet_bench.analysis.summary import group_keys
from lenet_bench.claims.evidence import collect
from lenet_bench.reporting.report import write_report
from tests.conftest import Lenet
from tests.fabricate import descent, write_run

QUICK, SLOW = 5.0, 60.0


def write_pairs(sweep: Path, settings: list[dict[str, Any]], tanh: list[float]) -> pd.DataFrame:
    """The summary of ReLU and tanh in each of these settings, 3 seeds; tanh falls at these rates.

    ReLU falls at a rate of 20 everywhere; a smaller rate is a quicker fall of the loss.
    """
    for number, (setting, rate_of_tanh) in enumerate(zip(settings, tanh, strict=True)):
        for activation, rate in (("relu", 20.0), ("tanh", rate_of_tanh)):
            for seed in range(3):
                name = f"{activation}-{number}-{seed}"
                losses = descent(60, seed, rate=rate)
                write_run(sweep, name, losses, activation=activation, seed=seed, **setting)
    return summarise(load_sweep(sweep))


MISSING: dict[str, list[dict[str, Any]]] = {
    "init.bias": [
        {"init": {"name": "xavier_uniform", "gain": 1.0, "logits_gain": 1.0, "bias": bias}}
        for bias in (None, 0.5)
    ],
    "dataset.train_size": [
        {
            "dataset": {
                **{"name": "digits", "train_size": size, "validation_size": 200, "split_seed": 0},
            }
        }
        for size in (None, 200)
    ],
    "epochs": [{"epochs": epochs} for epochs in (None, 3)],
}


@pytest.mark.parametrize("key", MISSING)
def test_null_and_a_value_are_two_settings(key: str, tmp_path: Path) -> None:
    """Pooled, the verdict would rest on one of them, and have the wrong sign for the other."""
    sweep = tmp_path / "s"
    summary = write_pairs(sweep, MISSING[key], [QUICK, SLOW])
    assert varying_keys(load_sweep(sweep).runs) == ["activation", key]
    assert split_keys(summary) == (["activation"], [key])
    groups = summarise_groups(summary)
    assert len(groups) == 4
    assert groups["seeds"].to_list() == groups["runs"].to_list() == [3] * 4
    found = pairwise(summary)
    found = found[found["quantity"] == "mean_train_loss"]
    assert found["seeds"].to_list() == [3, 3]
    missing = found[key].isna()
    assert missing.sum() == 1
    (lower,), (higher,) = found.loc[missing, "difference"], found.loc[~missing, "difference"]
    assert lower < 0 < higher, "tanh - relu"
    report = write_report(sweep, sweep)
    html = (sweep / "report.html").read_text(encoding="utf-8")
    assert report.keys == ("activation", key)
    assert f"<dt>{key}</dt>" in html


def test_null_and_a_value_are_tuned_and_selected_apart(tmp_path: Path) -> None:
    settings = MISSING["init.bias"]
    write_pairs(tmp_path / "s", settings, [QUICK, SLOW])
    evidence = collect(load_sweep(tmp_path / "s"))
    assert len(evidence.select("tanh init.bias=null")) == 3
    assert len(evidence.select("tanh init.bias=0.5")) == 3
    low, high = (
        evidence.values(f"tanh init.bias={value}", "mean_train_loss").mean()
        for value in ("null", "0.5")
    )
    assert low < high


def test_a_single_activation_has_a_line_for_null(tmp_path: Path) -> None:
    for number, setting in enumerate(MISSING["init.bias"]):
        for seed in range(3):
            write_run(tmp_path, f"{number}-{seed}", descent(60, seed), seed=seed, **setting)
    summary = summarise(load_sweep(tmp_path))
    keys, panels = split_keys(summary)
    assert (keys, panels) == (["init.bias"], [])
    lines = lines_in_order(summary, keys)
    assert [(label, len(runs)) for label, runs in lines] == [
        *(("init.bias=0.5", 3), ("init.bias=null", 3)),
    ]


def test_what_only_other_choices_have_is_no_setting(tmp_path: Path) -> None:
    """ReLU has no slope, digits no root; a parameter that one choice alone has does not vary."""
    leaky = {"name": "leaky_relu", "negative_slope": 0.1}
    write_run(tmp_path, "a", descent(30, 0), activation=leaky)
    write_run(tmp_path, "b", descent(30, 0), activation="relu")
    write_run(tmp_path, "c", descent(30, 0), activation="relu", init={"name": "normal", "std": 1})
    folder = {"name": "image_folder", "root": "photos", "train_size": None}
    write_run(tmp_path, "d", descent(30, 0), activation="relu", dataset=folder, classes=3)
    assert group_keys(summarise(load_sweep(tmp_path))) == ["activation", "init", "dataset"]


@pytest.mark.integration
def test_a_real_sweep_keeps_null_apart(lenet: Lenet) -> None:
    done = lenet(
        "activation=relu,tanh", "init.bias=null,0.5", "seed=0,1,2", "iterations=20",
        "batch_size=16", "dataset.train_size=64", "probe.every=0", "device=cpu",
        "hydra.launcher.workers=1",
    )  # fmt: skip
    assert done.code == 0
    (sweep,) = done.sweeps
    found = pd.read_csv(sweep / "comparisons.csv")
    found = found[found["quantity"] == "mean_train_loss"]
    assert found["seeds"].to_list() == [3, 3]
    biases = found["init.bias"].to_list()
    assert sorted(map(math.isnan, biases)) == [False, True]
    runs = pd.read_csv(sweep / "summary.csv").set_index("seed")
    for number in range(len(found)):
        row, bias = found.iloc[number], biases[number]
        same = runs["init.bias"].isna() if math.isnan(bias) else runs["init.bias"] == bias
        losses = {
            name: runs.loc[same & (runs["activation"] == name), "mean_train_loss"]
            for name in ("relu", "tanh")
        }
        difference = (losses[str(row["a"])] - losses[str(row["b"])]).mean()
        assert row["difference"] == pytest.approx(difference)


# --- labels ---------------------------------------------------------------------------------------


def test_labels_grow_until_they_differ() -> None:
    assert path_labels(["mine:Act"]) == {"mine:Act": "Act"}
    assert path_labels(["mine:Act", "other:Act", "mine:Wave"]) == {
        **{"mine:Act": "mine.Act", "other:Act": "other.Act", "mine:Wave": "Wave"},
    }
    assert path_labels(["a.b.nets:Act", "a.c.nets:Act", "nets:Act"]) == {
        **{"a.b.nets:Act": "b.nets.Act", "a.c.nets:Act": "c.nets.Act", "nets:Act": "nets.Act"},
    }
    assert path_labels(["a.b:C", "a:b.C"]) == {"a.b:C": "a.b:C", "a:b.C": "a:b.C"}


def test_labels_of_different_values_never_agree() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        words = generator.choice(["a", "b"], size=(8, 4))
        paths = {".".join(word[: 1 + i % 4]) + ":A" for i, word in enumerate(words)}
        labels = path_labels(paths)
        assert len(set(labels.values())) == len(paths)
    assert shortest_labels({}) == {}


def test_two_classes_of_one_name_are_two_lines_and_are_compared(tmp_path: Path) -> None:
    for path, rate in (("mine:Act", QUICK), ("other:Act", SLOW)):
        for seed in range(3):
            activation = {"name": "custom", "path": path}
            name = f"{path.partition(':')[0]}-{seed}"
            write_run(
                tmp_path / "s", name, descent(60, seed, rate=rate), activation=activation, seed=seed
            )
    summary = summarise(load_sweep(tmp_path / "s"))
    lines = lines_in_order(summary, split_keys(summary)[0])
    assert [(label, len(runs)) for label, runs in lines] == [
        *(("custom mine.Act", 3), ("custom other.Act", 3)),
    ]
    (row,) = pairwise(summary).query("quantity == 'mean_train_loss'").to_dict("records")
    assert (row["a"], row["b"], row["seeds"]) == ("custom mine.Act", "custom other.Act", 3)
    assert row["difference"] < 0
    write_report(tmp_path / "s", tmp_path / "s")
    html = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert html.count("custom mine.Act") >= 2
    assert "custom other.Act" in html


def test_a_line_has_one_label_in_all_panels(tmp_path: Path) -> None:
    """Alone in its panel, `mine:Act` could be called `Act`."""
    frame = pd.DataFrame(
        {
            "activation": ["custom", "custom", "relu"],
            "activation.path": ["mine:Act", "other:Act", np.nan],
            "lr": [0.1, 0.2, 0.2],
        }
    )
    keys = ["activation", "activation.path"]
    panel = frame[frame["lr"] == 0.1]
    assert [label for label, _ in lines_in_order(panel, keys)] == ["custom Act"]
    assert [label for label, _ in lines_in_order(panel, keys, among=frame)] == ["custom mine.Act"]
    assert line_labels(frame, keys[1:]).to_list() == ["custom mine.Act", "custom other.Act", "relu"]


def test_values_in_order() -> None:
    assert ordered(pd.Series([0.5, np.nan, 0.1, 0.5])) == [0.1, 0.5, None]
    assert ordered(pd.Series(["b", None, "a", "b"])) == ["b", "a", None]
    assert ordered(pd.Series([2, 1])) == [1, 2]


def test_folders_of_images_are_called_by_the_end_of_their_path() -> None:
    def labels(*data: tuple[str, object]) -> list[str]:
        columns = ["dataset.fingerprint", "dataset.root"]
        found = data_labels(pd.DataFrame(list(data), columns=columns))
        return [found[fingerprint] for fingerprint, _ in data]

    assert labels(("f1", "photos/cats")) == ["cats"]
    assert labels(("f1", "a/photos"), ("f2", "b/photos")) == ["a/photos", "b/photos"]
    assert labels(("f1", "/x/a/photos"), ("f2", "/y/a/photos")) == ["x/a/photos", "y/a/photos"]
    assert labels(("f1", "photos"), ("f2", "/photos")) == ["photos", "/photos"]
    assert labels(("f1", "one"), ("f1", "two")) == ["one", "one"], "the same images in two places"
    assert labels(("f1", "one"), ("f2", "one")) == ["one f1", "one f2"], "they changed in between"
    assert labels(("f1", None), ("f2", "one")) == ["f1", "one"]
    assert data_labels(pd.DataFrame({"dataset": ["digits"]})) == {}


def test_two_folders_of_images_are_told_apart_by_their_names(tmp_path: Path) -> None:
    """In tables, figures and claims; the files keep the fingerprints, and `summary.csv` both."""
    sweep = tmp_path / "s"
    plateaus = {"sigmoid": 30.0, "tanh": 1.0, "relu": 1.0}
    for images, root in (("1a2b3c", "/data/cats/photos"), ("4d5e6f", "/data/dogs/photos")):
        dataset = {"name": "image_folder", "root": root, "train_size": None}
        for activation, plateau in plateaus.items():
            for seed in range(3):
                write_run(
                    *(sweep, f"{activation}-{images}-{seed}", descent(60, seed, plateau=plateau)),
                    activation=activation,
                    seed=seed,
                    dataset=dataset,
                    fingerprint=images,
                    preset="sigmoid_tanh_relu",
                )
    report = write_report(sweep, sweep)
    assert len(report.groups) == 6
    assert report.groups["seeds"].eq(3).all()
    names = {"cats/photos", "dogs/photos"}
    assert set(report.groups["dataset.fingerprint"]) == names
    assert set(report.comparisons["dataset.fingerprint"]) == names
    html = (sweep / "report.html").read_text(encoding="utf-8")
    tables = html[html.index("<h2>Comparison") : html.index("<h2>Runs")]
    assert names <= {name for name in names if name in tables}
    assert "1a2b3c" not in tables
    assert "4d5e6f" not in tables
    assert set(report.claims["dataset"]) == {f"image_folder ({name})" for name in names}
    figure = (sweep / "figures" / "training_loss.svg").read_text(encoding="utf-8")
    assert "1a2b3c" not in figure
    written = pd.read_csv(sweep / "comparisons.csv", dtype=str)
    assert set(written["dataset.fingerprint"]) == {"1a2b3c", "4d5e6f"}
    runs = pd.read_csv(sweep / "summary.csv", dtype=str)
    assert len(runs[["dataset.fingerprint", "dataset.root"]].drop_duplicates()) == 2


def test_the_same_images_in_two_places_are_one_data_set(tmp_path: Path) -> None:
    for seed, root in enumerate(("a/photos", "b/photos")):
        dataset = {"name": "image_folder", "root": root, "train_size": None}
        for activation in ("relu", "tanh"):
            name = f"{activation}-{seed}"
            write_run(
                tmp_path, name, descent(60, seed), activation=activation, seed=seed, dataset=dataset
            )
    summary = summarise(load_sweep(tmp_path))
    assert group_keys(summary) == ["activation"]
    assert pairwise(summary)["seeds"].max() == 2
