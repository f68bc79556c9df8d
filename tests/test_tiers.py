"""Every test has exactly one tier, so that `-m unit`, `-m integration` and `-m slow` give all."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.conftest import TIERS, tier_of

pytestmark = pytest.mark.unit


def test_every_collected_test_has_exactly_one_tier(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        tiers = [mark.name for mark in item.iter_markers() if mark.name in TIERS]
        assert len(tiers) == 1, f"{item.nodeid}: {tiers}"


def test_each_tier_is_declared_with_its_meaning() -> None:
    root = Path(__file__).resolve().parent.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    declared = settings["tool"]["pytest"]["ini_options"]["markers"]
    assert [line.partition(": ")[0] for line in declared] == list(TIERS)
    assert all(line.partition(": ")[2] for line in declared)


@pytest.mark.parametrize(
    ("folder", "fixtures", "marks", "tier"),
    [
        ("model", (), (), "unit"),
        ("hydra_app", (), (), "integration"),
        ("reporting", ("lenet", "tmp_path"), (), "integration"),
        ("model", (), ("parametrize", "slow"), "slow"),
        ("tests", (), ("unit",), "unit"),
    ],
)
def test_a_mark_wins_over_the_folder(
    folder: str, fixtures: tuple[str, ...], marks: tuple[str, ...], tier: str
) -> None:
    assert tier_of(folder, fixtures, marks) == tier


def test_two_tiers_are_refused() -> None:
    with pytest.raises(pytest.UsageError, match="integration and slow"):
        tier_of("model", (), ("slow", "integration"))
