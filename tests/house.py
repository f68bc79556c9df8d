"""The house rules that ruff does not know: length of files and classes, what a room says of itself.

In: a checkout. Out: a line per broken rule, and exit code 1 if there is one. Run by `make lint`:

    python -m tests.house
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("lenet_bench", "benchmarks", "docs", "tests")
MAX_FILE_LINES = 600
MAX_CLASS_LINES = 250
MAX_ROOT_MODULES = 4  # beside the rooms, which are folders
ROOM_WORDS = ("In:", "Out:", "May import:")  # in the docstring of every room


def broken_rules(root: Path = ROOT) -> Iterator[str]:
    """Check every Python file below `FOLDERS`, the rooms, and the modules beside them.

    Args:
        root: The checkout.

    Yields:
        A line per broken rule: where it is broken, how, and what is allowed.
    """
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            yield from _too_long(path.relative_to(root).as_posix(), path)

    for room in sorted((root / "lenet_bench").glob("*/__init__.py")):
        words = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
        if missing := [word for word in ROOM_WORDS if word not in words]:
            name = room.relative_to(root).as_posix()
            yield f"{name}: its docstring does not say {', '.join(missing)}"

    modules = sorted(path.name for path in (root / "lenet_bench").glob("*.py"))
    if len(modules) > MAX_ROOT_MODULES:
        yield (
            f"lenet_bench/: {len(modules)} modules beside the rooms ({', '.join(modules)}), "
            f"at most {MAX_ROOT_MODULES} are allowed: move one into the room it belongs to"
        )


def _too_long(name: str, path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{name}: {lines} lines, at most {MAX_FILE_LINES} are allowed: split the file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_CLASS_LINES:
                yield (
                    f"{name}:{node.lineno}: class {node.name} has {length} lines, at most "
                    f"{MAX_CLASS_LINES} are allowed: split the class"
                )


if __name__ == "__main__":
    problems = list(broken_rules())
    print("\n".join(problems) or "house rules: kept")
    sys.exit(bool(problems))
