"""Configurations of a sweep's jobs, the same as Hydra composes them, some twenty times sooner.

In: the configuration of a sweep and the overrides of a job. Out: the job's configuration. Hydra
reads every file anew for every job. Which files it reads depends on the overrides that choose from
groups alone; so each combination of those is composed once, by Hydra, and all other overrides are
applied to a copy of it, by the function with which Hydra applies them. What could depend on more
than that is left to Hydra.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lenet_bench.hydra_app.fast_copies import duplicate


@dataclass(frozen=True)
class _Family:
    """The jobs of a sweep whose overrides choose the same from groups.

    Attributes:
        template: Their configuration before any other override.
        interpolated: Keys of it whose values refer to others.
    """

    template: DictConfig
    interpolated: tuple[str, ...]


@dataclass
class _Known:
    """What was found out about a sweep: it holds for jobs with the same overrides of Hydra's."""

    repository: CachingConfigRepository
    is_group: dict[str, bool] = field(default_factory=dict)
    families: dict[tuple[str, ...], _Family] = field(default_factory=dict)


class SweepLoader(ConfigLoaderImpl):
    """Hydra's loader, which composes the jobs of a sweep faster.

    The files of the configuration are taken to stay as they are while it lives.

    Args:
        search_path: Where they lie.
        composed: Called after each job.
    """

    def __init__(self, search_path: ConfigSearchPath, composed: Callable[[], None]) -> None:
        super().__init__(search_path)
        self._composed = composed
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._known: dict[tuple[str | None, ...], _Known] = {}

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Compose the configuration of a job.

        Args:
            master_config: That of the sweep.
            sweep_overrides: Those of the job.

        Raises:
            ConfigCompositionException: What Hydra raises; it composes whatever cannot be composed
                here, mistakes included.
        """
        config = self._quickly(master_config, sweep_overrides)
        if config is None:
            config = super().load_sweep_config(master_config, sweep_overrides)
        self._composed()
        return config

    def _quickly(self, master: DictConfig, texts: list[str]) -> DictConfig | None:
        """The configuration of a job, None where only Hydra can tell."""
        try:
            overrides = [self._parse(text) for text in texts]
            if not all(_is_simple(override) for override in overrides):
                return None
            known = self._about(master)
            chosen: list[Override] = []
            others: list[Override] = []
            for override in overrides:
                # As Hydra tells them apart, in hydra._internal.defaults_list.Overrides.
                key = override.key_or_group
                if key not in known.is_group:
                    known.is_group[key] = known.repository.group_exists(key)
                is_choice = known.is_group[key] and not isinstance(override.value(), dict)
                (chosen if is_choice else others).append(override)
            groups = tuple(str(override.input_line) for override in chosen)
            if groups not in known.families:
                template = super().load_sweep_config(master, list(groups))
                known.families[groups] = _Family(template, tuple(_interpolated(template)))
            family = known.families[groups]
            if any(_meets(item.key_or_group, family.interpolated) for item in others):
                return None
            config = duplicate(family.template)
            self._apply_overrides_to_config(others, config)
        except (HydraException, OmegaConfBaseException, ValueError):
            return None  # Hydra raises it again, with what belongs to it
        _note(config, overrides)
        OmegaConf.copy_cache(from_config=master, to_config=config)
        return config

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_overrides([text])[0]
        return self._parsed[text]

    def _about(self, master: DictConfig) -> _Known:
        hydra: Any = OmegaConf.to_container(master.hydra.overrides.hydra)
        name: str | None = master.hydra.job.config_name
        key = (name, *hydra)
        if key not in self._known:
            # Hydra's overrides may add to the folders that are searched for groups.
            _, repository = self._parse_overrides_and_create_caching_repo(name, hydra)
            self._known[key] = _Known(repository)
        return self._known[key]


def _is_simple(override: Override) -> bool:
    """Whether an override does the same whatever stands elsewhere in the configuration."""
    return not (
        override.is_sweep_override()
        or override.key_or_group.replace("/", ".").partition(".")[0] == "hydra"
        or override.is_delete()
        or override.package
        or "${" in str(override.input_line)
    )


def _interpolated(config: DictConfig) -> Iterator[str]:
    """Keys outside the `hydra` node whose values refer to others."""

    def walk(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, Mapping):
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}" if path else str(key))
        elif "${" in str(node):
            yield path

    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    content.pop("hydra")
    return walk(content, "")


def _meets(key: str, others: tuple[str, ...]) -> bool:
    """Whether a key is one of others, lies below one, or above."""
    return any(f"{key}.".startswith(f"{other}.") or other.startswith(f"{key}.") for other in others)


def _note(config: DictConfig, overrides: list[Override]) -> None:
    """Write into the `hydra` node of a job what Hydra writes there once it has composed it."""
    hydra = config.hydra
    hydra.overrides.task.clear()
    for override in overrides:
        hydra.overrides.task.append(override.input_line)
    with open_dict(hydra):
        for variable in hydra.job.env_copy:
            hydra.job.env_set[variable] = os.environ[variable]
    hydra.runtime.cwd = str(os.getcwd())  # noqa: PTH109 (as Hydra does)
    named_by = hydra.job.config.override_dirname
    hydra.job.override_dirname = get_overrides_dirname(
        overrides=overrides,
        kv_sep=named_by.kv_sep,
        item_sep=named_by.item_sep,
        exclude_keys=named_by.exclude_keys,
    )
