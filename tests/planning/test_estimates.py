"""What a run will cost: against the model itself, and against what the data sets hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lenet_bench.common.errors import DatasetError
from lenet_bench.datasets.shape import ImageShape
from lenet_bench.planning import estimates
from lenet_bench.planning.estimates import (
    DatasetFacts,
    dataset_facts,
    estimate,
    machine_memory,
    memory_problem,
    worker_memory,
)
from lenet_bench.training import build
from tests.conftest import Configure, load

SHAPES = (
    (),
    ("model=lenet_caffe",),
    ("model.width=1.5", "model.hidden=[30,20,10]"),
    ("dataset=fake", "dataset.size=40", "dataset.classes=7", "model.hidden=[]"),
)
QUIET = ("probe.every=0", "evaluate.every=0", "iterations=3", "batch_size=4")


@pytest.mark.parametrize("overrides", SHAPES)
def test_operations_are_those_of_the_model(
    configure: Configure, overrides: tuple[str, ...]
) -> None:
    """Counted by torch, forward; training takes three times that."""
    config = configure(*QUIET, *overrides)
    data = dataset_facts(config.dataset)
    model = build.plain_model(config, ImageShape(data.channels, data.size, data.classes)).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(4, data.channels, data.size, data.size))
    found = estimate(config, data)
    assert found.operations == 3 * 3 * counter.get_total_flops()
    parameters = sum(each.numel() for each in model.parameters())
    assert estimates._count(config, data)[0] == parameters


def test_memory_grows_with_what_takes_it(configure: Configure) -> None:
    """Batch, precision, width and the optimizer's state."""

    def size(*overrides: str) -> int:
        config = configure(*overrides)
        return estimate(config, dataset_facts(config.dataset)).bytes

    plain = size("optimizer.momentum=0")
    parameters = 61_706  # of LeNet-5 on grey images
    assert size() - plain == 4 * parameters
    assert size("optimizer=adam") - plain == 8 * parameters
    assert size("precision=float64") == 2 * size()
    assert size("precision=bfloat16") < size()
    assert size("batch_size=256") > 1.5 * size()
    assert size("model.width=2") > 1.5 * size()


def test_recording_counts(configure: Configure) -> None:
    """Probes and evaluations are passes too; epochs become iterations."""

    def cost(*overrides: str) -> estimates.Estimate:
        config = configure(*overrides)
        return estimate(config, dataset_facts(config.dataset))

    bare = cost("probe.every=0", "evaluate.every=0")
    assert cost("evaluate.every=0").operations > bare.operations
    assert cost("probe.every=0").operations > bare.operations
    assert cost("probe.every=10").operations > cost("probe.every=50").operations
    assert cost("epochs=3").iterations == 3 * (1297 // 128)


@pytest.mark.parametrize(
    "overrides",
    [
        ("dataset=digits",),
        ("dataset=digits", "dataset.train_size=500", "dataset.validation_size=0.2"),
        ("dataset=fake", "dataset.images=200", "dataset.channels=1", "dataset.size=20"),
    ],
)
def test_data_sets_are_known_without_reading_them(
    configure: Configure, overrides: tuple[str, ...]
) -> None:
    """Shape and numbers of images."""
    config = configure(*overrides)
    data = load(config)
    found = dataset_facts(config.dataset)
    splits = [split for split in (data.train, data.validation, data.test) if split is not None]
    count, channels, size, _ = data.train.images.shape
    assert found.total == sum(map(len, splits))
    assert (found.train, found.channels, found.size) == (count, channels, size)
    assert found.classes == len(data.classes)


def test_an_image_folder_is_counted(configure: Configure, tmp_path: Path) -> None:
    """By its files, none of which is opened."""
    names = [f"train/{name}/{number}.png" for name in "abc" for number in range(4)]
    for name in [*names, "test/a/1.png", "test/b/1.png", "test/c/1.png", "train/a/no.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    given = ("dataset=image_folder", f"dataset.root={tmp_path}", "dataset.validation_size=3")
    found = dataset_facts(configure(*given, "batch_size=1").dataset)
    assert found == DatasetFacts(channels=3, size=32, classes=3, train=9, total=15)
    shutil.rmtree(tmp_path / "train" / "b")
    with pytest.raises(DatasetError, match="test"):
        dataset_facts(configure(*given, "batch_size=1").dataset)


def test_workers_share_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less the data and what a process takes anyway; unknown where the system does not say."""
    gibibyte = 2**30
    answers = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10 * gibibyte // 4096}
    monkeypatch.setattr("os.sysconf", answers.__getitem__, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda _: "max\n")
    data = [DatasetFacts(1, 1024, 10, 0, 1024)]  # one gibibyte
    assert worker_memory(1, data) == pytest.approx(5 * gibibyte - estimates.PROCESS_BYTES, abs=1)
    assert worker_memory(2, data) == pytest.approx(2.5 * gibibyte - estimates.PROCESS_BYTES, abs=1)
    assert worker_memory(1000, data) == 0
    monkeypatch.setattr(Path, "read_text", lambda _: f"{5 * gibibyte}\n")  # a container
    assert worker_memory(1, data) == pytest.approx(2 * gibibyte - estimates.PROCESS_BYTES, abs=1)
    monkeypatch.setattr("os.sysconf", int)  # as where a system does not know: a ValueError
    assert worker_memory(1, data) is None


def test_a_network_is_refused_from_where_the_memory_ends(configure: Configure) -> None:
    """Weights, gradients, momentum and what is added to them, of a layer behind LeNet's 400."""
    memory = machine_memory()
    if memory is None:
        pytest.skip("this machine does not tell how much memory it has")
    images, convolutions = 1797 * 32 * 32, 6 * 26 + 16 * 151
    most = ((memory - images) // 16 - convolutions - 10) // 411
    for units, fits in ((most, True), (most + 1, False)):
        problem = memory_problem(configure(f"model.hidden=[{units}]", device="auto"))
        assert (problem is None) == fits
    assert problem is not None
    assert problem.startswith(f"model.channels=[6,16] model.hidden=[{most + 1}]: a run needs about")
    assert memory_problem(configure(f"model.hidden=[{most}]")) is not None  # its values besides
