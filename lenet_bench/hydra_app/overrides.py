"""One override at a time: read, and refused where its key or its form cannot be right.

In: `KEY=VALUE` as it was typed, or as a preset sweeps it. Out: a `Given` with all values that it
takes, or a `ConfigError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from lenet_bench.config.errors import ConfigError, as_typed, nearest
from lenet_bench.hydra_app.composer import Composer
from lenet_bench.hydra_app.explain import explain
from lenet_bench.hydra_app.own_files import file_problem, near_file
from lenet_bench.records.configuration import OF_THE_COMMAND

MOST_VALUES = 10_000  # of one key; Hydra composes about twenty runs a second
# Hydra launchers distributed as separate packages, and those packages.
LAUNCHER_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "submitit": "hydra-submitit-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
}


@dataclass(frozen=True)
class Given:
    """One override, and the values it takes: one, unless it sweeps.

    Attributes:
        override: As Hydra reads it.
        values: What it sets the key to.
        options: The choices, where the key is a group; empty otherwise.
        origin: Where it was given, for messages; empty for the command line.
    """

    override: Override
    values: tuple[object, ...]
    options: tuple[str, ...]
    origin: str = ""

    @property
    def key(self) -> str:
        """The key or the group."""
        return self.override.key_or_group

    @property
    def text(self) -> str:
        """The override as it was typed."""
        return str(self.override.input_line)

    @property
    def is_hydra(self) -> bool:
        """Whether it is about Hydra's own settings."""
        return self.override.is_hydra_override()

    def with_value(self, value: object) -> str:
        """The override with one of its values, as it would be typed."""
        return f"{self.key}={as_typed(value)}{self.origin}"

    def as_typed(self, problem: str) -> str:
        """A problem with the number as it was typed, where it is too large for a float."""
        if len(self.values) > 1 or self.values[0] not in (math.inf, -math.inf):
            return problem
        typed = self.text.partition("=")[2]
        return problem.replace(f"{self.key}={self.values[0]}:", f"{self.key}={typed}:", 1)

    def bad_choices(self, folders: Sequence[Path]) -> Iterator[str]:
        """What to say about values that are no choices of the group.

        Args:
            folders: Of the user's own, where a file may nearly be the one that was asked for.
        """
        for value in self.values:
            if not self.options or value in self.options:
                continue
            package = LAUNCHER_PACKAGES.get(str(value)) if self.key == "hydra/launcher" else None
            if package:
                hint = f"pip install {package} brings it; "
            else:
                hint = near_file(folders, self.key, str(value))
                hint = hint or nearest(str(value), self.options)
            yield (
                f"{self.with_value(value)}: there is no such {self.key.split('/')[-1]}; "
                f"{hint}allowed: {', '.join(self.options)}"
            )


def read(text: str, composer: Composer, origin: str = "") -> Given:
    """Read one override.

    Raises:
        ConfigError: It cannot be read, or has a form that its key does not take. Whether the key
            exists and takes the values is not looked at, except for choices of groups.
    """
    try:
        override = composer.parser.parse_override(text)
        override.config_loader = composer.loader
        override.input_line = text
        values = tuple(islice(_values(override, composer), MOST_VALUES + 1))
    except (HydraException, ValueError, ZeroDivisionError) as error:
        if text.rstrip().endswith(","):
            how = "a trailing comma); leave it out, or name one value more"
        else:
            how = f"{explain(error)}); put quotes around special characters, as in 'KEY=\"VALUE\"'"
        raise ConfigError([f"{text}{origin}: cannot be read as KEY=VALUE ({how}"]) from None
    item = Given(override, values, composer.options(override.key_or_group), origin)
    problem = _problem_of_form(item, composer)
    if problem:
        raise ConfigError([f"{text}{origin}: {problem}"])
    bad = list(item.bad_choices(composer.folders))
    if item.options:
        looked_at = (file_problem(composer.folders, item.key, str(each)) for each in item.values)
        bad += filter(None, looked_at)
    if bad:
        raise BadChoiceError(item.key, bad)
    return item


class BadChoiceError(ConfigError):
    """Values that are no choices of their group; `group` names it."""

    def __init__(self, group: str, problems: list[str]) -> None:
        super().__init__(problems)
        self.group = group


def _values(override: Override, composer: Composer) -> Iterator[object]:
    if override.is_delete():
        yield None
    elif not override.is_sweep_override():
        yield override.value()
    elif override.is_range_sweep():
        yield from override.sweep_iterator()
    elif override.is_choice_sweep():
        for value in override.sweep_string_iterator():
            yield composer.parser.parse_override(f"{override.key_or_group}={value}").value()
    else:
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        yield from (interval.start, interval.end)


def _problem_of_form(item: Given, composer: Composer) -> str | None:
    """What is wrong with an override whatever else is given."""
    override, key = item.override, item.key
    if not key:
        return "cannot be read as KEY=VALUE; it has no key"
    if item.is_hydra and override.is_sweep_override():
        return "Hydra's own settings take one value, no sweep"
    if key == "experiment" and len(item.values) > 1:
        return "takes one preset at a time"
    if key in OF_THE_COMMAND and (override.is_sweep_override() or item.origin):
        return "must be true or false, and cannot be swept"
    group, _, last = key.rpartition(".")
    choices = composer.options(group) if last == "name" else ()
    if choices:
        good = all(value in choices for value in item.values)
        choice = item.text.partition("=")[2] if good and "=" in item.text else "CHOICE"
        return f"use {group}={choice}" + ("" if good else f"; allowed: {', '.join(choices)}")
    if not item.values:
        return f"holds no values; list them, as in {key}=A,B"
    if len(item.values) > MOST_VALUES:
        return f"holds more than {MOST_VALUES:,} values"
    if item.options and (override.package or override.is_add() or override.is_force_add()):
        return f"must be {key}=CHOICE, without + and @"
    return None
