"""The checkpoint of a stack: one file with all that its training goes on from, and the one before.

In: facts (JSON) and tensors. Out: a file that is either whole or known to be damaged; later, the
same facts and tensors. Reading one executes nothing: it is loaded by `weights_only=True`, after its
checksum was compared.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_bench.common.files import open_atomically, remove_leftovers, sync_to_disk
from lenet_bench.common.regular_files import read_regular

if TYPE_CHECKING:
    from torch import Tensor

_FIRST_LINE = b"lenet-bench checkpoint 1\n"


@dataclass(frozen=True)
class StoredState:
    """What a checkpoint holds."""

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class DamagedCheckpointError(Exception):
    """A checkpoint that does not hold what was written; the message says what is wrong."""


class CheckpointFile:
    """Where the state of a stack is kept: the newest checkpoint, and one before it.

    The one before is the last that is known to be on the disk, for power cuts; what was only
    passed to the operating system outlives the process, but not the machine.

    Args:
        path: The newest one, `stack-N.ckpt`. Its folder is made when it is first written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.stem}.previous.ckpt")
        self._keeps_newest = False  # whether the next write makes the newest the one before

    @property
    def exists(self) -> bool:
        """Whether there is one, or one before it."""
        return self.path.exists() or self.previous.exists()

    def half(self, number: int) -> CheckpointFile:
        """The checkpoint of a half of the stack, `stack-N.0.ckpt` or `stack-N.1.ckpt`."""
        return CheckpointFile(self.path.with_name(f"{self.path.stem}.{number}.ckpt"))

    def write(self, state: StoredState, *, sync: bool) -> None:
        """Replace the newest checkpoint.

        Args:
            state: What to keep.
            sync: Wait until it is on the disk; it is then kept as the one before.

        Raises:
            OSError: It cannot be written; the old ones are still there.
        """
        import torch

        file = io.BytesIO()
        torch.save({"facts": json.dumps(state.facts), "tensors": dict(state.tensors)}, file)
        content = file.getbuffer()
        self.path.parent.mkdir(exist_ok=True)
        with open_atomically(self.path, sync=sync) as written:
            written.write(_FIRST_LINE)
            written.write(hashlib.sha256(content).hexdigest().encode() + b"\n")
            written.write(content)
            if self._keeps_newest and self.path.exists():
                self.path.replace(self.previous)
        self._keeps_newest = sync

    def newest_usable(
        self, problem: Callable[[StoredState], str | None], say: Callable[[str], None]
    ) -> StoredState | None:
        """Find the newest checkpoint that can be used, and see to it that it is on the disk.

        The next one makes it the one before; until then the caller has to sync what it counts on.

        Args:
            problem: Why a whole checkpoint is of no use here, a phrase; None if it is.
            say: Called with a sentence for each that is there and cannot be used.

        Raises:
            OSError: It cannot be synced.
        """
        remove_leftovers(self.path)
        for path in (self.path, self.previous):
            try:
                state = read_checkpoint(path)
                reason = problem(state)
            except FileNotFoundError:
                continue
            except DamagedCheckpointError as error:
                reason = str(error)
            if reason is None:
                if path == self.path:  # whether it was synced is not known
                    sync_to_disk(path)
                    sync_to_disk(path.parent)
                    self._keeps_newest = True
                return state
            say(f"{path}: {reason}; it is not used.")
        return None

    def remove(self) -> None:
        """Remove all of it, and its folder if that is empty then."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)
        remove_leftovers(self.path)
        try:
            self.path.parent.rmdir()
        except OSError:  # others are there, or it never was
            return


def read_checkpoint(path: Path) -> StoredState:
    """Read one file.

    Raises:
        FileNotFoundError: There is none.
        DamagedCheckpointError: It cannot be read, or is not as it was written.
    """
    import torch

    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedCheckpointError(f"cannot be read ({error.strerror})") from None
    first, checksum, rest = [*content.split(b"\n", 2), b"", b""][:3]
    if first + b"\n" != _FIRST_LINE:
        raise DamagedCheckpointError("is no checkpoint of this version")
    if hashlib.sha256(rest).hexdigest().encode() != checksum:
        raise DamagedCheckpointError("is damaged: its checksum differs")
    try:
        stored = torch.load(io.BytesIO(rest), weights_only=True)
        facts, tensors = json.loads(stored["facts"]), stored["tensors"]
        if not isinstance(facts, dict) or not isinstance(tensors, dict):
            raise TypeError
        if not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
            raise TypeError
    except Exception as error:  # whatever was forged together with its checksum
        reason = type(error).__name__
        raise DamagedCheckpointError(f"cannot be understood ({reason})") from None
    return StoredState(facts, tensors)
