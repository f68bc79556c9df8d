"""The command where its surroundings are against it: it trains and reports, or says what is wrong.

Real processes, because the environment of a process is the point.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("iterations=2", "batch_size=8", "probe.every=0", "evaluate.every=0", "device=cpu")
CAPABILITY = "dac_read_search"  # may read everything, as this interpreter's home asks for


def run(
    folder: Path, *arguments: str, before: tuple[str, ...] = (), after: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """The command in a folder, behind another command or before a redirection."""
    line = " ".join(f"'{item}'" for item in (*before, sys.executable, "-m", "lenet_bench"))
    given = " ".join(f"'{item}'" for item in arguments)
    return subprocess.run(
        ["bash", "-c", f"{line} {given} {after}"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **more},
    )  # fmt: skip


def test_a_notebooks_backend_an_old_encoding_and_files_named_like_libraries(tmp_path: Path) -> None:
    """All at once, and with workers, which Python starts in the same folder."""
    names = ("csv", "hydra", "json", "matplotlib", "pandas", "pickle", "random", "torch", "yaml")
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").touch()
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: nope\nlines.linewidth: x\n")
    done = run(
        tmp_path, *SMALL, "activation=relu,tanh", "seed=0,1", "hydra.launcher.workers=2",
        MPLBACKEND="module://matplotlib_inline.backend_inline", PYTHONIOENCODING="ascii",
        SOURCE_DATE_EPOCH="yesterday",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert " +/- " in done.stdout
    (sweep,) = (tmp_path / "runs").iterdir()
    assert (sweep / "figures" / "training_loss.svg").is_file()
    assert (sweep / "report.html").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_answer_that_is_lost_after_training_is_told(tmp_path: Path) -> None:
    """With the command that repeats it, and that command gives 141 behind `| head -1`."""
    done = run(tmp_path, *SMALL, after=">/dev/full")
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    (sweep,) = (tmp_path / "runs").iterdir()
    assert last.startswith("standard output cannot be written (No space left on device); ")
    assert f"lenet-bench-report {sweep.relative_to(tmp_path)} prints its text again" in last
    assert (sweep / "report.html").is_file()
    again = f"'{sys.executable}' -m lenet_bench.commands.report '{sweep}' | head -1"
    piped = subprocess.run(
        ["bash", "-c", f"{again}; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert piped.stdout.splitlines()[-1] == "141"
    assert piped.stderr == ""


def test_too_little_address_space_is_one_line(tmp_path: Path) -> None:
    """The libraries cannot be loaded; nothing stays behind."""
    done = run(tmp_path, *SMALL, before=("prlimit", "--as=1000000000"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("lenet-bench: there is not enough memory (ImportError: libtorch")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("entry", ["-m lenet_bench", "-c 'import lenet_bench.__main__'"])
def test_a_current_folder_that_is_gone_is_told(tmp_path: Path, entry: str) -> None:
    """As a module and as the console script, which imports it."""
    line = f"mkdir gone; cd gone; rmdir ../gone; '{sys.executable}' {entry} plan=true"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "lenet-bench: the current folder cannot be used (No such file or directory); "
        "go to another\n"
    )


def without_privileges() -> tuple[str, ...]:
    """What starts a command for a user whom this machine does not know."""
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("needs root and setpriv")
    return (
        "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
        f"--inh-caps=-all,+{CAPABILITY}", f"--ambient-caps=-all,+{CAPABILITY}",
    )  # fmt: skip


def test_a_user_without_home_or_passwd_entry_trains_on_images(tmp_path: Path) -> None:
    """A cache costs time, never a run: those of images, matplotlib and torch."""
    from PIL import Image

    before = ("env", "-u", "HOME", "-u", "XDG_CACHE_HOME", "-u", "MPLCONFIGDIR")
    for name in ("cat", "dog"):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("L", (32, 32), 20 * number + (name == "dog"))
            image.save(tmp_path / "photos" / "train" / name / f"{number}.png")
    folder = tmp_path / "work"
    folder.mkdir()
    folder.chmod(0o777)
    done = run(
        folder, *SMALL, "dataset=image_folder", f"dataset.root={tmp_path}/photos",
        before=(*before, *without_privileges()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = (folder / "runs").iterdir()
    assert sweep.stat().st_uid == 12345
    assert (sweep / "report.html").is_file()
    folder.chmod(0o755)
    shutil.rmtree(folder / "runs")
    refused = run(folder, *SMALL, before=(*before, *without_privileges()))
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "lenet-bench: hydra.sweep.dir=runs: cannot be made (Permission denied); "
        "name a folder that you may write to"
    )
    tilde = run(
        folder, "dataset=image_folder", "dataset.root=~/photos",
        before=(*before, *without_privileges()),
    )  # fmt: skip
    assert tilde.returncode == 1
    assert "Traceback" not in tilde.stderr
    assert "dataset.root=~/photos: " in tilde.stderr
