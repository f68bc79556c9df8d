"""Which source made the numbers: known in a git checkout wherever the file lies, and only there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lenet_bench
from lenet_bench.records.provenance import versions

PACKAGE = Path(lenet_bench.__file__).parent


def commit_of(folder: Path) -> str:
    """What a process says that imports the package from this folder."""
    code = "from lenet_bench.records.provenance import commit; print(commit())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def git(folder: Path, *arguments: str) -> str:
    """What git prints, whoever the user is."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def copied(folder: Path) -> Path:
    """A copy of what records need of the package."""
    for name in ("choices", "common", "records"):
        shutil.copytree(
            PACKAGE / name,
            folder / "lenet_bench" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(PACKAGE / "__init__.py", folder / "lenet_bench")
    return folder


def test_the_commit_of_a_checkout_is_known_and_marked_where_files_differ(tmp_path: Path) -> None:
    checkout = copied(tmp_path / "checkout")
    (checkout / ".gitignore").write_text("__pycache__\n")
    git(checkout, "init", "-q")
    assert commit_of(checkout) == "None", "not yet part of the repository"
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "all")
    head = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == head
    source = checkout / "lenet_bench" / "__init__.py"
    source.write_text(source.read_text() + "# changed\n")
    assert commit_of(checkout) == f"{head}+"


def test_a_copy_outside_of_git_or_in_a_foreign_repository_has_none(tmp_path: Path) -> None:
    assert commit_of(copied(tmp_path / "site")) == "None"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    git(foreign, "init", "-q")
    (foreign / "own.txt").touch()
    git(foreign, "add", "own.txt")
    git(foreign, "commit", "-q", "-m", "own")
    assert commit_of(copied(foreign / "site-packages")) == "None"


def test_versions_are_those_of_the_libraries() -> None:
    found = versions()
    assert found["python"] == sys.version.split()[0]
    assert {"torch", "numpy", "hydra-core", "lenet-bench"} <= set(found)
    assert all(found.values())
