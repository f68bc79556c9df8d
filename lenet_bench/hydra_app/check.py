"""Checks the command line before anything runs: all mistakes at once, in about a second.

In: the arguments of `lenet-bench`. Out: the arguments for Hydra, or a `ConfigError` with a line per
mistake. Hydra alone would stop at the first mistake; so every override is looked at by itself, then
every value of a sweep, the sweeps of a preset included.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lenet_bench.config.errors import ConfigError
from lenet_bench.hydra_app.composer import Composer
from lenet_bench.hydra_app.explain import explain
from lenet_bench.hydra_app.hydra_settings import (
    check_settings,
    launcher_problems,
    structure_problems,
)
from lenet_bench.hydra_app.keys import unknown_key
from lenet_bench.hydra_app.overrides import BadChoiceError, Given, read
from lenet_bench.hydra_app.plain import plain
from lenet_bench.hydra_app.session import current
from lenet_bench.hydra_app.values import Request, find_problems

MOST_COMBINATIONS = 100_000  # of a sweep; composing them takes minutes


def check(arguments: Sequence[str]) -> list[str]:
    """Check a command line.

    Returns:
        The arguments for Hydra: as given, except for keys that only some choices of a swept group
        have. Hydra first composes a configuration without any sweep, which may lack such a key;
        so these are passed on as `++KEY=VALUE`, and the session remembers how they were typed.

    Raises:
        ConfigError: Lists every mistake: key, value, what is allowed, and the nearest choice.
    """
    flags = get_args_parser().parse_args(list(arguments))
    if flags.help or flags.hydra_help or flags.shell_completion or flags.config_path:
        return list(arguments)
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise ConfigError([f"--config-dir={flags.config_dir}: there is no such folder"])
    if flags.resolve and not flags.cfg:
        raise ConfigError(["--resolve: goes with --cfg, as in --cfg job --resolve"])
    if flags.multirun and "hydra.mode=RUN" in flags.overrides:
        raise ConfigError(["--multirun: contradicts hydra.mode=RUN; leave one of them out"])
    folders = [flags.config_dir] if flags.config_dir else []
    composer = Composer(flags.config_name or "config", folders)
    request, problems = _understand(flags.overrides, composer)
    if request is not None:
        problems += find_problems(request, composer, current().parser)
    if problems:
        raise ConfigError(problems)
    assert request is not None
    return _for_hydra(arguments, flags, request, composer)


def _understand(overrides: Sequence[str], composer: Composer) -> tuple[Request | None, list[str]]:
    """Read the overrides, and what the chosen preset adds to them.

    Returns:
        What the command asks for, as far as it can be understood, and the mistakes so far; None
        where the configuration cannot even be composed.
    """
    given, unsure, refused, problems = _read_all(overrides, composer)
    choices = {key: item.values[0] for key, item in given.items() if item.options}
    settings = [item for item in given.values() if item.is_hydra and not item.options]
    try:
        base = composer.compose(choices)
    except RecursionError:
        chosen = " ".join(f"{group}={choice}" for group, choice in choices.items())
        return None, [*problems, f"{chosen}: files name each other in a circle of defaults"]
    except Exception as error:  # of Hydra's own, of many kinds: a preset that cannot be read
        return None, [*problems, explain(error)]
    usable, unusable = check_settings(settings, choices, base, composer)
    composed = composer.compose(choices, usable) if usable else base
    problems += unusable
    problems += structure_problems(composed.hydra)
    problems += launcher_problems(composed)
    if composed.hydra.mode != RunMode.RUN:
        # What the preset sweeps counts like the command line, which wins over it.
        swept, wrong = _read_preset(composed, {*given, *unsure}, composer)
        given |= swept
        problems += wrong
    if composed.hydra.mode == RunMode.RUN:
        problems += _problems_of_sweeps(given.values())
    elif str(composed.hydra.sweeper._target_).endswith(".BasicSweeper"):
        problems += _problems_of_intervals(given.values())
        problems += _problems_of_number(given.values(), composed.hydra)
    own = {key: item for key, item in given.items() if not item.is_hydra}
    return Request(own, choices, plain(composed), refused), problems


def _read_all(
    overrides: Sequence[str], composer: Composer
) -> tuple[dict[str, Given], set[str], set[str], list[str]]:
    """Read the overrides of the command line.

    Returns:
        Those that can be judged, by key; groups with a choice that does not exist, whose keys
        cannot be judged; keys that are wrong already; and the problems.
    """
    given: dict[str, Given] = {}
    unsure: set[str] = set()
    refused: set[str] = set()
    problems: list[str] = []
    seen: dict[str, str] = {}
    for text in overrides:
        key = text.partition("=")[0].strip("+~ ")
        if seen.setdefault(key, text) != text:
            sweep = "" if key.startswith("hydra") else f", or list values to sweep, as in {key}=A,B"
            problems.append(f"{text}: contradicts {seen[key]}; give {key} once{sweep}")
            refused.add(key)
            continue
        try:
            item = read(text, composer)
        except BadChoiceError as error:
            problems += error.problems
            unsure.add(error.group.replace("/", "."))
        except ConfigError as error:
            problems += error.problems
            refused.add(key)
        else:
            given[item.key] = item
    given = {key: item for key, item in given.items() if key.rpartition(".")[0] not in unsure}
    return given, unsure, refused, problems


def _read_preset(
    composed: DictConfig, known: set[str], composer: Composer
) -> tuple[dict[str, Given], list[str]]:
    """Read what the preset sweeps, except for keys that are known already."""
    given: dict[str, Given] = {}
    problems: list[str] = []
    for key, text in (composed.hydra.sweeper.get("params") or {}).items():
        if key not in known:
            try:
                given[key] = read(f"{key}={text}", composer, " (in the preset)")
            except ConfigError as error:
                problems += error.problems
    return given, problems


def _problems_of_intervals(given: Iterable[Given]) -> Iterator[str]:
    """What to say about intervals, which Hydra's own sweeper cannot sweep."""
    for item in given:
        if item.override.is_interval_sweep():
            yield (
                f"{item.text}: an interval needs a sweeper that draws from it; "
                f"list values, as in {item.key}=A,B"
            )


def _problems_of_sweeps(given: Iterable[Given]) -> Iterator[str]:
    """What to say about several values where a single run is asked for."""
    for item in given:
        if item.override.is_sweep_override() and not item.is_hydra:
            yield f"{item.text}: hydra.mode=RUN trains one run; leave it out to sweep"


def _problems_of_number(given: Iterable[Given], hydra: DictConfig) -> Iterator[str]:
    """What to say about more combinations than can be composed, or than have a folder each."""
    swept = [item for item in given if len(item.values) > 1 and not item.is_hydra]
    combinations = math.prod(len(item.values) for item in swept)
    if combinations > MOST_COMBINATIONS:
        swept.sort(key=lambda item: -len(item.values))
        numbers = ", ".join(f"{item.key} ({len(item.values):,} values)" for item in swept)
        yield (
            f"{combinations:,} combinations: a sweep has at most {MOST_COMBINATIONS:,}; "
            f"this one sweeps {numbers}"
        )
    folder = str(OmegaConf.to_container(hydra.sweep, resolve=False)["subdir"])  # type: ignore[index, call-overload]
    if combinations > 1 and "${" not in folder:
        yield (
            f"hydra.sweep.subdir={folder}: all {combinations:,} runs would be written into this "
            f"folder; leave it out, or name what differs, as in {folder}-${{seed}}"
        )


def _for_hydra(
    arguments: Sequence[str], flags: Namespace, request: Request, composer: Composer
) -> list[str]:
    """The arguments for Hydra."""
    swept = request.swept_groups
    partial = [
        item
        for key, item in request.given.items()
        if key.partition(".")[0] in swept
        and "." in key
        and not (item.origin or item.override.is_sweep_override())
    ]
    if not partial:
        return list(arguments)
    # Hydra composes without what is swept.
    unswept = {group: choice for group, choice in request.choices.items() if group not in swept}
    first = plain(composer.compose(unswept))
    keys = {item.key for item in partial if unknown_key(item, first)}
    lacking = [text for text in flags.overrides if text.partition("=")[0].lstrip("+") in keys]
    if flags.cfg or flags.info:  # shows that configuration, which has no such key
        return [text for text in arguments if text not in lacking]
    forced = {text: f"++{text.lstrip('+')}" for text in lacking}
    current().typed.update({now: text for text, now in forced.items()})
    return [forced.get(text, text) for text in arguments]
