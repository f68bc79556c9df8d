"""What nights bring: signals, dead and hanging workers, disks that are full, and modules that exit.

Every cause is real. A command that meets one ends with a code that is not 0, says it in one line
without a traceback, and the same command afterwards completes with the bytes of a sweep that
nothing has disturbed.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lenet_bench.common.lock import LOCK_FILE
from lenet_bench.records.run_directory import read_status
from tests import warm
from tests.conftest import last_of_each
from tests.execution.real import Sweep, alive
from tests.faults import preload, read_only, remount, small_disk, without_root_rights

TABLES = ("train.csv", "evaluation.csv", "layers.csv")
SHORT = (
    "activation=relu,sigmoid", "seed=0,1", "iterations=600", "probe.every=0", "batch_size=16",
    "device=cpu", "evaluate.every=300", "model.channels=[2,2]", "model.hidden=[8]",
    "hydra.launcher.workers=2", "hydra.sweep.dir=sweep",
)  # fmt: skip


def command(arguments: Sequence[str]) -> list[str]:
    """The command line; of two values of a key the last counts."""
    return [sys.executable, "-m", "lenet_bench", *last_of_each(arguments)]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command."""
    return warm.run(command(arguments), cwd=folder)


def run_truly(
    folder: Path, *arguments: str, before: str = "true", prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """The command, from a shell that has done something `before`, such as setting a limit."""
    return subprocess.run(
        [*prefix, "sh", "-c", f'{before}; exec "$@"', "sh", *command(arguments)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def contents(sweep: Path) -> dict[str, bytes]:
    """What the tables of all runs hold."""
    return {
        f"{path.parent.name}/{name}": (path.parent / name).read_bytes()
        for path in sorted(sweep.glob("*/status.json"))
        for name in TABLES
    }


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of `SHORT`, trained without any fault, by processes that are started truly."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_truly(folder, *SHORT)
    assert done.returncode == 0, done.stderr
    return contents(folder / "sweep")


@pytest.fixture
def goes_on(undisturbed: dict[str, bytes]) -> Callable[[Path], None]:
    """`goes_on(folder)`: the same command completes, as if nothing had happened."""

    def complete(folder: Path) -> None:
        done = run(folder, *SHORT)
        assert done.returncode == 0, done.stderr
        assert contents(folder / "sweep") == undisturbed

    return complete


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_signal_saves_and_ends_with_its_code(
    start: Callable[..., Sweep], goes_on: Callable[[Path], None], tmp_path: Path
) -> None:
    """One after the other: what the first one stopped is gone on with and stopped again."""
    rows = 0
    for number in (signal.SIGHUP, signal.SIGTERM):
        sweep = start(*SHORT)
        sweep.wait_until_training(4, rows)
        sweep.process.send_signal(number)
        assert sweep.process.wait(60) == 128 + number, sweep.text
        assert "Traceback" not in sweep.text
        statuses = {read_status(path)["status"] for path in sweep.runs}
        assert statuses <= {"interrupted", "finished"}
        assert "interrupted" in statuses
        rows = max(sweep.rows(path) for path in sweep.runs)
    goes_on(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_composing_is_no_traceback(
    start: Callable[..., Sweep], number: signal.Signals
) -> None:
    sweep = start(
        "seed=range(2000)", "iterations=20", "hydra.sweep.dir=sweep", truly=number == signal.SIGINT
    )
    sweep.wait_until(lambda: "composing" in sweep.text)
    sweep.process.send_signal(number)
    assert sweep.process.wait(60) == 128 + number, sweep.text
    assert "Traceback" not in sweep.text
    assert not sweep.folder.exists()  # no run has begun


def test_a_hangup_that_nohup_ignores_stays_ignored(start: Callable[..., Sweep]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the command inherits it
    try:
        sweep = start(*SHORT, truly=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    sweep.wait_until_training(4)
    os.killpg(sweep.process.pid, signal.SIGHUP)
    assert sweep.process.wait(60) == 0, sweep.text


@pytest.mark.slow
def test_a_second_signal_ends_a_command_without_workers_at_once(
    start: Callable[..., Sweep],
) -> None:
    """It is stopped in its first moment of saving, by a process that is halted meanwhile."""
    slow = ("model.channels=[6,16]", "model.hidden=[120,84]", "hydra.launcher.workers=1")
    sweep = start(*SHORT, *slow, "iterations=1000000", truly=True)
    sweep.wait_until(lambda: bool(sweep.runs) and bool(sweep.rows(sweep.runs[0])))
    sweep.process.send_signal(signal.SIGSTOP)
    sweep.process.send_signal(signal.SIGTERM)
    sweep.process.send_signal(signal.SIGCONT)
    time.sleep(0.01)
    sweep.process.send_signal(signal.SIGTERM)
    assert sweep.process.wait(60) == 143, sweep.text
    assert "Traceback" not in sweep.text
    # One signal alone would have left both.
    assert {read_status(path)["status"] for path in sweep.runs} == {"running"}
    assert not (sweep.folder / "report.html").exists()


@pytest.mark.slow
def test_many_signals_leave_no_worker_without_a_lock(start: Callable[..., Sweep]) -> None:
    """While a worker lives, no other command may begin to write."""
    sweep = start(*SHORT, "iterations=100000")
    sweep.wait_until_training(4)
    workers = sweep.workers()
    assert len(workers) == 2
    while sweep.process.poll() is None:
        sweep.process.send_signal(signal.SIGINT)
        locked = (sweep.folder / LOCK_FILE).exists()
        assert locked or not any(alive(worker) for worker in workers)
        time.sleep(0.002)
    assert not any(alive(worker) for worker in workers)
    assert sweep.process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in sweep.text


# --- processes that die ---------------------------------------------------------------------------


def shared() -> set[Path]:
    """What torch and multiprocessing leave for other processes by a name."""
    folders = [Path(tempfile.gettempdir()), Path("/dev/shm")]  # noqa: S108
    patterns = ("*torch*", "pymp-*")
    return {path for folder in folders for pattern in patterns for path in folder.glob(pattern)}


@pytest.mark.slow
def test_a_killed_command_leaves_nothing_behind_and_goes_on(
    start: Callable[..., Sweep], goes_on: Callable[[Path], None], tmp_path: Path
) -> None:
    """No worker, no shared memory, no temporary file; the lock is free at once."""
    before = shared()
    sweep = start(*SHORT, truly=True)
    sweep.wait_until_training(4)
    workers = sweep.workers()
    assert len(workers) == 2
    sweep.process.kill()
    sweep.process.wait()
    time.sleep(0.2)
    assert not any(alive(worker) for worker in workers)
    assert shared() <= before
    assert (sweep.folder / LOCK_FILE).exists()
    goes_on(tmp_path)
    assert not (sweep.folder / LOCK_FILE).exists()


@pytest.mark.slow
def test_a_second_command_is_refused_and_changes_nothing(
    start: Callable[..., Sweep], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    sweep = start(*SHORT)
    sweep.wait_until_training(4)
    os.killpg(sweep.process.pid, signal.SIGSTOP)  # or it might have ended when the other begins
    second = run(tmp_path, *SHORT)
    os.killpg(sweep.process.pid, signal.SIGCONT)
    assert second.returncode == 1
    assert f"process {sweep.process.pid} on host" in second.stderr
    assert sweep.process.wait(60) == 0, sweep.text
    assert contents(sweep.folder) == undisturbed


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_its_runs_fail(
    start: Callable[..., Sweep], goes_on: Callable[[Path], None], tmp_path: Path
) -> None:
    sweep = start(*SHORT, "hydra.launcher.timeout=10")
    sweep.wait_until_training(4)
    os.kill(sweep.workers()[0], signal.SIGSTOP)
    assert sweep.process.wait(60) == 1, sweep.text
    assert sweep.text.count("its worker process was killed after 10 seconds without a word") == 1
    assert "Traceback" not in sweep.text
    assert sorted(read_status(path)["status"] for path in sweep.runs) == [
        "failed", "failed", "finished", "finished",
    ]  # fmt: skip
    goes_on(tmp_path)


@pytest.mark.slow
def test_a_worker_that_alone_is_sent_a_signal_costs_no_run(
    start: Callable[..., Sweep], undisturbed: dict[str, bytes]
) -> None:
    sweep = start(*SHORT)
    sweep.wait_until_training(4)
    os.kill(sweep.workers()[0], signal.SIGTERM)
    assert sweep.process.wait(60) == 0, sweep.text
    assert sweep.text.count("was stopped by a signal; it is tried again.") == 1
    assert contents(sweep.folder) == undisturbed


# --- disks ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_no_retry(
    goes_on: Callable[[Path], None], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "sweep", "300k") as disk:
        done = run(tmp_path, *SHORT)
        assert done.returncode == 1, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert "died" not in done.stderr
        assert "tried again" not in done.stderr
        remount(disk, "size=100m")
        goes_on(tmp_path)


FAILING_WRITES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fails where the file lies in a sweep, once the switch is there. */
ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    char link[64], path[4096];
    ssize_t length;
    if (!real) real = dlsym(RTLD_NEXT, "write");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        if (strstr(path, "/sweep/") && access(getenv("FAIL_IF"), F_OK) == 0) {
            errno = atoi(getenv("FAIL_WITH"));
            return -1;
        }
    }
    return real(file, bytes, count);
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS], ids=["EIO", "EROFS"])
def test_a_disk_that_breaks_in_mid_sweep(
    goes_on: Callable[[Path], None], tmp_path: Path, number: int
) -> None:
    """Reads go on; every write fails, as on a disk that has become read-only after errors."""
    switch = tmp_path / "broken"
    environment = {
        **preload(tmp_path, FAILING_WRITES), "FAIL_IF": str(switch), "FAIL_WITH": str(number),
    }  # fmt: skip
    sweep = Sweep(tmp_path, *SHORT, environment=environment, truly=True)
    try:
        sweep.wait_until_training(4)
        switch.touch()
        assert sweep.process.wait(60) == 1, sweep.text
    finally:
        sweep.process.kill()
        sweep.process.wait()
    assert "Traceback" not in sweep.text
    assert "tried again" not in sweep.text
    assert os.strerror(number) in sweep.text
    goes_on(tmp_path)


@pytest.mark.slow
def test_a_directory_that_is_deleted_in_mid_sweep(
    start: Callable[..., Sweep], goes_on: Callable[[Path], None], tmp_path: Path
) -> None:
    sweep = start(*SHORT)
    sweep.wait_until_training(4)
    sweep.folder.rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    assert sweep.process.wait(60) == 1, sweep.text
    assert "Traceback" not in sweep.text
    assert "No such file or directory" in sweep.text
    goes_on(tmp_path)


def test_a_directory_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    with read_only(tmp_path / "sweep"):
        done = run_truly(tmp_path, *SHORT, prefix=without_root_rights())
    assert done.returncode == 1
    assert done.stderr == (
        "lenet-bench: hydra.sweep.dir=sweep: cannot be written to (Permission denied)\n"
    )


@pytest.mark.slow
def test_few_open_files_are_enough(tmp_path: Path) -> None:
    """Sixteen runs in one stack, with 40 open files at most."""
    done = run_truly(
        tmp_path, "seed=range(16)", "iterations=20", "probe.every=0", "batch_size=16",
        "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", "device=cpu", before="ulimit -n 40",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    statuses = [read_status(path)["status"] for path in (tmp_path / "sweep").glob("*-*")]
    assert statuses == ["finished"] * 16


@pytest.mark.slow
def test_memory_that_runs_out_fails_the_runs_of_its_worker(
    start: Callable[..., Sweep], goes_on: Callable[[Path], None], tmp_path: Path
) -> None:
    """One worker may take no more memory than it has; the other goes on."""
    sweep = start(*SHORT)
    sweep.wait_until_training(4)
    resource.prlimit(sweep.workers()[0], resource.RLIMIT_AS, (1, 1))
    assert sweep.process.wait(60) == 1, sweep.text
    assert "Traceback" not in sweep.text
    assert sweep.text.count("failed: there is not enough memory (") == 1
    assert sweep.text.splitlines()[-1] == "To go on: lenet-bench resume=sweep"
    assert sorted(read_status(path)["status"] for path in sweep.runs) == [
        "failed", "failed", "finished", "finished",
    ]  # fmt: skip
    goes_on(tmp_path)


# --- modules of the user --------------------------------------------------------------------------

MODULES = """
import os, signal, sys, time, torch

class Exits(torch.nn.Module):
    def forward(self, x):
        if self.training and x.dim() == 4 and len(x) > 2:  # not yet when it is tried out
            sys.exit(0)
        return x.relu()

class Ends(Exits):
    def forward(self, x):
        if self.training and x.dim() == 4 and len(x) > 2:
            os._exit(3)
        return x.relu()

class Changes(torch.nn.Module):
    def forward(self, x):
        if x.dim() == 4 and len(x) > 2:  # not yet when it is tried out
            torch.set_num_threads(2)
            torch.set_default_dtype(torch.float64)
        return x.relu()

class Hangs(torch.nn.Module):
    def forward(self, x):
        if self.training and x.dim() == 4 and len(x) > 2:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
        return x.relu()

class HangsAtOnce(torch.nn.Module):
    def forward(self, x):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("hangs", "w").close()
        time.sleep(1000)

class EndsAtOnce(torch.nn.Module):
    def forward(self, x):
        os._exit(5)
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder with users' own modules."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(MODULES), encoding="utf-8")
    return tmp_path


def custom(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Train a module of the user's beside ReLU."""
    return run(
        folder, "activation=custom,relu", f"activation.path=mine:{name}", "iterations=40",
        "probe.every=0", "batch_size=16", "evaluate.every=0", "hydra.launcher.workers=1",
        "hydra.sweep.dir=sweep", "device=cpu",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [("Exits", "SystemExit: 0"), ("Ends", "exit code 3"), ("EndsAtOnce", "exit code 5")],
)
def test_a_module_that_ends_the_process_is_a_failure(modules: Path, name: str, words: str) -> None:
    done = custom(modules, name)
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_module_that_changes_settings_changes_only_its_own_stack(modules: Path) -> None:
    """ReLU trains after it, with the bytes of a sweep without it."""
    done = custom(modules, "Changes")
    assert done.returncode == 0, done.stderr
    (modules / "sweep").rename(modules / "beside")
    alone = run(
        modules, "activation=relu", "iterations=40", "probe.every=0", "batch_size=16",
        "evaluate.every=0", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", "device=cpu",
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    beside, expected = contents(modules / "beside"), contents(modules / "sweep")
    assert {name: beside[name] for name in expected} == expected


@pytest.mark.slow
def test_a_module_that_hangs_and_ignores_signals_is_killed(
    modules: Path, start: Callable[..., Sweep]
) -> None:
    """While it trains by `hydra.launcher.timeout`; while it is tried out by a signal."""
    done = run(
        modules, "activation=custom", "activation.path=mine:Hangs", "iterations=40",
        "probe.every=0", "batch_size=16", "evaluate.every=0", "hydra.launcher.timeout=2",
        "hydra.sweep.dir=hanging", "device=cpu",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "its worker process was killed after 2 seconds without a word" in done.stderr
    assert "Traceback" not in done.stderr
    sweep = start(
        "activation=custom", "activation.path=mine:HangsAtOnce", "iterations=40",
        "hydra.sweep.dir=sweep", "device=cpu",
    )  # fmt: skip
    sweep.wait_until((modules / "hangs").exists)
    (process,) = sweep.workers()
    sweep.process.send_signal(signal.SIGTERM)
    assert sweep.process.wait(20) == 143
    assert not alive(process)
    assert "Traceback" not in sweep.text
