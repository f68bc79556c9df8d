"""Commands that start at once: a process that has imported torch and the program forks for each.

In: what `subprocess.Popen` and `subprocess.run` take, for a command `[sys.executable, "-m", ...]`.
Out: what they give: a child of the test with the folder, the environment, the open files and the
process group that it was to have. The workers that it starts are forked likewise, each from a
process that has done nothing yet, and are its children.

A true start differs in what only an interpreter that starts looks at: `PYTHON...`, `LD_PRELOAD`,
limits and rights of a shell before it. A test of these, or of the start itself, starts truly.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36  # linux/prctl.h
WORKER = "warm worker"
"""The name that the kernel has for a worker, where a true one has `spawn_main` in its arguments."""

# Read when a process or a library starts, and never again.
AT_START = ("PYTHON", "LD_", "OMP_", "OPENBLAS_", "MKL_", "LC_", "LANG")
ABOVE = 200  # file numbers that no process here opens by itself


@dataclass(frozen=True)
class Start:
    """A process to be.

    Attributes:
        arguments: Of the interpreter: `-m` and a module, or `-c` and code, and what follows.
        folder: Its working directory.
        environment: All its variables.
        ignored: The signals that it ignores.
        blocked: The signals that it does not hear of.
        files: The numbers of its open files.
        group: Its process group; None for a session of its own.
        name: What the kernel calls it.
    """

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    ignored: list[int]
    blocked: list[int]
    files: list[int]
    group: int | None
    name: str


class Server:
    """The process that others are forked from, as the one that asks sees it.

    Args:
        requests: Leads to it.
    """

    def __init__(self, requests: socket.socket) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._requests = requests

    def start(self, wanted: Start, files: Sequence[int]) -> int:
        """Start a process with these open files; it becomes a child of this one.

        Returns:
            Its number.
        """
        content = os.memfd_create("start")
        os.write(content, json.dumps(asdict(wanted)).encode())
        socket.send_fds(self._requests, [b"."], [content, *files])
        os.close(content)
        return int(self._requests.recv(32))


def serve(requests: socket.socket) -> Start | None:
    """Fork for each request, and return in the forked process.

    Returns:
        What this process is to become; None in the serving process when nobody asks any more.
    """
    while True:
        _, files, _, _ = socket.recv_fds(requests, 1, 250)
        if not files:
            return None
        content = os.pread(files[0], os.fstat(files[0]).st_size, 0)
        told, tell = os.pipe()
        gone, alive = os.pipe()
        # The kernel gives the second process, as soon as the first has ended, to the one that asks.
        first = os.fork()
        if not first:
            second = os.fork()
            if second:
                os.write(tell, str(second).encode())
                os._exit(0)
            os.close(alive)
            os.read(gone, 1)  # its end
            wanted = Start(**json.loads(content))
            requests.detach()  # or its number would be closed, which may soon be another file's
            _keep_open(dict(zip(wanted.files, files[1:], strict=True)))
            if wanted.group is None:
                os.setsid()
            else:
                os.setpgid(0, wanted.group)
            return wanted
        os.waitpid(first, 0)
        for file in (tell, gone, alive, *files):
            os.close(file)
        requests.send(os.read(told, 32))
        os.close(told)


def _keep_open(wanted: dict[int, int]) -> None:
    """Give open files their numbers, and close all others."""
    for index, file in enumerate(wanted.values()):
        os.dup2(file, ABOVE + index)
    os.closerange(0, ABOVE)
    for index, number in enumerate(wanted):
        os.dup2(ABOVE + index, number)
    os.closerange(ABOVE, ABOVE + len(wanted))


def spawn_from(server: Server) -> Callable[[bytes, Sequence[Any], Sequence[int]], int]:
    """What `multiprocessing` calls to start a process: one that lets a server fork it."""
    spawn_truly = util.spawnv_passfds

    def spawn(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        if "--multiprocessing-fork" not in args:  # as of the tracker of resources
            return int(spawn_truly(path, args, passfds))
        code = list(args[args.index("-c") :])
        numbers = sorted({0, 1, 2, *map(int, passfds)})
        wanted = Start(
            code, str(Path.cwd()), dict(os.environ), *signals(), numbers, os.getpgid(0), WORKER
        )
        return server.start(wanted, numbers)

    return spawn


def start_workers_likewise() -> Start | None:
    """Let what this process spawns be forked from a copy of it, which has done nothing yet.

    Returns:
        None here; in a forked process what it is to become.
    """
    ours, its = socket.socketpair()
    if not os.fork():
        os.setpgid(0, 0)  # a signal to the group of the command is not for it
        for file in range(3):
            os.dup2(its.fileno(), file)
        os.closerange(its.fileno() + 1, ABOVE)
        ours.close()
        wanted = serve(its)
        if wanted is None:
            os._exit(0)
        return wanted
    its.close()
    util.spawnv_passfds = spawn_from(Server(ours))  # type: ignore[assignment]
    return None


def become(wanted: Start) -> None:
    """Make this process the wanted one, and run its code as the interpreter would."""
    prctl(PR_SET_NAME, wanted.name.encode())
    for number in wanted.ignored:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, wanted.blocked)
    os.chdir(wanted.folder)
    os.environ.clear()
    os.environ.update(wanted.environment)
    tempfile.tempdir = None  # it is looked for once, and kept
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        stream = open(  # noqa: SIM115, as the interpreter's own
            number, "w" if number else "r", 1 if number == 2 else -1, old.encoding, old.errors,
            closefd=False,
        )  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    kind, what, *rest = wanted.arguments
    sys.argv = [kind, *rest]
    if kind == "-m":
        sys.path[0] = str(Path.cwd())
        for name in (what, f"{what}.__main__"):  # or runpy would warn that it is there already
            if name in sys.modules and not hasattr(sys.modules[name], "__path__"):
                del sys.modules[name]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(what, main.__dict__)  # noqa: S102, the code of multiprocessing


def signals() -> tuple[list[int], list[int]]:
    """The signals that this process ignores and those that it blocks, as a child inherits them."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    ignored = [int(number) for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    return ignored, [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]


def prctl(option: int, value: int | bytes) -> None:
    """Ask the kernel for something that concerns this process."""
    assert ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0


# --- in the test ----------------------------------------------------------------------------------


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen`, whose process is forked from one that has imported everything."""

    def _execute_child(self, args: Any, *others: Any) -> None:
        """Start it. All else is as in `subprocess`: to wait for it, to read its pipes."""
        executable, *arguments = args
        assert executable == sys.executable
        _, _, _, passed, cwd, env = others[:6]
        pipes, session = others[9:15], others[-2]
        environment = dict(os.environ if env is None else env)
        for name in {*environment, *os.environ}:
            same = environment.get(name) == os.environ.get(name)
            assert same or not name.startswith(AT_START), f"{name} counts only at a true start"
        files = {number: number for number in passed}
        for number, end in enumerate((pipes[0], pipes[3], pipes[5])):
            files[number] = number if end == -1 else end
        wanted = Start(
            arguments, str(cwd or Path.cwd()), environment, *signals(), list(files),
            None if session else os.getpgid(0), "warm command",
        )  # fmt: skip
        self.pid = server().start(wanted, list(files.values()))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(
    arguments: Sequence[str], *, timeout: float = 120, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` for a command that starts at once; what it says is captured as text."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    with Popen(arguments, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


@functools.cache
def server() -> Server:
    """The server of this process, which it starts at the first request."""
    ours, its = socket.socketpair()
    command = [sys.executable, "-m", "tests.warm", str(its.fileno())]
    subprocess.Popen(
        command, pass_fds=[its.fileno()], cwd=ROOT, stdin=subprocess.DEVNULL, process_group=0
    )
    its.close()
    return Server(ours)


def main() -> None:
    """Import everything, and serve."""
    import lenet_bench.__main__
    import lenet_bench.commands.claims
    import lenet_bench.datasets.from_torchvision
    import lenet_bench.execution.worker_process
    import lenet_bench.execution.workers
    import lenet_bench.reporting.report
    import lenet_bench.reporting.terminal  # noqa: F401

    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"a process with {threads} threads cannot be forked safely"
    wanted = serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None and wanted.name != WORKER:
        wanted = start_workers_likewise() or wanted
    if wanted is not None:
        become(wanted)


if __name__ == "__main__":
    main()
