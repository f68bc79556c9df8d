"""What the program never does with what it reads: a walk over the source of the whole project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("lenet_bench", "benchmarks", "docs")

ALLOWED = {
    ("lenet_bench/execution/worker_process.py", "pickle.loads"): "what the parent process sent",
    ("lenet_bench/records/configuration.py", "yaml.load"): "its loader is a safe one",
}
"""Calls that would be forbidden, by file, and why they are not."""

FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader"),
    *("joblib.load", "pd.read_pickle", "torch.hub.load", "torch.jit.load"),
}
METHODS = {"extractall", "unpack_archive", "query", "eval"}
"""Of any object: archives that unpack where they like, and pandas' small languages."""


def problems(source: str, name: str) -> Iterator[str]:
    """Calls that load or run what comes from outside."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        method = called.rpartition(".")[2]
        place = f"{name}:{node.lineno}: {called}"
        if called == "torch.load":
            if keywords.get("weights_only") != "True":
                yield f"{place} without weights_only=True"
        elif called in FORBIDDEN:
            if (name, called) not in ALLOWED:
                yield place
        elif called.startswith(("np.load", "numpy.load")):
            if keywords.get("allow_pickle", "False") != "False":
                yield f"{place} with pickles"
        elif "." in called and method in METHODS and (node.args or node.keywords):
            yield place  # without arguments it is a module's `eval()`
        if keywords.get("shell") not in (None, "False"):
            yield f"{place} with a shell"


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_from_outside_is_executed(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found: list[str] = []
    for file in files:
        found += problems(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.loads(content)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "tempfile.mktemp()",
        "archive.extractall(folder)",
        "frame.query(text)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_walk_finds_what_it_looks_for(source: str) -> None:
    assert list(problems(source, "any.py"))


def test_every_exception_is_still_needed() -> None:
    for name, called in ALLOWED:
        assert called in (ROOT / name).read_text(encoding="utf-8")
