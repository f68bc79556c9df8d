"""The short part of `make torture`: some kills and failures of each kind."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.__main__ import BASIC, Totals, kill_at_operations
from tests.torture.commands import SHORT, Server, missing

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
    _is_unharmed(kill_at_operations(server, folder, print, range(5, 10_000, 53)), 5)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_a_failing_disk_loses_nothing(server: Server, folder: Path, error: int) -> None:
    """From an operation on everything fails: one line, exit code 1, and the same bytes later."""
    _is_unharmed(kill_at_operations(server, folder, print, range(11, 10_000, 97), error), 3)


@pytest.mark.parametrize("error", [0, errno.ENOSPC], ids=["kill", "ENOSPC"])
def test_runs_that_hydra_launches_one_by_one_lose_nothing(
    server: Server, folder: Path, error: int
) -> None:
    numbers = (75, 225)
    _is_unharmed(kill_at_operations(server, folder, print, numbers, error, command=BASIC), 2)


def test_an_operation_that_fails_once_loses_nothing(server: Server, folder: Path) -> None:
    """A command that ends well all the same has written what an undisturbed one does."""
    numbers = range(30, 10_000, 83)
    _is_unharmed(kill_at_operations(server, folder, print, numbers, errno.EIO, once=True), 3)


def test_writes_that_take_a_part_of_their_bytes_lose_nothing(server: Server, folder: Path) -> None:
    """As the system is free to do, and network disks do."""
    _is_unharmed(kill_at_operations(server, folder, print, [1], SHORT), 2)
