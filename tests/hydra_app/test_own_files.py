"""A user's own presets: files that cannot be read are named, with the line and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lenet_bench
from lenet_bench.hydra_app.groups import CONF
from tests.faults import without_root_rights
from tests.hydra_app.conftest import Answer, Command

HEAD = "# @package _global_\n"

# what the file holds, then what is said of it
BROKEN: dict[str, tuple[str | bytes, str]] = {
    "no yaml": (HEAD + "lr: [0.1\na: {", "is no YAML (line 3: "),
    "tab": (HEAD + "probe:\n\tevery: 1\n", "indent with spaces, not with tabs)"),
    "binary": (HEAD.encode() + b"\xff\xfe\x00", "is not encoded in UTF-8 (byte 20)"),
    "control characters": (HEAD + "lr: \x1b[31m\n", "is no YAML ("),
    "byte order mark": ("\ufeff" + HEAD + "lr: 0.1\n", "begins with a byte order mark"),
    "two documents": (HEAD + "lr: 0.1\n---\nseed: 1\n", "holds 2 documents; keep one"),
    "list": (HEAD + "- lr\n", "holds no keys; write one a line, as in lr: 0.1"),
    "text": (HEAD + "hello\n", "holds no keys"),
    "twice": (HEAD + "lr: 0.1\nlr: 0.2\n", "sets lr twice (line 3)"),
    "twice below": (HEAD + "probe: {every: 1, every: 2}\n", "sets every twice (line 2)"),
    "python": (HEAD + "lr: !!python/object/apply:os.system [ls]\n", "holds the tag python/object"),
    "own tag": (HEAD + "lr: !mine 3\n", "holds the tag !mine (line 2); plain values only"),
    "itself": (HEAD + "probe: &a {every: *a}\n", "holds itself (line 2)"),
    "no anchor": (HEAD + "lr: *a\n", "is no YAML (line 2: found undefined alias"),
    "references": (
        HEAD + "a0: &a0 [x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n"
                  for n in range(1, 12)),
        "values by its references; at most 100,000 are read",
    ),
    "deep": (HEAD + "a: " + "[" * 5000 + "]" * 5000, "is n"),
    "large": (HEAD + "#" * 1_000_001, "is larger than 1,000,000 bytes"),
    "no package": ("lr: 0.1\n", "must begin with the line # @package _global_"),
    "package too late": ("# mine\n" + HEAD + "lr: 0.1\n", "must begin with the line # @package"),
    "itself by default": (
        HEAD + "defaults: [mine]\nlr: 0.1\n", "files name each other in a circle of defaults"
    ),
    "launcher": (HEAD + "hydra: {launcher: {_target_: os.system}}\n", "run by its import path"),
    "callback": (HEAD + "hydra: {callbacks: {x: {_target_: os.getcwd}}}\n", "by its import path"),
    "handler": (
        HEAD + "hydra: {job_logging: {handlers: {x: {(): os.getcwd}}}}\n", "by its import path"
    ),
    "same folder": (
        HEAD + "hydra: {sweep: {subdir: x}, sweeper: {params: {seed: '0,1'}}}\n",
        "hydra.sweep.subdir=x: all 2 runs would be written into this folder",
    ),
}  # fmt: skip


@pytest.fixture
def mine(command: Command, tmp_path: Path) -> Callable[[str | bytes], Answer]:
    """`mine(CONTENT)`: what is answered to `experiment=mine` with a file of this content."""

    def ask(content: str | bytes) -> Answer:
        (tmp_path / "experiment").mkdir()
        encoded = content.encode() if isinstance(content, str) else content
        (tmp_path / "experiment" / "mine.yaml").write_bytes(encoded)
        return command("--config-dir", str(tmp_path), "experiment=mine")

    return ask


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_preset_is_refused(mine: Callable[[str | bytes], Answer], name: str) -> None:
    """In one line, without a byte that a terminal would act on."""
    content, says = BROKEN[name]
    answer = mine(content)
    answer.is_refusal()
    (problem,) = answer.problems
    assert says in problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    "head",
    ["# @package _global_\n", "#@package _global_\n", "\n\n  # @package _global_\n", "---\n"],
)
def test_hydras_forms_of_a_header_are_taken(
    mine: Callable[[str | bytes], Answer], head: str
) -> None:
    """As Hydra reads it; a document may begin with `---` behind it."""
    text = HEAD + head if head == "---\n" else head
    answer = mine(text + "lr: 0.5\n# a comment: ä\nhydra: {sweeper: {params: {seed: '0,1'}}}\n")
    assert [name[:-9] for name in answer.runs] == [
        f"relu-xavier_uniform-lr0.5-seed{seed}" for seed in (0, 1)
    ]


def test_a_preset_cannot_set_the_directory_of_a_single_run(
    mine: Callable[[str | bytes], Answer],
) -> None:
    """In a sweep it would do nothing."""
    answer = mine("# @package _global_\nhydra:\n  run:\n    dir: elsewhere\n")
    assert answer.problems[0].startswith("hydra.run.dir=elsewhere: is for single runs, with hydra")


def test_a_preset_may_refer_to_itself_and_to_others(
    mine: Callable[[str | bytes], Answer],
) -> None:
    """Anchors and merged keys are plain YAML, and defaults are Hydra's."""
    answer = mine(
        HEAD + "defaults: [override /activation: tanh]\n"
        "probe: &p {every: 10}\nevaluate: {<<: *p}\nhydra: {job: {chdir: true}}\n"
    )
    assert [name[:-9] for name in answer.runs] == ["tanh-xavier_uniform-lr0.01-seed0"]


# a file or folder that is there, then what was asked for and what is said of it
NEARLY = [
    ("mine.yml", "mine", "experiment/mine.yml is passed over, name it mine.yaml; "),
    ("mine.YAML", "mine", "experiment/mine.YAML is passed over, name it mine.yaml; "),
    ("mine.yaml", "mine.yaml", "write experiment=mine, without the ending; "),
    ("mine/", "mine", "experiment/mine is a folder; "),
    ("mine.yaml/", "mine", "experiment/mine.yaml is no file; "),
    ("mine.yaml@", "mine", "experiment/mine.yaml is a link that leads nowhere; "),
    ("mime.yaml", "mine", "did you mean mime? "),
]


@pytest.mark.parametrize(("there", "asked", "says"), NEARLY, ids=[there for there, *_ in NEARLY])
def test_a_file_that_was_probably_meant_is_named(
    command: Command, tmp_path: Path, there: str, asked: str, says: str
) -> None:
    """Hydra says only which presets there are."""
    folder = tmp_path / "experiment"
    folder.mkdir()
    if there.endswith("/"):
        (folder / there).mkdir()
    elif there.endswith("@"):
        (folder / there[:-1]).symlink_to(tmp_path / "gone")
    else:
        (folder / there).write_text(HEAD)
    answer = command("--config-dir", str(tmp_path), f"experiment={asked}")
    answer.is_refusal()
    (problem,) = answer.problems
    assert problem.startswith(f"experiment={asked}: there is no such experiment; ")
    assert says in problem
    assert "allowed: " in problem


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    """As it is to anybody but root."""
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text(HEAD)
    file.chmod(0)
    arguments = ["--config-dir", str(tmp_path), "experiment=mine"]
    done = subprocess.run(
        [*without_root_rights(), sys.executable, "-m", "lenet_bench", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"experiment=mine: {file} cannot be read (Permission denied)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mine.yml", HEAD, "mine.yml is passed over, name it mine.yaml; "),
        ("mine.yaml", "lr: 0.1\n", "mine.yaml must begin with the line # @package _global_"),
    ],
)
def test_a_preset_among_those_of_the_program_is_looked_at_too(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    """In a checkout, whose folder `conf` CONTRIBUTING.md tells to extend."""
    package = tmp_path / "lenet_bench"
    shutil.copytree(
        Path(lenet_bench.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    if not (package / "conf").exists():
        shutil.copytree(CONF, tmp_path / "conf")
    conf = next(path for path in (package / "conf", tmp_path / "conf") if path.exists())
    (conf / "experiment" / name).write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "lenet_bench", "experiment=mine"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{package / 'plugins'}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert says in done.stderr
