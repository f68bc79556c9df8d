"""One writer in a folder at a time: a lock that names its holder and ends with its processes.

In: the folder of a sweep. Out: a `FolderLock`, or a `UserError` that names the host and the process
that write there.

The lock is the file `.lock` in the folder. The system holds it (`flock`) for as long as a process
has it open, so the lock of a process that was killed is free at once, and the workers of a command
keep it for as long as one of them may still write. On a file system without such locks the content
of the file decides: its host and process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lenet_bench.common.errors import UserError
from lenet_bench.common.regular_files import read_regular
from lenet_bench.common.text import printable

LOCK_FILE = ".lock"
PATIENCE = 10.0  # seconds that the workers of a killed command get to end
LARGEST = 1 << 16  # bytes of a lock file
BETWEEN_LOOKS = 0.05  # seconds
OPENING = (
    os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
)  # not waiting for a FIFO's writer
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass
class FolderLock:
    """A lock that this process holds.

    Attributes:
        path: The lock file.
        descriptor: The open file. Who inherits it keeps the lock until it ends.
    """

    path: Path
    descriptor: int

    def release(self) -> None:
        """Give the lock up, and remove its file unless an heir still holds it.

        A second call does nothing.
        """
        if self.descriptor < 0:
            return
        is_own = _is_open_as(self.descriptor, self.path)
        os.close(self.descriptor)
        self.descriptor = -1
        if not is_own:
            return
        # Heirs share that opening of the file, whose lock is theirs too; a new one tells.
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path, OPENING)
            try:
                if _flock(descriptor) is not False and _is_open_as(descriptor, self.path):
                    self.path.unlink()
            finally:
                os.close(descriptor)


@dataclass(frozen=True)
class _Holder:
    """The process that holds a lock, as the lock file names it."""

    host: str
    boot: str
    pid: int
    started: str
    command: str

    @property
    def is_elsewhere(self) -> bool:
        """Whether it runs on another machine, where nobody here can look for it."""
        return self.host != socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether a process of this machine is the one that took the lock."""
        return self.boot == _boot() and self.started == _start_time(self.pid)


def lock_folder(folder: Path, asked_for: str | None = None) -> FolderLock:
    """Become the only command that writes in a folder, until the lock is released.

    Args:
        folder: A folder that exists.
        asked_for: How the user named it, such as `hydra.sweep.dir=DIR`, for messages.

    Raises:
        UserError: Another process writes there, or nobody can.
    """
    path, name = folder / LOCK_FILE, asked_for or str(folder)
    end, said = time.monotonic() + PATIENCE, False
    while True:
        try:
            lock, holder = _try_to_lock(path)
        except OSError as error:
            raise UserError(_not_writable(name, path, error)) from None
        if lock is not None:
            if holder is not None and holder.is_elsewhere and holder.boot != _boot():
                print(_warning(name, holder), file=sys.stderr)
            return lock
        # A command that was killed leaves the lock to its workers, which end at once; one that has
        # just started has not written its name yet.
        gone = holder is None or not (holder.is_elsewhere or holder.is_alive)
        if not gone or time.monotonic() >= end:
            raise UserError(_refusal(name, path, holder))
        if not said and time.monotonic() >= end - PATIENCE + 1:
            said = True
            print(
                f"{printable(name)}: waiting for the workers of a command that is gone",
                file=sys.stderr,
            )
        time.sleep(BETWEEN_LOOKS)


def _not_writable(name: str, path: Path, error: OSError) -> str:
    if os.path.lexists(path):  # whoever left it there, it is in the way
        why = f"cannot be locked ({error.strerror})"
        return f"{name}: {path} {why}; remove it if no command writes there"
    return f"{name}: cannot be written to ({error.strerror})"


def _refusal(name: str, path: Path, holder: _Holder | None) -> str:
    if holder is None:
        return f"{name}: another process writes there; wait for it, or remove {path} if none does"
    host = "".join(letter if letter.isprintable() else "?" for letter in holder.host)
    more = f", or remove {path} if it does not run any more" if holder.is_elsewhere else ""
    return (
        f"{name}: process {holder.pid} on host {host} writes there; two commands would spoil each "
        f"other's files. Wait until it ends, stop it{more}, or choose another folder"
    )


def _warning(name: str, holder: _Holder) -> str:
    """What to say where the lock is free, although its holder on another machine never gave it up.

    That one has died; or the file system keeps locks of each machine apart, as some are mounted.
    """
    return (
        f"{name}: process {holder.pid} on host {printable(holder.host)} wrote there and did not "
        "say that it has ended; stop this command if that one still runs"
    )


def _try_to_lock(path: Path) -> tuple[FolderLock | None, _Holder | None]:
    """Take a lock if it is free; and say who holds it, or held it last, as far as that is known.

    A link is not followed: where it leads, somebody's file would be emptied.
    """
    try:
        descriptor, is_new = os.open(path, OPENING | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        try:
            descriptor, is_new = os.open(path, OPENING), False
        except FileNotFoundError:  # released meanwhile
            return None, None
    held: bool | None = None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        held = _flock(descriptor)
        if held is None:  # no locks here
            held = is_new
            if not is_new and (stale := _read(path)) is not None:
                _remove_if_stale(path, stale)
        if not held or not _is_open_as(descriptor, path):
            return None, _read(path)
        last = None if is_new else _read(path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(asdict(_this_process())) + "\n").encode(), 0)
        lock = FolderLock(path, descriptor)
        descriptor = -1
        return lock, last
    except OSError:
        if held:  # the disk is full: nothing is left behind
            path.unlink(missing_ok=True)
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _flock(descriptor: int) -> bool | None:
    """Ask the system for the lock: granted, held by another, or None where it knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS_HERE:
            return None
        raise
    return True


def _remove_if_stale(path: Path, stale: _Holder) -> None:
    """Remove a lock file whose process is gone, unless another command was faster."""
    if stale.is_elsewhere or stale.is_alive:
        return
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if _read(aside) != stale:  # a new one, taken meanwhile: put it back
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(aside)
        aside.unlink()


def _is_open_as(descriptor: int, path: Path) -> bool:
    """Whether the path still leads to the open file; the holder removes it when it is done."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _read(path: Path) -> _Holder | None:
    try:
        content = json.loads(read_regular(path, LARGEST))
        texts = {key: str(content[key]) for key in ("host", "boot", "started", "command")}
        return _Holder(pid=int(content["pid"]), **texts)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _this_process() -> _Holder:
    return _Holder(
        host=socket.gethostname(),
        boot=_boot(),
        pid=os.getpid(),
        started=_start_time(os.getpid()),
        command=" ".join(sys.argv)[:1000],
    )


def _boot() -> str:
    """What differs after the machine was started again; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """When a process started, which tells it from a later one of its number; `gone` without it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return "gone" if state == "Z" else fields[18]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except PermissionError:
        return ""
    except (OSError, OverflowError):
        return "gone"
    return ""  # it lives; the system does not tell since when
