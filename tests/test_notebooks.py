"""The notebooks run, cell by cell, on a sweep."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lenet_bench.__main__ import main

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.fixture(scope="module")
def sweep_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    arguments = ["activation=sigmoid,relu", "seed=0,1", "dataset=fake", "batch_size=32"]
    budget = ["iterations=120", "probe.every=60", "probe.images=64", "hydra.launcher.workers=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr("sys.argv", ["lenet-bench", *arguments, *budget])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0
    return home


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, sweep_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweep_home)
    shown = []
    names: dict[str, object] = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], "notebooks are committed without outputs"
        *statements, last = ast.parse("".join(cell["source"])).body
        assert isinstance(last, ast.Expr), "a cell ends with what it shows"
        exec(compile(ast.Module(statements, []), path.name, "exec"), names)
        shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    assert all(value is not None for value in shown)
    assert sum(isinstance(value, Figure) for value in shown) == 2
    gradients = shown[-2]
    assert list(gradients.index) == ["relu", "sigmoid"]
