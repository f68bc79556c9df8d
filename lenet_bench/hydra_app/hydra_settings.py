"""Checks Hydra's own settings: keys below `hydra.`, and the options of the launcher `stacked`.

In: overrides of such keys. Out: the settings that can be used, and a line for each other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lenet_bench.config.errors import ConfigError
from lenet_bench.execution.options import parse_engine_options
from lenet_bench.hydra_app.composer import Composer
from lenet_bench.hydra_app.explain import explain
from lenet_bench.hydra_app.keys import there_already, unknown_key
from lenet_bench.hydra_app.overrides import Given


def check_settings(
    items: Sequence[Given], choices: Mapping[str, object], base: DictConfig, composer: Composer
) -> tuple[list[str], list[str]]:
    """Check overrides of Hydra's keys, each by itself.

    Args:
        items: The overrides.
        choices: What is chosen from groups.
        base: The configuration composed of these choices.
        composer: Composes others.

    Returns:
        The overrides that can be used, and the problems of the others.
    """
    usable, problems = [], []
    for item in items:
        problem = _problem(item, choices, base, composer)
        if problem:
            problems.append(problem)
        else:
            usable.append(item.text)
    return usable, problems


def launcher_problems(composed: DictConfig) -> Iterator[str]:
    """What is wrong with the options of the launcher, if it is `stacked`."""
    launcher = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
    if isinstance(launcher, dict) and str(launcher["_target_"]).endswith(".StackedLauncher"):
        try:
            parse_engine_options({str(key): value for key, value in launcher.items()})
        except ConfigError as error:
            yield from error.problems


def _problem(
    item: Given, choices: Mapping[str, object], base: DictConfig, composer: Composer
) -> str | None:
    known: dict[str, Any] = {"hydra": OmegaConf.to_container(base.hydra, resolve=False)}
    unknown = unknown_key(item, known)
    if unknown and not (item.override.is_add() or item.override.is_force_add()):
        return unknown
    if not unknown and item.override.is_add():
        return there_already(item)
    try:
        hydra = composer.compose(choices, [item.text]).hydra
    except Exception as error:  # of Hydra's own, of many kinds
        return f"{item.text}: {explain(error)}"
    sections = [key for key, value in known["hydra"].items() if isinstance(value, dict)]
    lost = [key for key in sections if not isinstance(hydra.get(key), DictConfig)]
    return f"{item.text}: must be settings, as in {item.key}.KEY=VALUE" if lost else None
