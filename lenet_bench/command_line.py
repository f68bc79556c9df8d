"""Checks the command line before anything runs: all mistakes at once, in about a second.

In: the arguments of `lenet-bench`. Out: nothing, or a `ConfigError` with a line per mistake. Hydra
alone would stop at the first; so every override is looked at by itself, every value of a sweep too,
those that a preset sweeps included.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lenet_bench import sweep
from lenet_bench.activations import ACTIVATIONS
from lenet_bench.config import ConfigError, nearest, parse

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries `conf` inside the package; a checkout has it beside.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
VERSION_BASE = "1.3"


def register_activations() -> None:
    """Make every entry of the zoo a choice of the group `activation`."""
    for entry in ACTIVATIONS.values():
        node = {"name": entry.name, **entry.complete()}
        ConfigStore.instance().store(
            group="activation", name=entry.name, node=node, provider="lenet_bench"
        )


@dataclass(frozen=True)
class _Given:
    """One override: its text, and the values it takes, one unless it sweeps."""

    override: Override
    values: tuple[Any, ...]

    @property
    def key(self) -> str:
        return self.override.key_or_group

    def as_text(self, value: Any) -> str:
        shown = "null" if value is None else str(value).lower() if value in (True, False) else value
        return f"{self.key}={shown}"


def check(arguments: Sequence[str]) -> None:
    """Check a command line.

    Raises:
        ConfigError: Lists every mistake: key, value, what is allowed, and the nearest choice.
    """
    args = get_args_parser().parse_args(list(arguments))
    if args.help or args.hydra_help or args.shell_completion or args.config_path:
        return
    extra = [f"hydra.searchpath=[{Path(args.config_dir).resolve()}]"] if args.config_dir else []
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        problems = list(_Checker(loader, args.config_name or "config", extra).run(args.overrides))
    if problems:
        raise ConfigError(problems)


class _Checker:
    def __init__(self, loader: ConfigLoader, config_name: str, extra: list[str]) -> None:
        self.loader = loader
        self.config_name = config_name
        self.extra = extra
        self.parser = OverridesParser.create(config_loader=loader)

    def run(self, texts: Sequence[str]) -> Iterator[str]:
        given: dict[str, _Given] = {}
        for text in texts:
            try:
                found = self._read(text)
            except HydraException as error:
                yield f"{text}: cannot be read as KEY=VALUE ({_first_line(error)})"
            else:
                given[found.key] = found
        preset = given.get("experiment")
        if preset and len(preset.values) > 1:
            yield "experiment: takes one preset at a time"
            del given["experiment"]

        groups = {key: self._options(key) for key in given}
        for key, options in groups.items():
            if options:
                allowed = [*options, None] if key == "experiment" else options
                bad = [value for value in given[key].values if value not in allowed]
                for value in bad:
                    yield (
                        f"{given[key].as_text(value)}: there is no such {key.split('/')[-1]}; "
                        f"{nearest(str(value), options)}allowed: {', '.join(options)}"
                    )
                good = tuple(value for value in given[key].values if value in allowed)
                given[key] = _Given(given[key].override, good)
        chosen = {
            key: given[key].values[0] for key, options in groups.items() if options if given[key].values
        }
        hydra = [text for text in texts if text.lstrip("+~").startswith("hydra.")]
        try:
            composed = self._compose(chosen, hydra)
        except (HydraException, OmegaConfBaseException) as error:
            yield _first_line(error)
            return
        yield from self._launcher_problems(composed)

        # What the preset sweeps counts like the command line, which wins over it.
        for key, text in (composed.hydra.sweeper.get("params") or {}).items():
            if key not in given:
                found = self._read(f"{key}={text}")
                options = self._options(key)
                bad = [value for value in found.values if options and value not in options]
                for value in bad:
                    yield (
                        f"{found.as_text(value)} (in the preset): there is no such {key}; "
                        f"{nearest(str(value), options)}allowed: {', '.join(options)}"
                    )
                given[key] = found
                groups[key] = options
        yield from self._value_problems(given, groups, chosen, sweep.plain(composed))

    def _read(self, text: str) -> _Given:
        override = self.parser.parse_override(text)
        if override.is_sweep_override() and override.is_discrete_sweep():
            key = override.get_key_element()
            each = (
                self.parser.parse_override(f"{key}={value}")
                for value in override.sweep_string_iterator()
            )
            return _Given(override, tuple(item.value() for item in each))
        return _Given(override, (None if override.is_delete() else override.value(),))

    def _options(self, key: str) -> list[str]:
        return list(self.loader.get_group_options(key, results_filter=ObjectType.CONFIG))

    def _compose(self, chosen: Mapping[str, Any], more: Sequence[str] = ()) -> DictConfig:
        groups = [f"{key}={'null' if value is None else value}" for key, value in chosen.items()]
        return compose(
            self.config_name, [*self.extra, *groups, *more], return_hydra_config=True
        )

    def _launcher_problems(self, composed: DictConfig) -> Iterator[str]:
        launcher = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
        if isinstance(launcher, dict) and str(launcher["_target_"]).endswith(".StackedLauncher"):
            try:
                sweep.engine_options({str(key): value for key, value in launcher.items()})
            except ConfigError as error:
                yield from error.problems

    def _value_problems(
        self,
        given: Mapping[str, _Given],
        groups: Mapping[str, Sequence[str]],
        chosen: Mapping[str, Any],
        base: Mapping[str, Any],
    ) -> Iterator[str]:
        """Problems of plain keys, each value put into the configuration by itself."""
        overrides = [item for key, item in given.items() if not groups[key] and key[:6] != "hydra."]
        sections = self._sections(given, groups, chosen, base)
        settled = copy.deepcopy(dict(base))  # with one value of every override
        complete = True
        for item in overrides:
            top, _, rest = item.key.partition(".")
            for section in sections.get(top, [base]) if rest else [base]:
                unknown = _unknown_key(item, section, top, bool(self._options(top)))
                if unknown and not item.override.is_add():
                    yield unknown
                    complete = False
                    continue
                for value in item.values:
                    yield from _problems(_with(section, item, value))
            if not _unknown_key(item, settled, top, False) or item.override.is_add():
                settled = _with(settled, item, item.values[0])
        if complete:
            yield from _problems(settled)

    def _sections(
        self,
        given: Mapping[str, _Given],
        groups: Mapping[str, Sequence[str]],
        chosen: Mapping[str, Any],
        base: Mapping[str, Any],
    ) -> dict[str, list[Mapping[str, Any]]]:
        """Where a group is swept and one of its keys is set: the configuration of each choice."""
        touched = {key.partition(".")[0] for key in given if "." in key}
        return {
            key: [sweep.plain(self._compose({**chosen, key: value})) for value in item.values]
            for key, item in given.items()
            if groups[key] and key in touched and len(item.values) > 1
        }


def _problems(config: Mapping[str, Any]) -> list[str]:
    try:
        parse(config)
    except ConfigError as error:
        return error.problems
    return []


def _unknown_key(
    item: _Given, config: Mapping[str, Any], top: str, is_group: bool
) -> str | None:
    """What to say about a key that the configuration does not have; None if it has it."""
    node: Any = config
    for part in item.key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            break
        node = node[part]
    else:
        return None
    text = item.as_text(item.values[0])
    section = config.get(top)
    if is_group and isinstance(section, Mapping):
        own = [f"{top}.{key}" for key in section if key != "name"]
        return (
            f"{text}: {top}={section.get('name')} has no such key; "
            f"{nearest(item.key, own)}it has {', '.join(own) or 'none'}"
        )
    known = list(_keys(config))
    return f"{text}: there is no such key; {nearest(item.key, known)}".rstrip("; ")


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        yield f"{prefix}{key}"


def _with(config: Mapping[str, Any], item: _Given, value: Any) -> dict[str, Any]:
    """A copy of a configuration with one key set, or removed."""
    result = copy.deepcopy(dict(config))
    node = result
    *path, last = item.key.split(".")
    for part in path:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    if item.override.is_delete():
        node.pop(last, None)
    else:
        node[last] = value
    return result


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
