"""The files around the code agree with one another: version, hooks, forms, workflow."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    citation = load("CITATION.cff")
    assert citation["version"] == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[([\d.]+)\]", changes, re.MULTILINE)[0] == version


def test_the_citation_has_what_its_format_requires() -> None:
    citation = load("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == PROJECT["project"]["license"]
    assert all(set(author) == {"name"} for author in citation["authors"])


def test_every_hook_is_a_command_of_make_lint() -> None:
    (repository,) = load(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "nothing is fetched from elsewhere"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = makefile.partition("\nlint: ")[2].partition("\n\n")[0]
    commands = [line.strip() for line in lint.replace("$(BIN)", ".venv/bin").splitlines()[1:]]
    commands = [line.replace("$(VENV)", ".venv").removesuffix(" .") for line in commands]
    assert [hook["entry"] for hook in repository["hooks"]] == commands


@pytest.mark.parametrize("form", ["bug", "question"])
def test_a_form_asks_for_something(form: str) -> None:
    content = load(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= set(content)
    fields = content["body"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_workflow_calls_ci_run() -> None:
    (job,) = load(".github/workflows/ci.yml")["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
