"""How a sweep is trained: the options of the launcher, `hydra.launcher.KEY=VALUE`.

In: the launcher's settings. Out: `EngineOptions`, or a `ConfigError` that lists what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lenet_bench.config.errors import ConfigError


@dataclass(frozen=True)
class EngineOptions:
    """How stacks are trained.

    Attributes:
        workers: Worker processes; None is one per core, or fewer where there are fewer stacks.
        stack_size: The most runs in a stack; None is what suits the device.
        skip_finished: Whether runs that ended before are left alone.
    """

    workers: int | None = None
    stack_size: int | None = None
    skip_finished: bool = True


def parse_engine_options(settings: Mapping[str, object]) -> EngineOptions:
    """Check the launcher's settings.

    Args:
        settings: `engine` (only `local` so far: processes of this machine), `workers`,
            `stack_size` and `skip_finished`.

    Raises:
        ConfigError: Lists what is wrong with them.
    """
    problems = []
    if settings["engine"] != "local":
        problems.append(f"hydra.launcher.engine={settings['engine']}: must be local")
    numbers: dict[str, int] = {}
    for key in ("workers", "stack_size"):
        value = settings[key]
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            numbers[key] = value
        elif value != "auto":
            problems.append(f"hydra.launcher.{key}={value}: must be auto or an integer >= 1")
    skip_finished = settings["skip_finished"]
    if not isinstance(skip_finished, bool):
        problems.append(f"hydra.launcher.skip_finished={skip_finished}: must be true or false")
    if problems:
        raise ConfigError(problems)
    return EngineOptions(**numbers, skip_finished=bool(skip_finished))
