"""Each configuration of a command is validated once: checked, named and trained from one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from lenet_bench.config.schema import RunConfig
from tests.conftest import Lenet


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_each_job_is_validated_once_from_the_command_line_to_its_end(
    lenet: Lenet, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check composes the same configurations as the sweep."""
    validated: Counter[str] = Counter()
    validate = RunConfig.model_validate

    def counted(content: Mapping[str, Any]) -> RunConfig:
        validated[repr(content)] += 1
        return validate(content)

    monkeypatch.setattr(RunConfig, "model_validate", counted)
    workers = ["hydra.launcher.workers=1"] if launcher == "stacked" else []
    done = lenet(
        "activation=relu,tanh", "seed=range(4)", "dataset=fake", "dataset.images=150",
        "batch_size=16", "iterations=1", "probe.every=0", "evaluate.every=0", "device=cpu",
        f"hydra/launcher={launcher}", *workers,
    )  # fmt: skip
    assert len(done.runs) == 8
    assert set(validated.values()) == {1}
    assert sum("'iterations': 1," in content for content in validated) >= 8, "those of the jobs"
