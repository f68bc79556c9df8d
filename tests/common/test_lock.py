"""One writer at a time: real processes that hold a lock, die, and leave it to their children."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from lenet_bench.common.errors import UserError
from lenet_bench.common.lock import LOCK_FILE, lock_folder
from tests.faults import fill, preload, read_only, small_disk, without_root_rights

HOLD = """
import sys, time
from pathlib import Path
from lenet_bench.common.lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""

TRY = """
import sys
from pathlib import Path
from lenet_bench.common.errors import UserError
from lenet_bench.common.lock import lock_folder
try:
    lock_folder(Path(sys.argv[1]), "hydra.sweep.dir=D").release()
except UserError as error:
    sys.exit(str(error))
"""

NO_LOCKS = """
#include <errno.h>
int flock(int descriptor, int operation) { errno = ENOLCK; return -1; }
"""

RACE = """
import os, sys, time
from pathlib import Path
from lenet_bench.common import lock
from lenet_bench.common.errors import UserError
folder, rounds, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
lock.PATIENCE = 5.0

def compete(start):
    while time.monotonic() < start:
        pass
    try:
        held = lock.lock_folder(folder)
    except UserError as error:
        return 1 if " on host " in str(error) else 2
    try:
        os.mkdir(folder / "inside")  # fails if somebody else is inside
    except FileExistsError:
        return 3
    time.sleep(0.1)
    os.rmdir(folder / "inside")
    held.release()
    return 0

for number in range(rounds):
    start, children = time.monotonic() + 0.02, []
    for _ in range(processes):
        child = os.fork()
        if not child:
            os._exit(compete(start))
        children.append(child)
    print(*sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Start]:
    """Start processes that hold the lock of `tmp_path`."""
    started = []

    def start(code: str = HOLD, environment: Mapping[str, str] = {}) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def attempt(
    folder: Path,
    environment: Mapping[str, str] = {},
    prefix: Sequence[str] = (),
    code: str = TRY,
) -> subprocess.CompletedProcess[str]:
    """Let another process try to take the lock."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", code, str(folder)],
        capture_output=True, text=True, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def test_the_second_is_refused_at_once_with_host_and_process(tmp_path: Path, hold: Start) -> None:
    first = hold()
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        lock_folder(tmp_path, "hydra.sweep.dir=D")
    assert time.monotonic() - start < 1
    assert str(caught.value).startswith(
        f"hydra.sweep.dir=D: process {first.pid} on host {socket.gethostname()} writes there; "
    )


def test_a_killed_process_leaves_no_lock(tmp_path: Path, hold: Start) -> None:
    first = hold()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / LOCK_FILE).exists()
    lock = lock_folder(tmp_path)
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    lock.release()  # harmless


def test_the_lock_lasts_until_the_last_heir_has_ended(
    tmp_path: Path, hold: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker may still be writing when its parent is gone."""
    first = hold(
        """
        import subprocess, sys, time
        from pathlib import Path
        from lenet_bench.common.lock import lock_folder
        lock = lock_folder(Path(sys.argv[1]))
        subprocess.Popen(["sleep", "1.5"], pass_fds=[lock.descriptor], stdout=subprocess.DEVNULL)
        print("locked", flush=True)
        time.sleep(60)
        """
    )
    killed = time.monotonic()
    first.send_signal(signal.SIGKILL)
    first.wait()
    lock = lock_folder(tmp_path, "hydra.sweep.dir=D")
    assert 1 < time.monotonic() - killed < 6
    assert capsys.readouterr().err == (
        "hydra.sweep.dir=D: waiting for the workers of a command that is gone\n"
    )
    lock.release()


def test_a_released_lock_stays_with_its_heirs(tmp_path: Path) -> None:
    """As when a command is ended at once while a worker still writes."""
    lock = lock_folder(tmp_path)
    with subprocess.Popen(["sleep", "60"], pass_fds=[lock.descriptor]) as heir:
        lock.release()
        assert (tmp_path / LOCK_FILE).exists()
        assert attempt(tmp_path).returncode == 1
        heir.kill()
    assert attempt(tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("boot", ["another machine's", "this machine's"])
def test_a_lock_that_another_host_did_not_give_up_is_mentioned(
    tmp_path: Path, hold: Start, boot: str
) -> None:
    """Its process has died, or locks of the file system do not reach other hosts."""
    first = hold()
    first.kill()
    first.wait()
    path = tmp_path / LOCK_FILE
    changed = {"host": "far-away", **({"boot": boot} if boot.startswith("another") else {})}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    done = attempt(tmp_path)
    assert done.returncode == 0
    said = (
        f"hydra.sweep.dir=D: process {first.pid} on host far-away wrote there and did not say that "
        "it has ended; stop this command if that one still runs\n"
    )
    # In another container of this machine the lock is known to be free.
    assert done.stderr == (said if boot.startswith("another") else "")


def test_a_lock_of_a_folder_that_was_replaced_is_left_alone(tmp_path: Path) -> None:
    """Who deletes the folder and makes it anew has a lock of its own there."""
    lock = lock_folder(tmp_path)
    (tmp_path / LOCK_FILE).unlink()
    newer = lock_folder(tmp_path)
    lock.release()
    assert (tmp_path / LOCK_FILE).exists()
    newer.release()
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.parametrize("locks", ["with locks", "without locks"])
def test_of_two_that_start_at_once_one_is_refused(
    tmp_path: Path, locks: str, without_locks: dict[str, str]
) -> None:
    """In the same millisecond, twenty times; never are two inside."""
    environment = without_locks if locks == "without locks" else {}
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path), "20", "2"],
        capture_output=True, text=True, env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    rounds = done.stdout.splitlines()
    assert len(rounds) == 20, done.stderr
    assert set(rounds) <= {"0 0", "0 1"}  # the first may have left before the second came
    assert rounds.count("0 1") > 10
    assert list(tmp_path.iterdir()) == []


# --- what lies in the way -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("directory", "Is a directory"),
        ("FIFO", "it is not a file"),
        ("link", "Too many levels of symbolic links"),
        ("dangling link", "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_lock_is_refused_and_left_alone(tmp_path: Path, kind: str, reason: str) -> None:
    """A link least of all is followed: the file that it leads to would be emptied."""
    folder, precious = tmp_path / "sweep", tmp_path / "precious"
    folder.mkdir()
    path = folder / LOCK_FILE
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to(precious)
    if kind == "link":
        precious.write_text("mine")
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        lock_folder(folder, "hydra.sweep.dir=D")
    assert time.monotonic() - start < 1
    assert str(caught.value) == (
        f"hydra.sweep.dir=D: {path} cannot be locked ({reason}); "
        "remove it if no command writes there"
    )
    assert os.path.lexists(path)
    assert precious.exists() == (kind == "link")
    assert kind != "link" or precious.read_text() == "mine"


def test_a_lock_that_may_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch(0o400)
    done = attempt(tmp_path, prefix=without_root_rights())
    assert done.stderr == (
        f"hydra.sweep.dir=D: {tmp_path / LOCK_FILE} cannot be locked (Permission denied); "
        "remove it if no command writes there\n"
    )


# --- file systems without locks -------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_locks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose file systems know no locks."""
    return preload(tmp_path_factory.mktemp("preload"), NO_LOCKS)


def test_without_locks_the_named_process_decides(
    tmp_path: Path, hold: Start, without_locks: dict[str, str]
) -> None:
    first = hold(environment=without_locks)
    second = attempt(tmp_path, without_locks)
    assert second.returncode == 1
    assert f"process {first.pid} on host {socket.gethostname()} writes there" in second.stderr
    first.send_signal(signal.SIGKILL)
    first.wait()
    third = attempt(tmp_path, without_locks)
    assert (third.returncode, third.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"started": "1"}, False),  # its number went to another process
        ({"boot": "before the power cut"}, False),
        ({"host": "far-away"}, True),  # nobody can look there
        ({}, True),
    ],
    ids=["another process", "another boot", "another host", "alive"],
)
def test_without_locks_a_stale_one_is_recognised(
    tmp_path: Path, without_locks: dict[str, str], changed: dict[str, str], refused: bool
) -> None:
    lock = lock_folder(tmp_path)
    path = tmp_path / LOCK_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    done = attempt(tmp_path, without_locks)
    assert done.returncode == int(refused)
    if "host" in changed:
        assert f"process {os.getpid()} on host far-away writes there" in done.stderr
        assert f"remove {path}" in done.stderr
    lock.release()


@pytest.mark.parametrize("content", ['{"pid": 1e999, "host": "", "boot": "", ', "[" * 60_000])
def test_without_locks_a_lock_that_names_nobody_is_refused(
    tmp_path: Path, without_locks: dict[str, str], content: str
) -> None:
    """Whatever somebody wrote there; after the time that its holder gets to write its name."""
    rest = '"started": "", "command": ""}' if content.endswith(", ") else ""
    (tmp_path / LOCK_FILE).write_text(content + rest)
    code = f"import lenet_bench.common.lock as lock; lock.PATIENCE = 0.2\n{TRY}"
    done = attempt(tmp_path, without_locks, code=code)
    assert done.returncode == 1
    path = tmp_path / LOCK_FILE
    assert done.stderr.startswith("hydra.sweep.dir=D: another process writes there; wait for it, ")
    assert done.stderr.splitlines()[-1].endswith(f"or remove {path} if none does")


# --- folders that cannot be written to ------------------------------------------------------------


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    with read_only(tmp_path):
        done = attempt(tmp_path, prefix=without_root_rights())
    assert done.stderr == "hydra.sweep.dir=D: cannot be written to (Permission denied)\n"
    assert done.returncode == 1


def test_a_full_disk_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "16k") as disk:
        fill(disk)
        done = attempt(disk)
        assert done.stderr == "hydra.sweep.dir=D: cannot be written to (No space left on device)\n"
        assert [path.name for path in disk.iterdir()] == ["rest"]
