"""`config.json` of a run directory: what was asked for, so that the directory explains itself.

In: a run's validated configuration, and the preset it was composed from. Out: a JSON file; later
its content. The file holds

    {"preset": "smoke", "config": {"activation": {"name": "relu"}, ..., "lr": 0.01, ...}}

with `null` for a run of no preset. `config` has the keys of `conf/`, and `RunConfig` accepts it.
Directories of older versions have no such file; only for them Hydra's `.hydra/` is read instead.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_bench.common.files import write_json
from lenet_bench.records.damage import (
    DamageError,
    read_json,
    read_text,
    refuse_overgrown,
    shown,
)

if TYPE_CHECKING:
    from lenet_bench.config.schema import RunConfig

FILE = "config.json"
OLDER_FILE = Path(".hydra") / "config.yaml"

OF_THE_COMMAND = ("plan", "resume_anyway")
"""Keys that decide what a command does and say nothing about a run."""

_PRESET_OVERRIDE = re.compile(r"^- ['\"]?experiment=([\w/.+-]+)", re.MULTILINE)


@dataclass(frozen=True)
class StoredConfiguration:
    """What a run directory says about what was asked for.

    Attributes:
        content: The configuration as plain containers.
        preset: The preset (`experiment=NAME`) that it was composed from, if any.
    """

    content: Mapping[str, Any]
    preset: str | None


def write_configuration(directory: Path, config: RunConfig, preset: str | None) -> bytes:
    """Write `config.json` atomically; return what it holds."""
    # Keys with a default are those that only some data sets have, such as `dataset.root`.
    content = {"preset": preset, "config": config.model_dump(mode="json", exclude_defaults=True)}
    return write_json(directory / FILE, content, sync=False)


def read_configuration(directory: Path) -> StoredConfiguration:
    """Read what was asked for in a run directory.

    Raises:
        DamageError: The directory does not say so, or not in a way that can be read.
    """
    path = directory / FILE
    if not os.path.lexists(path):
        return _read_older_configuration(directory)
    stored = read_json(path)
    content = stored.get("config") if isinstance(stored, dict) else None
    checked = _checked(path, content)
    preset = stored.get("preset")
    if not (preset is None or isinstance(preset, str)):
        raise DamageError(path, f"preset is {shown(preset)}; it must be text, or null")
    return StoredConfiguration(checked, preset)


def read_run_configuration(directory: Path) -> RunConfig:
    """Read the configuration of a run. Whether its data are still there does not matter.

    Raises:
        DamageError: The directory does not say it, or not in a way that this program understands.
    """
    from pydantic import ValidationError

    from lenet_bench.config.messages import describe
    from lenet_bench.config.schema import RunConfig

    content = read_configuration(directory).content
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        problem = describe(error.errors()[0], content)
        raise DamageError(directory / FILE, problem) from None


def has_configuration(directory: Path) -> bool:
    """Whether there is a file that should say what was asked for."""
    return any((directory / name).exists() for name in (FILE, OLDER_FILE))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"init": {"name": "normal", "std": 0.1}}` becomes `init=normal, init.std=0.1`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{path}.")
        elif key == "name" and prefix:
            flat[prefix[:-1]] = value
        else:
            flat[path] = json.dumps(value) if isinstance(value, list) else value
    return flat


def _read_older_configuration(directory: Path) -> StoredConfiguration:
    """The configuration and the overrides as Hydra wrote them, before there was a `config.json`."""
    import yaml

    path = directory / OLDER_FILE
    if not path.exists():
        raise DamageError(directory, f"holds neither {FILE} nor {OLDER_FILE}")
    # Both build plain containers only and refuse Python tags; libyaml's is ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = read_text(path)
    try:
        content = yaml.load(text, Loader=loader)  # noqa: S506  either is a safe one
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise DamageError(path, f"is not plain YAML ({error.problem})", line) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise DamageError(path, "is not plain YAML") from None
    refuse_overgrown(path, content)
    try:
        overrides = read_text(path.with_name("overrides.yaml"))
    except DamageError:
        overrides = ""
    preset = _PRESET_OVERRIDE.search(overrides)
    return StoredConfiguration(_checked(path, content), preset[1] if preset else None)


def _checked(path: Path, content: Any) -> Mapping[str, Any]:
    if not isinstance(content, dict) or "activation" not in content:
        raise DamageError(path, "names no activation")
    for key in ("activation", "init", "optimizer", "dataset", "model", "schedule"):
        value = content.get(key)
        name = value.get("name") if isinstance(value, dict) else value
        if key in content and not isinstance(name, str):
            raise DamageError(path, f"{key} is {shown(value)}; it must have a name")
    for key in ("lr", "seed", "batch_size"):
        value = content.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DamageError(path, f"{key} is {shown(value)}; it must be a number")
    return {key: value for key, value in content.items() if key not in OF_THE_COMMAND}
