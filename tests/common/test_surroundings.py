"""Environment variables of a command, and errors that the machine causes."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_bench.common.surroundings import cause_of_failure, explain_surroundings, surroundings


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user had set, and what they had not."""
    monkeypatch.setenv("MPLBACKEND", "module://of_a_notebook")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with surroundings({"MPLBACKEND": "agg", "PYTHONSAFEPATH": "1"}):
        assert os.environ["MPLBACKEND"] == "agg"
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ["MPLBACKEND"] == "module://of_a_notebook"
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "there is not enough memory (MemoryError); end other"),
        (
            ImportError("libtorch.so: failed to map segment from shared object"),
            "there is not enough memory (ImportError: libtorch.so: failed to map segment",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "there is not enough memory (OSError"),
        (
            RuntimeError("could not create a primitive"),  # oneDNN's words
            "there is not enough memory (RuntimeError: could not create a primitive); end other",
        ),
        (
            ModuleNotFoundError("No module named 'pandas'"),
            "a library cannot be loaded (ModuleNotFoundError: No module named 'pandas'); install",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/plan.json"),
            "/x/plan.json: Permission denied",
        ),
        (OSError("two\nlines"), "OSError: two lines"),
    ],
)
def test_an_error_of_the_machine_is_one_line(error: Exception, says: str) -> None:
    """It says what to do about it, where that is known."""
    line = explain_surroundings(error)
    assert line is not None
    assert line.startswith(says)
    assert "\n" not in line


class NoMoreMemory(io.BytesIO):
    """A file in memory that cannot grow beyond 2,000 bytes."""

    def write(self, data: Any) -> int:
        """Write, as long as there is memory."""
        if self.tell() > 2_000:
            raise MemoryError
        return super().write(data)


def test_memory_that_runs_out_while_torch_saves_is_told_as_such() -> None:
    """Its archive raises an error of its own, which says nothing of memory."""
    with pytest.raises(RuntimeError) as caught:
        torch.save({"a": torch.zeros(5_000), "b": torch.zeros(1_000)}, NoMoreMemory())
    assert "memory" not in str(caught.value)
    assert cause_of_failure(caught.value).startswith("there is not enough memory (")


def test_an_error_of_a_disk_names_where_the_command_writes() -> None:
    """A write that fails knows no file. Other errors have nothing to do with the disk."""
    full = OSError(errno.ENOSPC, "No space left on device")
    assert explain_surroundings(full, Path("runs/mine")) == "runs/mine: No space left on device"
    many = OSError(errno.EMFILE, "Too many open files")
    assert explain_surroundings(many, Path("runs/mine")) == "Too many open files"


def test_an_error_of_the_program_is_none_of_the_machine() -> None:
    """It keeps its traceback."""
    assert explain_surroundings(TypeError("a mistake of ours")) is None
