"""The house rules that ruff does not know: how long a file and a class may be, where modules stand.

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


def broken_rules(root: Path = ROOT) -> Iterator[str]:
    """Check every Python file below `FOLDERS`, and the modules at the root of the package.

    Args:
        root: The checkout.

    Yields:
        A line per broken rule: where it is broken, how, and what is allowed.
    """
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            yield from _too_long(path.relative_to(root).as_posix(), path)

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
