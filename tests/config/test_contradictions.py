"""Values that are each allowed but not together, and paths that lead nowhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from lenet_bench.config.parse import parse
from lenet_bench.model.lenet import BatchNorm, LeNet
from tests.config.composed import changed, composed, mistakes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer.momentum": 0, "optimizer.nesterov": True}, "optimizer.nesterov=true"),
        ({"schedule.warmup": 2000}, "schedule.warmup=2000: must be less than the budget"),
        ({"dataset.train_size": 127}, "batch_size=128: must not exceed dataset.train_size=127"),
        ({"batch_size": 1298}, "batch_size=1298: must not exceed the 1,297 training images of"),
        ({"dataset.train_size": 1298}, "dataset.train_size=1298: does not fit the 1,297 training"),
        ({"dataset.validation_size": 1370}, "batch_size=128: must not exceed the 127 training"),
        ({"dataset.validation_size": 1488}, "dataset.validation_size=1488: does not fit the 1,497"),
        ({"dataset.validation_size": 0.001}, "dataset.validation_size=0.001 (1 images): does not"),
        ({"device": "cuda", "reproducible": True}, "device=cuda: reproducible=true needs a proc"),
        ({"device": "mps", "reproducible": True}, "device=mps: reproducible=true needs a proc"),
        ({"schedule.warmup": 20, "epochs": 2}, "schedule.warmup=20: must be less than the budget"),
        (
            {"schedule.warmup": 4, "epochs": 2, "dataset.train_size": 300},
            "schedule.warmup=4: must be less than the budget, the 4 iterations of epochs=2",
        ),
    ],
)
def test_contradictions_are_named(changes: dict[str, object], says: str) -> None:
    """One beyond the bound is refused."""
    config = composed()
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        inner = {**config[section], name: value} if section else value
        config = {**config, section or name: inner}
    (problem,) = mistakes(config)
    assert problem.startswith(says)


@pytest.mark.parametrize(
    ("dataset", "batch_size", "images"),
    [
        ("cifar10", 45001, "45,000"), ("cifar100", 45001, "45,000"),
        ("mnist", 55001, "55,000"), ("fashion_mnist", 55001, "55,000"), ("fake", 901, "900"),
    ],
)  # fmt: skip
def test_the_number_of_training_images_is_known_beforehand(
    dataset: str, batch_size: int, images: str
) -> None:
    """As the data sets' authors give it, less the validation images."""
    (problem,) = mistakes(changed("batch_size", batch_size, f"dataset={dataset}"))
    assert f"must not exceed the {images} training images of dataset={dataset}" in problem
    parse(changed("batch_size", batch_size - 1, f"dataset={dataset}"))


def test_fake_images_need_two_of_a_class() -> None:
    """One for training, one for validation."""
    (problem,) = mistakes(composed("dataset=fake", "dataset.images=19", "batch_size=1"))
    assert problem == "dataset.images=19: must be at least 2 for each of 10 classes"


def test_near_contradictions_are_allowed() -> None:
    """At the bound itself."""
    config = composed()
    optimizer = {"name": "sgd", "momentum": 0.5, "nesterov": True}
    dataset = {**config["dataset"], "train_size": 128}
    schedule = {"name": "constant", "warmup": 1999}
    parse({**config, "optimizer": optimizer, "dataset": dataset, "schedule": schedule})
    parse({**config, "schedule": {**schedule, "warmup": 999}, "epochs": 100})  # of 10 batches
    for key, value in [
        ("batch_size", 1297), ("dataset.train_size", 1297), ("dataset.validation_size", 1369),
    ]:  # fmt: skip
        parse(changed(key, value))
    parse(
        composed("dataset=fake", "dataset.images=20", "dataset.validation_size=10", "batch_size=10")
    )


def test_rrelu_needs_lower_below_upper() -> None:
    """The activation's own contradiction."""
    config = composed("activation=rrelu")
    section = {"name": "rrelu", "lower": 0.5, "upper": 0.25}
    problem = mistakes({**config, "activation": section})[0]
    assert "lower" in problem
    assert "0.5" in problem
    assert "0.25" in problem


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("mine", "not of the form package.module:Class"),
        ("mine:", "not of the form"),
        (":Wave", "not of the form"),
        ("mine.Wave", "not of the form"),
        ("no_such_module_here:Wave", "no module 'no_such_module_here'"),
        ("torch.no_such_part:Wave", "no module 'torch.no_such_part'"),
        ("", "not of the form"),
        ("torch.nn:Nope", "torch.nn has no class 'Nope'"),
        ("torch.nn:Sigmiod", "torch.nn has no class 'Sigmiod'; did you mean Sigmoid?"),
        ("os:system", "os is Python's own"),
        ("math:sin", "math is Python's own"),
        ("yaml:safe_load", "safe_load is a function, not a torch.nn.Module class"),
        (5, "must be a valid string"),
    ],
)
def test_a_bad_path_of_an_own_activation_is_named(path: object, says: str) -> None:
    """Without importing anything."""
    (problem,) = mistakes(changed("activation.path", path, "activation=custom"))
    assert problem.startswith(f"activation.path={path}: ")
    assert says in problem
    assert problem.count("activation.path") == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\nclass Wave(torch.nn.Module): pass",
        "if True:\n    class Wave: pass",
        "from other import Wave",
        "import other as Wave",
        "Wave = 3",
        "Wave: object",
        "for Wave in (): pass",
        "@decorated\ndef Wave(): pass",
        "from torch import *",  # torch fills its own globals when it is run
        "globals()['Wave'] = 3",
        "def __getattr__(name): ...",
        "this is no Python",
    ],
)
def test_what_may_be_a_class_is_left_to_the_import(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the source must not be stricter than running it."""
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    parse(changed("activation.path", "mine:Wave", "activation=custom"))
    (tmp_path / "mine.py").write_text("def Wave(): pass", encoding="utf-8")
    os.utime(tmp_path / "mine.py", ns=(1, 1))  # a clock too coarse to tell the two apart
    (problem,) = mistakes(changed("activation.path", "mine:Wave", "activation=custom"))
    assert "Wave is a function" in problem


def test_an_own_module_may_be_called_as_one_of_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is found first."""
    (tmp_path / "wave.py").write_text("class Wave: pass", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    parse(changed("activation.path", "wave:Wave", "activation=custom"))


def test_an_image_folder_has_to_exist_and_hold_train(tmp_path: Path) -> None:
    """Both said before anything is loaded."""
    config = composed("dataset=image_folder", "dataset.root=.")
    missing = {**config["dataset"], "root": str(tmp_path / "photos")}
    assert "there is no such folder" in mistakes({**config, "dataset": missing})[0]
    empty = {**config["dataset"], "root": str(tmp_path)}
    assert "train/" in mistakes({**config, "dataset": empty})[0]
    (tmp_path / "train").mkdir()
    parse({**config, "dataset": empty})


@pytest.mark.parametrize("norm", ["none", "before", "after"])
@pytest.mark.parametrize("hidden", [[], [9]])
@pytest.mark.parametrize("images", [1, 2])
def test_a_lone_image_is_refused_exactly_where_torch_refuses_it(
    norm: BatchNorm, hidden: list[int], images: int
) -> None:
    """A neuron has one value then, and no variance; a feature map has several values."""
    model = {**composed()["model"], "batch_norm": norm, "hidden": hidden}
    config = {**composed(), "model": model}
    network = LeNet(
        in_channels=1, image_size=32, classes=10, hidden=tuple(hidden), batch_norm=norm,
        activation=lambda _: torch.nn.ReLU(),
    )  # fmt: skip
    try:
        network.train()(torch.zeros(images, 1, 32, 32))
    except ValueError:
        batch = mistakes({**config, "batch_size": images})
        assert batch == [
            f"batch_size=1: model.batch_norm={norm} needs at least 2 images in a batch"
        ]
        probe = mistakes({**config, "probe": {**config["probe"], "images": images}})
        assert probe == [f"probe.images=1: model.batch_norm={norm} needs at least 2 images"]
    else:
        parse({**config, "batch_size": images})
        parse({**config, "probe": {**config["probe"], "images": images}})
    parse({**config, "probe": {**config["probe"], "images": images, "every": 0}})
