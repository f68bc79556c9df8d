"""How a sweep is trained: the options of the launcher, `hydra.launcher.KEY=VALUE`.

In: the launcher's settings. Out: `EngineOptions`, or a `ConfigError` that lists what is wrong.
"""

from __future__ import annotations

import math
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
        timeout: Seconds without a word from a worker, after which it is killed; 0 is never.
        resume_anyway: Whether a sweep goes on that was begun otherwise.
    """

    workers: int | None = None
    stack_size: int | None = None
    skip_finished: bool = True
    timeout: float = 1800.0
    resume_anyway: bool = False


def parse_engine_options(settings: Mapping[str, object]) -> EngineOptions:
    """Check the launcher's settings.

    Args:
        settings: `engine` (only `local` so far: processes of this machine), `workers`,
            `stack_size`, `skip_finished` and `timeout`.

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
    timeout = settings["timeout"]
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        timeout = math.nan
    if not 0 <= timeout < math.inf:
        problems.append(
            f"hydra.launcher.timeout={settings['timeout']}: must be a number of seconds >= 0; "
            "0 is never"
        )
    if problems:
        raise ConfigError(problems)
    return EngineOptions(
        workers=numbers.get("workers"),
        stack_size=numbers.get("stack_size"),
        skip_finished=bool(skip_finished),
        timeout=float(timeout),
    )
