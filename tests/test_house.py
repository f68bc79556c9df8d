"""The house rules are kept here, and are refused where they are broken."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house import FOLDERS, MAX_CLASS_LINES, MAX_FILE_LINES, MAX_ROOT_MODULES, broken_rules

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout that keeps every rule."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "lenet_bench" / "model").mkdir()
    for number in range(MAX_ROOT_MODULES):
        (tmp_path / "lenet_bench" / f"module_{number}.py").write_text("")
    return tmp_path


def class_of(lines: int) -> str:
    return "class Long:\n" + "    x = 1\n" * (lines - 1)


def test_this_checkout_keeps_the_house_rules() -> None:
    assert list(broken_rules()) == []


@pytest.mark.parametrize("folder", [*FOLDERS, "lenet_bench/model"])
def test_a_file_of_600_lines_passes_and_one_of_601_is_refused(checkout: Path, folder: str) -> None:
    path = checkout / folder / "module_0.py"
    path.write_text("x = 1\n" * MAX_FILE_LINES)
    assert list(broken_rules(checkout)) == []
    path.write_text("x = 1\n" * (MAX_FILE_LINES + 1))
    assert list(broken_rules(checkout)) == [
        f"{folder}/module_0.py: 601 lines, at most 600 are allowed: split the file"
    ]


def test_a_class_of_250_lines_passes_and_one_of_251_is_refused(checkout: Path) -> None:
    path = checkout / "lenet_bench" / "model" / "stack.py"
    path.write_text(class_of(MAX_CLASS_LINES))
    assert list(broken_rules(checkout)) == []
    path.write_text("x = 1\n" + class_of(MAX_CLASS_LINES + 1))
    (line,) = broken_rules(checkout)
    assert line.startswith("lenet_bench/model/stack.py:2: class Long has 251 lines, at most 250 ")


def test_a_room_that_does_not_say_what_it_may_import_is_refused(checkout: Path) -> None:
    room = checkout / "lenet_bench" / "model" / "__init__.py"
    room.write_text('"""The networks.\n\nIn: images. Out: logits.\nMay import: `common`.\n"""\n')
    assert list(broken_rules(checkout)) == []
    room.write_text('"""The networks.\n\nIn: images.\n"""\n')
    assert list(broken_rules(checkout)) == [
        "lenet_bench/model/__init__.py: its docstring does not say Out:, May import:"
    ]


def test_a_fifth_module_beside_the_rooms_is_refused(checkout: Path) -> None:
    (checkout / "lenet_bench" / "utils.py").write_text("")
    (line,) = broken_rules(checkout)
    assert line.startswith("lenet_bench/: 5 modules beside the rooms (module_0.py, ")


def test_make_lint_checks_complexity_rooms_and_house() -> None:
    """ruff refuses a function of 16 branches; the other two commands are part of the target."""
    function = "def f(x: int) -> int:\n" + "".join(
        f"    if x == {number}:\n        return {number}\n" for number in range(15)
    )
    configuration = ("--no-cache", "--stdin-filename", "lenet_bench/model/long.py", "-")
    for code, allowed in ((f"{function}    return x\n", False), ("x = 1\n", True)):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--select", "C901", *configuration],
            cwd=ROOT, input=code, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == allowed, done.stdout
        assert ("C901" in done.stdout) != allowed

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert "C90" in settings["ruff"]["lint"]["select"]
    target = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target
    for command in ("ruff check .", "ruff format --check .", "mypy", "lint-imports", "tests.house"):
        assert command in target[1]
