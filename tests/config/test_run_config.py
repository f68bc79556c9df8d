"""What a configuration is: frozen, picklable, told apart by its fingerprint."""

from __future__ import annotations

import pickle

import pytest

from lenet_bench.config.errors import nearest
from lenet_bench.config.parse import parse
from lenet_bench.config.schema import RunConfig
from tests.config.composed import changed, composed


def test_fingerprints_tell_configurations_apart() -> None:
    """Every changed key changes it; reading it again does not."""
    changes = [
        ("lr", 0.02), ("seed", 1), ("probe.tau", 0.2), ("model.hidden", [120]), ("epochs", 3),
        ("dataset.split_seed", 1), ("optimizer.momentum", 0.8), ("precision", "float64"),
    ]  # fmt: skip
    prints = [parse(composed()).fingerprint]
    prints += [parse(changed(key, value)).fingerprint for key, value in changes]
    assert len(set(prints)) == len(prints)
    assert parse(composed()).fingerprint == prints[0]
    assert all(len(item) == 8 and int(item, 16) >= 0 for item in prints)


def test_a_plan_is_no_part_of_a_run() -> None:
    """Neither of its fingerprint nor of what is said about it; older runs have no such key."""
    run, planned = parse(changed("plan", False)), parse(changed("plan", True))
    assert planned.plan
    assert planned.fingerprint == run.fingerprint
    assert "plan" not in planned.model_dump()
    older = changed("plan", False)
    del older["plan"]
    assert parse(older) == run


def test_an_integer_means_the_same_as_the_float() -> None:
    """`lr=1` and `lr=1.0` are one configuration, and so are momentum=0 and momentum=0.0."""
    for key in ("lr", "optimizer.momentum"):
        value = 0 if key != "lr" else 1
        one, other = parse(changed(key, value)), parse(changed(key, float(value)))
        assert one.fingerprint == other.fingerprint


def test_configurations_travel_between_processes() -> None:
    """Workers receive them pickled."""
    config = parse(composed("activation=leaky_relu"))
    copy: RunConfig = pickle.loads(pickle.dumps(config))
    assert copy.model_dump() == config.model_dump()
    assert copy.fingerprint == config.fingerprint


def test_configurations_cannot_be_changed() -> None:
    """Frozen at every level."""
    config = parse(composed())
    with pytest.raises(ValueError, match="frozen"):
        config.lr = 1.0
    with pytest.raises(ValueError, match="frozen"):
        config.optimizer.name = "adam"


def test_the_nearest_word_is_named_only_when_it_is_near() -> None:
    """`did you mean` is worth it only then."""
    assert nearest("rleu", ["relu", "tanh"]) == "did you mean relu? "
    assert nearest("zzz", ["relu", "tanh"]) == ""
