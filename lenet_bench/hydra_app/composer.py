"""Hydra's loader as the check of the command line needs it.

In: choices of groups and Hydra's settings. Out: a composed configuration. Nothing else is applied
to it, so that a mistake in one key does not hide the mistakes in others.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lenet_bench.hydra_app.groups import CONF


class Composer:
    """Composes configurations for the check.

    Args:
        config_name: The file at the top, without its extension.
        folders: Folders of the user's that are searched first, as with `--config-dir`.
    """

    def __init__(self, config_name: str, folders: Iterable[str]) -> None:
        search_path = create_config_search_path(str(CONF))
        folders = list(folders)
        for folder in folders:
            before = SearchPathQuery(provider="schema")
            search_path.prepend("command-line", f"file://{Path(folder).resolve()}", before)
        self.folders = [*(Path(folder) for folder in folders), CONF]
        self._config_name = config_name
        self.loader = ConfigLoaderImpl(search_path)
        self.parser = OverridesParser.create(self.loader)

    def compose(self, choices: Mapping[str, object], settings: Iterable[str] = ()) -> DictConfig:
        """Compose the configuration of a sweep.

        Args:
            choices: What is chosen from groups.
            settings: Overrides of Hydra's own keys.
        """
        groups = [f"{group}={choice}" for group, choice in choices.items()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Hydra warns again where it composes
            return self.loader.load_configuration(
                self._config_name, [*groups, *settings], run_mode=RunMode.MULTIRUN, from_shell=False
            )

    def options(self, group: str) -> tuple[str, ...]:
        """The choices of a group; none where there is no such group."""
        return tuple(self.loader.get_group_options(group, ObjectType.CONFIG)) if group else ()

    def lacks_a_value(self, group: str, choice: object) -> bool:
        """Whether a choice has a key that the user must give."""
        found = self.loader.repository.load_config(f"{group}/{choice}")
        return found is not None and bool(OmegaConf.missing_keys(found.config))
