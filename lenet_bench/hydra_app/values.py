"""Checks values: each by itself, then those that are allowed in all their combinations.

In: the overrides of the run's own keys, sweeps included. Out: a line for each mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product, zip_longest
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lenet_bench.choices.image_files import check_folder, expand_home, holds_train
from lenet_bench.common.errors import DatasetError
from lenet_bench.config.contradictions import INTERPLAY
from lenet_bench.config.errors import ConfigError
from lenet_bench.config.parse import Parser
from lenet_bench.config.schema import RunConfig
from lenet_bench.hydra_app.composer import Composer
from lenet_bench.hydra_app.explain import explain
from lenet_bench.hydra_app.keys import there_already, unknown_key, with_key
from lenet_bench.hydra_app.overrides import Given
from lenet_bench.hydra_app.plain import plain
from lenet_bench.planning.estimates import memory_problem

MOST_COMBINATIONS = 2_000  # checked beforehand; the launcher checks each run again


@dataclass(frozen=True)
class Request:
    """What a command asks for.

    Attributes:
        given: The overrides of the run's own keys, by key.
        choices: The choice of each group that the command line sets, the first where it sweeps.
        base: The configuration composed of these choices, as plain containers.
        refused: Keys that were found wrong already.
    """

    given: Mapping[str, Given]
    choices: Mapping[str, object]
    base: Mapping[str, Any]
    refused: Collection[str]

    @property
    def swept_groups(self) -> dict[str, Given]:
        """The groups that are swept, by the command line or the preset."""
        return {
            key: item
            for key, item in self.given.items()
            if item.options and (len(item.values) > 1 or key not in self.choices)
        }


def find_problems(request: Request, composer: Composer, parser: Parser) -> Iterator[str]:
    """What is wrong with the values that a command asks for."""
    sections = _sections(request, composer)
    refused = set(request.refused)
    allowed: list[tuple[Given, tuple[object, ...]]] = []
    for item in request.given.values():
        if item.options:
            continue
        group = item.key.partition(".")[0]
        alternatives = [{**request.base, group: each} for each in sections.get(group, [])]
        problems, values = _check_key(item, alternatives or [dict(request.base)], parser)
        yield from problems
        if values:
            allowed.append((item, values if item.key.startswith(INTERPLAY) else values[:1]))
        else:
            refused.add(item.key)
    folders: set[str] = set()
    for run in _combinations(request.base, sections, allowed):
        problems = _problems(parser.parse, run)
        for problem in problems:
            if problem.partition(":")[0] not in refused:
                yield problem
        if not problems and (too_large := memory_problem(parser.parse(run))):
            yield too_large
        if run["dataset"]["name"] == "image_folder":
            folders.add(str(run["dataset"]["root"]))
    yield from _problems_of_folders(folders)


def _sections(request: Request, composer: Composer) -> dict[str, list[object]]:
    """The sections of swept groups: one for each choice whose keys are set or must be."""
    touched = {key.partition(".")[0] for key in request.given if "." in key}
    touched.add("dataset")  # the size of each is held against batch size and warm-up
    needed = {
        group: [
            choice
            for choice in item.values
            if group in touched or composer.lacks_a_value(group, choice)
        ]
        for group, item in request.swept_groups.items()
    }
    sections: dict[str, list[object]] = {
        group: [] if group in touched else [request.base[group]]
        for group, choices in needed.items()
        if choices
    }
    # Composing takes its time: one choice of each group at once.
    for picked in zip_longest(*(needed[group] for group in sections)):
        choices = {
            group: choice
            for group, choice in zip(sections, picked, strict=True)
            if choice is not None
        }
        composed = plain(composer.compose({**request.choices, **choices}))
        for group in choices:
            sections[group].append(composed[group])
    return sections


def _check_key(
    item: Given, alternatives: Sequence[Mapping[str, Any]], parser: Parser
) -> tuple[list[str], tuple[object, ...]]:
    """Check each value of a key by itself.

    Args:
        item: The override.
        alternatives: Configurations that it is for, one for each choice of a swept group. Those
            that lack the key are not concerned, unless all do.
        parser: Checks configurations.

    Returns:
        The problems, and the values that are allowed.
    """
    unknown = [unknown_key(item, config) for config in alternatives]
    if all(unknown):
        return [problem for problem in unknown if problem], ()
    if item.override.is_add():
        return [there_already(item)], ()
    problems: list[str] = []
    allowed = item.values
    concerned = [c for c, problem in zip(alternatives, unknown, strict=True) if not problem]
    for config in concerned:
        others = set(_problems(parser.validate, config))
        for value in item.values:
            problems_with = _problems(parser.validate, with_key(config, item, value))
            new = [item.as_typed(each) for each in problems_with if each not in others]
            if new:
                problems += new
                allowed = tuple(other for other in allowed if other is not value)
    return problems, allowed


def _combinations(
    base: Mapping[str, Any],
    sections: Mapping[str, Sequence[object]],
    allowed: Sequence[tuple[Given, Sequence[object]]],
) -> Iterator[Mapping[str, Any]]:
    """Configurations with all combinations of values that might contradict each other."""
    together = product(product(*sections.values()), product(*(values for _, values in allowed)))
    for picked, values in islice(together, MOST_COMBINATIONS):
        run = {**base, **dict(zip(sections, picked, strict=True))}
        for (item, _), value in zip(allowed, values, strict=True):
            if not unknown_key(item, run):
                run = with_key(run, item, value)
        yield run


def _problems(
    check: Callable[[Mapping[str, Any]], RunConfig], config: Mapping[str, Any]
) -> list[str]:
    try:
        if "${" in str(config):
            config = plain(OmegaConf.create(dict(config)))
        check(config)
    except ConfigError as error:
        return error.problems
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)  # of the value that refers to another
        return [f"{key}: {explain(error)}" if key else explain(error)]
    return []


def _problems_of_folders(folders: Collection[str]) -> Iterator[str]:
    """What is wrong with the files of image folders."""
    for folder in sorted(folders):
        if holds_train(folder):  # or it has been said
            try:
                check_folder(expand_home(folder))
            except (DatasetError, OSError) as error:
                yield str(error)
