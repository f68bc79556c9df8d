"""The command as a process of its own: time, streams, exit codes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import lenet_bench
from lenet_bench.config.errors import ConfigError


def real(*arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The command itself, with more in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "lenet_bench", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "COLUMNS": "100", **more},
    )  # fmt: skip


def processor_seconds_of_children() -> float:
    """Of the processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("arguments", [("--help",), ("activation=rleu", "lr=-1", "seed=x")])
def test_an_answer_takes_less_than_two_seconds(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The one place where time is the criterion: processor time, which no other work stretches."""
    seconds = []
    for _ in range(3):
        start = processor_seconds_of_children()
        done = real(*arguments, folder=tmp_path)
        seconds.append(processor_seconds_of_children() - start)
        assert done.returncode == (0 if arguments == ("--help",) else 1)
    assert statistics.median(seconds) < 2


@pytest.mark.parametrize("arguments", ["--help", "--hydra-help", "-sc install=zsh"])
def test_a_reader_may_leave(arguments: str, tmp_path: Path) -> None:
    """As `head` does: no traceback, and the exit code of a broken pipe."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "lenet_bench", *arguments.split()],
            cwd=tmp_path, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 141


def test_ctrl_c_while_importing_is_no_traceback(tmp_path: Path) -> None:
    """What comes first is imported by a file that presses it."""
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = real("--help", folder=tmp_path, PYTHONPATH=path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_version_is_lenet_benchs(tmp_path: Path) -> None:
    """Hydra's besides, as it reads the command line."""
    done = real("--version", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"lenet-bench {lenet_bench.__version__} (Hydra 1.")
    assert done.stderr == ""


def test_a_mistake_goes_to_standard_error(tmp_path: Path) -> None:
    """Standard output stays empty; the real process, from start to exit code."""
    done = real("activation=rleu", "seed=x", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lenet-bench: 2 mistakes in the configuration:")
    assert list(tmp_path.iterdir()) == []


def test_an_own_activation_that_is_none_is_refused(tmp_path: Path) -> None:
    """Found only when it is imported; then before anything is trained, and without a trace."""
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            def wave(x):
                return x
            """
        ),
        encoding="utf-8",
    )
    done = real(
        "dataset=fake", "dataset.images=150", "iterations=1", "batch_size=8",
        "activation=custom", "activation.path=mine:wave", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "mine:wave" in done.stderr


def test_mistakes_can_be_caught_in_python() -> None:
    """`ConfigError` lists them."""
    error = ConfigError(["a", "b", "a"])
    assert error.problems == ["a", "b"]
    assert str(error).splitlines()[0] == "2 mistakes in the configuration:"
