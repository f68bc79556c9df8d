"""From a composed configuration to a `RunConfig`, or to all that is wrong with it.

In: the mapping that Hydra composed, without its `hydra` node. Out: a frozen `RunConfig`, or a
`ConfigError` with a line per mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from lenet_bench.config.contradictions import find_contradictions
from lenet_bench.config.errors import ConfigError
from lenet_bench.config.messages import describe
from lenet_bench.config.schema import RunConfig


def validate(composed: Mapping[str, Any]) -> RunConfig:
    """Check every value of a composed configuration by itself: the first half of `parse`.

    Raises:
        ConfigError: Lists every mistake: the key, the value given, and what is allowed.
    """
    try:
        return RunConfig.model_validate(dict(composed))
    except pydantic.ValidationError as error:
        raise ConfigError(describe(item, composed) for item in error.errors()) from None


def parse(composed: Mapping[str, Any]) -> RunConfig:
    """Check a composed configuration: every value by itself, then all of them together.

    Raises:
        ConfigError: Lists every mistake: the key, the value given, and what is allowed.
    """
    return _without_contradictions(validate(composed))


class Parser:
    """Parses the configurations of one command, each distinct one once.

    The same configuration comes by several times: when the command line is checked, when its run
    is named, and when it is trained. What it refers to on disk must not change meanwhile.
    """

    def __init__(self) -> None:
        self._validated: dict[str, RunConfig | ConfigError] = {}
        self._parsed: dict[str, RunConfig | ConfigError] = {}

    def validate(self, composed: Mapping[str, Any]) -> RunConfig:
        """As the function `validate`."""
        return _remembered(self._validated, composed, validate)

    def parse(self, composed: Mapping[str, Any]) -> RunConfig:
        """As the function `parse`."""

        def check(content: Mapping[str, Any]) -> RunConfig:
            return _without_contradictions(self.validate(content))

        return _remembered(self._parsed, composed, check)


def _without_contradictions(config: RunConfig) -> RunConfig:
    problems = list(find_contradictions(config))
    if problems:
        raise ConfigError(problems)
    return config


def _remembered(
    known: dict[str, RunConfig | ConfigError],
    composed: Mapping[str, Any],
    check: Callable[[Mapping[str, Any]], RunConfig],
) -> RunConfig:
    key = repr(composed)  # tells 1 from 1.0, true and "1"
    if key not in known:
        try:
            known[key] = check(composed)
        except ConfigError as error:
            known[key] = error
    result = known[key]
    if isinstance(result, ConfigError):
        raise ConfigError(result.problems)  # a traceback of its own for each
    return result
