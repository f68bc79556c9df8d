"""Checks the command line before anything runs: all mistakes at once, in about a second.

In: the arguments of `lenet-bench`. Out: nothing, or a `ConfigError` with a line per mistake. Hydra
alone would stop at the first; so every override is looked at by itself, every value of a sweep too,
those that a preset sweeps included.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product, zip_longest
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lenet_bench.choices.image_files import check_folder
from lenet_bench.common.errors import DatasetError
from lenet_bench.config.contradictions import INTERPLAY
from lenet_bench.config.errors import ConfigError, as_typed, nearest
from lenet_bench.config.schema import RunConfig
from lenet_bench.execution.options import parse_engine_options
from lenet_bench.hydra_app.explain import explain
from lenet_bench.hydra_app.groups import CONF
from lenet_bench.hydra_app.plain import plain
from lenet_bench.hydra_app.session import current

MOST_VALUES = 10_000  # of one key; Hydra composes about twenty runs a second
MOST_COMBINATIONS = 2_000  # checked beforehand; the launcher checks each run again
# Launchers that are Hydra's but come apart, and the packages that bring them.
LAUNCHER_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "submitit": "hydra-submitit-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
}


@dataclass(frozen=True)
class _Given:
    """One override, and the values it takes, one unless it sweeps.

    Attributes:
        override: As Hydra reads it.
        values: What it sets the key to.
        options: The choices, where the key is a group; empty otherwise.
        origin: Where it was given, for messages; empty for the command line.
    """

    override: Override
    values: tuple[Any, ...]
    options: tuple[str, ...]
    origin: str = ""

    @property
    def key(self) -> str:
        return self.override.key_or_group

    @property
    def is_hydra(self) -> bool:
        return self.override.is_hydra_override()

    def as_text(self, value: Any) -> str:
        return f"{self.key}={as_typed(value)}{self.origin}"

    def retold(self, problem: str) -> str:
        """A problem with the number as it was typed, where it is too large for a float."""
        if len(self.values) > 1 or self.values[0] not in (math.inf, -math.inf):
            return problem
        typed = str(self.override.input_line).partition("=")[2]
        return problem.replace(f"{self.key}={self.values[0]}:", f"{self.key}={typed}:", 1)

    def bad_choices(self) -> Iterator[str]:
        """What to say about values that are no choice of the group."""
        for value in self.values:
            if self.options and value not in self.options:
                package = (
                    LAUNCHER_PACKAGES.get(str(value)) if self.key == "hydra/launcher" else None
                )
                hint = (
                    f"pip install {package} brings it; "
                    if package
                    else nearest(str(value), self.options)
                )
                yield (
                    f"{self.as_text(value)}: there is no such {self.key.split('/')[-1]}; "
                    f"{hint}allowed: {', '.join(self.options)}"
                )


def check(arguments: Sequence[str]) -> None:
    """Check a command line.

    Raises:
        ConfigError: Lists every mistake: key, value, what is allowed, and the nearest choice.
    """
    args = get_args_parser().parse_args(list(arguments))
    if args.help or args.hydra_help or args.shell_completion or args.config_path:
        return
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise ConfigError([f"--config-dir={args.config_dir}: there is no such folder"])
    if args.resolve and not args.cfg:
        raise ConfigError(["--resolve: goes with --cfg, as in --cfg job --resolve"])
    checker = _Checker(args.config_name or "config", [args.config_dir] if args.config_dir else [])
    problems = list(checker.run(args.overrides))
    if problems:
        raise ConfigError(problems)


class _Checker:
    def __init__(self, config_name: str, folders: Iterable[str]) -> None:
        self.config_name = config_name
        self.search_path = create_config_search_path(str(CONF))
        for folder in folders:
            before = SearchPathQuery(provider="schema")
            self.search_path.prepend("command-line", f"file://{Path(folder).resolve()}", before)
        self.loader = ConfigLoaderImpl(self.search_path)
        self.parser = OverridesParser.create(self.loader)

    def run(self, texts: Sequence[str]) -> Iterator[str]:
        given: dict[str, _Given] = {}
        unsure = set()  # groups with a choice that there is not: their keys cannot be judged
        refused = set()  # keys about which enough is said
        for text in texts:
            try:
                found = self._read(text)
            except ConfigError as error:
                yield from error.problems
                refused.add(text.partition("=")[0].strip("+~ "))
                continue
            bad = list(found.bad_choices())
            if bad:
                yield from bad
                unsure.add(found.key.replace("/", "."))
            else:
                given[found.key] = found
        given = {key: item for key, item in given.items() if key.rpartition(".")[0] not in unsure}
        chosen = {key: item.values[0] for key, item in given.items() if item.options}
        settings = [item for item in given.values() if item.is_hydra and not item.options]
        try:
            base = self._compose(chosen)
        except Exception as error:  # of Hydra's own, of many kinds: a preset that cannot be read
            yield explain(error)
            return
        accepted = []
        for item in settings:
            problem = self._hydra_problem(item, chosen, base)
            if problem:
                yield problem
            else:
                accepted.append(str(item.override.input_line))
        composed = self._compose(chosen, accepted) if accepted else base
        yield from self._launcher_problems(composed)

        # What the preset sweeps counts like the command line, which wins over it.
        swept = composed.hydra.sweeper.get("params") or {}
        for key, text in swept.items():
            if key not in {*given, *unsure}:
                try:
                    found = self._read(f"{key}={text}", " (in the preset)")
                except ConfigError as error:
                    yield from error.problems
                    continue
                bad = list(found.bad_choices())
                yield from bad
                if not bad:
                    given[key] = found
        if str(composed.hydra.sweeper._target_).endswith(".BasicSweeper"):
            for key, item in given.items():
                if item.override.is_interval_sweep():
                    yield (
                        f"{item.override.input_line}: an interval needs a sweeper that draws from "
                        f"it; list values, as in {key}=A,B"
                    )
        mine = {key: item for key, item in given.items() if not item.is_hydra}
        yield from self._value_problems(mine, chosen, plain(composed), refused)

    def _read(self, text: str, origin: str = "") -> _Given:
        """Read one override.

        Raises:
            ConfigError: It cannot be read, or gives what its key cannot take at all.
        """
        try:
            override = self.parser.parse_override(text)
            override.config_loader = self.loader
            override.input_line = text
            values = tuple(islice(self._values(override), MOST_VALUES + 1))
        except (HydraException, ValueError, ZeroDivisionError) as error:
            if text.rstrip().endswith(","):
                how = "a trailing comma); leave it out, or name one value more"
            else:
                how = (
                    f"{explain(error)}); put quotes around special characters, "
                    "as in 'KEY=\"VALUE\"'"
                )
            raise ConfigError([f"{text}{origin}: cannot be read as KEY=VALUE ({how}"]) from None
        key = override.key_or_group
        options = tuple(self.loader.get_group_options(key, ObjectType.CONFIG)) if key else ()
        item = _Given(override, values, options, origin)
        group, _, last = key.rpartition(".")
        choices: list[str] = []
        if group and last == "name":
            choices = self.loader.get_group_options(group, ObjectType.CONFIG)
        problems = []
        if not key:
            problems.append(f"{text}{origin}: cannot be read as KEY=VALUE; it has no key")
        elif item.is_hydra and override.is_sweep_override():
            problems.append(f"{text}{origin}: Hydra's own settings take one value, no sweep")
        elif key == "experiment" and len(values) > 1:
            problems.append(f"{text}{origin}: takes one preset at a time")
        elif key == "plan" and (override.is_sweep_override() or origin):
            problems.append(f"{text}{origin}: must be true or false, and cannot be swept")
        elif choices:
            good = all(value in choices for value in values)
            use = text.partition("=")[2] if good and "=" in text else "CHOICE"
            allowed = "" if good else f"; allowed: {', '.join(choices)}"
            problems.append(f"{text}{origin}: use {group}={use}{allowed}")
        elif not values:
            problems.append(f"{text}{origin}: holds no values; list them, as in {key}=A,B")
        elif len(values) > MOST_VALUES:
            problems.append(f"{text}{origin}: holds more than {MOST_VALUES:,} values")
        elif options and (override.package or override.is_add() or override.is_force_add()):
            problems.append(f"{text}{origin}: must be {key}=CHOICE, without + and @")
        if problems:
            raise ConfigError(problems)
        return item

    def _values(self, override: Override) -> Iterator[Any]:
        if override.is_delete():
            yield None
        elif not override.is_sweep_override():
            yield override.value()
        elif override.is_range_sweep():
            yield from override.sweep_iterator()
        elif override.is_choice_sweep():
            for value in override.sweep_string_iterator():
                yield self.parser.parse_override(f"{override.key_or_group}={value}").value()
        else:
            interval = override.value()
            assert isinstance(interval, IntervalSweep)
            yield from (interval.start, interval.end)

    def _compose(self, chosen: Mapping[str, Any], more: Iterable[str] = ()) -> DictConfig:
        groups = [f"{key}={value}" for key, value in chosen.items()]
        return self.loader.load_configuration(
            self.config_name, [*groups, *more], run_mode=RunMode.MULTIRUN, from_shell=False
        )

    def _hydra_problem(
        self, item: _Given, chosen: Mapping[str, Any], base: DictConfig
    ) -> str | None:
        known: dict[str, Any] = {"hydra": OmegaConf.to_container(base.hydra, resolve=False)}
        unknown = _unknown_key(item, known)
        if unknown and not (item.override.is_add() or item.override.is_force_add()):
            return unknown
        if not unknown and item.override.is_add():
            return _there_already(item)
        text = str(item.override.input_line)
        try:
            hydra = self._compose(chosen, [text]).hydra
        except Exception as error:  # of Hydra's own, of many kinds
            return f"{text}: {explain(error)}"
        sections = [key for key, value in known["hydra"].items() if isinstance(value, dict)]
        lost = [key for key in sections if not isinstance(hydra.get(key), DictConfig)]
        return f"{text}: must be settings, as in {item.key}.KEY=VALUE" if lost else None

    def _launcher_problems(self, composed: DictConfig) -> Iterator[str]:
        launcher = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
        if isinstance(launcher, dict) and str(launcher["_target_"]).endswith(".StackedLauncher"):
            try:
                parse_engine_options({str(key): value for key, value in launcher.items()})
            except ConfigError as error:
                yield from error.problems

    def _value_problems(
        self,
        given: Mapping[str, _Given],
        chosen: Mapping[str, Any],
        base: Mapping[str, Any],
        refused: set[str],
    ) -> Iterator[str]:
        """Problems of keys: each value by itself, then the allowed ones together."""
        parser = current().parser
        sections = self._sections(given, chosen, base)
        allowed: list[tuple[_Given, tuple[Any, ...]]] = []
        for item in given.values():
            if item.options:
                continue
            top = item.key.partition(".")[0]
            values = item.values
            alternatives = [{**base, top: section} for section in sections.get(top, [])]
            for config in alternatives or [dict(base)]:
                unknown = _unknown_key(item, config)
                if unknown or item.override.is_add():
                    yield unknown or _there_already(item)
                    values = ()
                    continue
                others = set(_problems(parser.validate, config))
                for value in item.values:
                    found = [
                        problem
                        for problem in _problems(
                            current().parser.validate, _with(config, item, value)
                        )
                        if problem not in others
                    ]
                    if found:
                        yield from map(item.retold, found)
                        values = tuple(other for other in values if other is not value)
            if values:
                allowed.append((item, values if item.key.startswith(INTERPLAY) else values[:1]))
            else:
                refused.add(item.key)
        together = product(product(*sections.values()), product(*(values for _, values in allowed)))
        folders = set()
        for picked, values in islice(together, MOST_COMBINATIONS):
            run = {**base, **dict(zip(sections, picked, strict=True))}
            for (item, _), value in zip(allowed, values, strict=True):
                if not _unknown_key(item, run):
                    run = _with(run, item, value)
            for problem in _problems(parser.parse, run):
                if problem.partition(":")[0] not in refused:
                    yield problem
            if run["dataset"]["name"] == "image_folder":
                folders.add(str(run["dataset"]["root"]))
        for folder in sorted(folders):
            root = Path(folder).expanduser()
            if (root / "train").is_dir():  # or it has been said
                try:
                    check_folder(root)
                except (DatasetError, OSError) as error:
                    yield str(error)

    def _sections(
        self, given: Mapping[str, _Given], chosen: Mapping[str, Any], base: Mapping[str, Any]
    ) -> dict[str, list[Any]]:
        """The sections of swept groups, one for each choice whose keys are set or must be."""
        touched = {key.partition(".")[0] for key in given if "." in key}
        touched.add("dataset")  # the size of each is held against batch size and warm-up
        needed = {
            key: [
                value
                for value in item.values
                if key in touched or self._lacks_a_value(f"{key}/{value}")
            ]
            for key, item in given.items()
            if item.options and (len(item.values) > 1 or key not in chosen)
        }
        sections: dict[str, list[Any]] = {
            key: [] if key in touched else [base[key]] for key, values in needed.items() if values
        }
        for picked in zip_longest(*(needed[key] for key in sections)):
            choices = {
                key: value for key, value in zip(sections, picked, strict=True) if value is not None
            }
            composed = plain(self._compose({**chosen, **choices}))
            for key in choices:
                sections[key].append(composed[key])
        return sections

    def _lacks_a_value(self, path: str) -> bool:
        found = self.loader.repository.load_config(path)
        return found is not None and bool(OmegaConf.missing_keys(found.config))


def _problems(
    checked_by: Callable[[Mapping[str, Any]], RunConfig], config: Mapping[str, Any]
) -> list[str]:
    try:
        if "${" in str(config):
            config = plain(OmegaConf.create(dict(config)))
        checked_by(config)
    except ConfigError as error:
        return error.problems
    except OmegaConfBaseException as error:
        return [explain(error)]
    return []


def _unknown_key(item: _Given, config: Mapping[str, Any]) -> str | None:
    """What to say about a key that the configuration does not have; None if it has it."""
    node: Any = config
    found: list[str] = []
    for part in item.key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            break
        node = node[part]
        found.append(part)
    else:
        return None
    above = ".".join(found)
    text = item.as_text(item.values[0])
    if not isinstance(node, Mapping):
        return f"{text}: {above} holds a value, no keys"
    prefix = f"{above}." if above else ""
    own = [key for key in node if key not in ("name", "_target_")]
    where = f"{above}={node['name']}" if "name" in node and len(found) == 1 else above
    elsewhere = [key for key in _keys(config) if not key.endswith(".name")]
    near = nearest(part, own, prefix) or ("" if above else nearest(part, elsewhere))
    return (
        f"{text}: {where or 'the configuration'} has no such key; "
        f"{near}it has {', '.join(prefix + key for key in own) or 'none'}"
    )


def _there_already(item: _Given) -> str:
    return f"{item.override.input_line}: {item.key} is there already; leave out the +"


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
        node = node[part]
    if item.override.is_delete():
        node.pop(last, None)
    else:
        node[last] = value
    return result
