"""The short part of `make torture`: some kills and failures of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.__main__ import Totals, kill_at_operations
from tests.torture.commands import Server, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What runs the commands."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweeps lie; all of them are compared with the same undisturbed one."""
    return tmp_path_factory.mktemp("sweeps")


def _is_unharmed(totals: Totals, trials: int) -> None:
    assert totals.complaints == []
    assert totals.trials >= trials
    assert (totals.lost, totals.doubled, totals.differing) == (0, 0, 0)


def test_a_kill_at_an_operation_on_the_records_loses_nothing(server: Server, folder: Path) -> None:
    """The same command to the end: the same bytes as undisturbed."""
    _is_unharmed(kill_at_operations(server, folder, print, range(5, 10_000, 23)), 5)
