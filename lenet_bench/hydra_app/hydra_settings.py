"""Checks Hydra's own settings: keys below `hydra.`, and the options of the launcher `stacked`.

In: overrides of such keys. Out: the settings that can be used, and a line for each other one. What
would put files where no report finds them, or run code that is named by its import path, cannot be
used. Plugins and callbacks of Hydra's are installed packages, and can.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lenet_bench.common.text import printable
from lenet_bench.config.errors import ConfigError
from lenet_bench.execution.options import parse_engine_options
from lenet_bench.hydra_app.composer import Composer
from lenet_bench.hydra_app.explain import explain
from lenet_bench.hydra_app.keys import there_already, unknown_key
from lenet_bench.hydra_app.overrides import Given
from lenet_bench.records.schema import RUN_TABLES

# What Hydra may build: its plugins, what comes with it, and what its Optuna plugin draws with.
_BUILT = (
    "hydra_plugins.", "hydra._internal.core_plugins.", "hydra.experimental.callbacks.",
    "optuna.samplers.",
)  # fmt: skip
# What handlers and formatters of logs may be; `()` is a function to call, `class` a class.
_OF_LOGS = ("logging.", "colorlog.", "rich.logging.", "ext://sys.std")
_OWN_CALLBACK = {
    "hydra.callbacks.sweep_directory._target_": (
        "lenet_bench.hydra_app.sweep_directory.SweepDirectory"
    )
}
_NO_IMPORT = "nothing is run by its import path"
_INTERNAL = ("hydra.overrides", "hydra.runtime")
_LONGEST_NAME = 255  # bytes, of Linux, macOS and Windows alike
_LONGEST_PATH = 4096 - 512  # bytes of Linux, less what a run directory and its files need
# Names that a run directory has, which Hydra's folder would replace.
_FILES_OF_RUNS = (
    "status.json", "config.json", "plan.json", "checkpoints", "weights.pt",
    *(f"{table}.csv" for table in RUN_TABLES),
)  # fmt: skip


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


def structure_problems(hydra: DictConfig) -> Iterator[str]:
    """What is wrong with settings that say who runs the jobs, and where their files lie.

    They may come from the command line or from a preset.
    """
    yield from _problems_of_targets(hydra)
    yield from _problems_of_folders(hydra)
    batch = hydra.sweeper.get("max_batch_size")
    if isinstance(batch, int) and batch < 1:
        yield f"hydra.sweeper.max_batch_size={batch}: must be null or an integer >= 1"
    for place in hydra.searchpath:
        scheme, _, folder = str(place).rpartition("://")
        if scheme in ("", "file") and not Path(folder).is_dir():
            yield f"hydra.searchpath=[{place}]: there is no such folder"


def _problems_of_targets(hydra: DictConfig) -> Iterator[str]:
    """What is wrong with settings that name code."""
    raw: Any = OmegaConf.to_container(hydra, resolve=False)
    for kind in ("launcher", "sweeper"):
        for key, target in _values_of(raw[kind], ("_target_",), f"hydra.{kind}"):
            if not target.startswith(_BUILT):
                yield (
                    f"{key}={printable(target)}: {_NO_IMPORT}; "
                    f"choose by name, as in hydra/{kind}=basic"
                )
    callbacks = dict(_values_of(raw["callbacks"], ("_target_",), "hydra.callbacks"))
    for key, target in callbacks.items():
        if not target.startswith(_BUILT) and (key, target) not in _OWN_CALLBACK.items():
            yield f"{key}={printable(target)}: {_NO_IMPORT}, except Hydra's own callbacks"
    if not callbacks.keys() >= _OWN_CALLBACK.keys():
        yield "hydra.callbacks.sweep_directory: makes the sweep directory; do not remove it"
    for kind in ("job_logging", "hydra_logging"):
        for key, target in _values_of(raw[kind], ("()", "class"), f"hydra.{kind}"):
            if not target.startswith(_OF_LOGS):
                yield f"{key}={printable(target)}: {_NO_IMPORT}, except Python's own handlers"


def _values_of(node: Any, names: tuple[str, ...], path: str) -> Iterator[tuple[str, str]]:
    """The values of keys of these names at any depth, with their paths."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in names:
                yield f"{path}.{key}", str(value)
            else:
                yield from _values_of(value, names, f"{path}.{key}")
    elif isinstance(node, list):
        for item in node:
            yield from _values_of(item, names, path)


_DIRECTORY_OF_A_RUN = "${hydra.sweep.dir}/${hydra.sweep.subdir}"  # as in conf/config.yaml


def _problems_of_folders(hydra: DictConfig) -> Iterator[str]:
    raw: Any = OmegaConf.to_container(hydra, resolve=False)
    inside = raw["output_subdir"]
    if inside is not None and not (_is_name(inside) and inside not in _FILES_OF_RUNS):
        yield (
            f"hydra.output_subdir={_shortened(str(inside))}: must be null or the name of a folder "
            "in the run directory, such as .hydra"
        )
    run = str(raw["sweep"]["subdir"])
    if not _is_name(_without_interpolations(run)):
        yield (
            f"hydra.sweep.subdir={_shortened(run)}: must be the name of a folder in the sweep "
            "directory, or be left out"
        )
    single = str(raw["run"]["dir"])
    if hydra.mode != RunMode.RUN and single != _DIRECTORY_OF_A_RUN:
        yield (
            f"hydra.run.dir={_shortened(single)}: is for single runs, with hydra.mode=RUN; "
            "the directory of a sweep is hydra.sweep.dir"
        )
    for key, value in (("sweep", raw["sweep"]["dir"]), ("run", raw["run"]["dir"])):
        if problem := _problem_of_path(_without_interpolations(str(value))):
            yield f"hydra.{key}.dir={_shortened(str(value))}: {problem}"


def _without_interpolations(text: str) -> str:
    """A text with a letter in place of what is filled in later."""
    while (shorter := re.sub(r"\$\{[^${}]*\}", "x", text)) != text:
        text = shorter
    return text


def _is_name(text: object) -> bool:
    """Whether a text is the name of a file, and no path."""
    return (
        isinstance(text, str)
        and text.strip() not in ("", ".", "..")
        and not set(text) & {"/", "\\"}
        and text.isprintable()
        and len(os.fsencode(text)) <= _LONGEST_NAME
    )


def _problem_of_path(text: str) -> str | None:
    if not text.strip():
        return "must name a folder"
    if not text.isprintable():
        return "holds characters that cannot be printed; name a folder without them"
    if max(len(os.fsencode(part)) for part in text.split("/")) > _LONGEST_NAME:
        return f"has a name of more than {_LONGEST_NAME} bytes, the most that file systems take"
    if len(os.fsencode(Path(text).absolute())) > _LONGEST_PATH:
        return f"has more than {_LONGEST_PATH:,} bytes; choose a shorter path"
    return None


def _shortened(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= 60 else f"{shown[:40]}...{shown[-10:]}"


def _problem(
    item: Given, choices: Mapping[str, object], base: DictConfig, composer: Composer
) -> str | None:
    if item.key.startswith(_INTERNAL):
        return f"{item.text}: is set by Hydra itself; leave it out"
    kind = item.key.split(".")[1]
    if kind in ("launcher", "sweeper") and re.search(r"\b_target_\s*[:=]", item.text):
        return f"{item.text}: {_NO_IMPORT}; choose by name, as in hydra/{kind}=basic"
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
