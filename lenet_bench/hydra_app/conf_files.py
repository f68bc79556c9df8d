"""Writes the files of `conf/` that follow from the tables of choices.

In: the lists of activations, initial weights, optimizers and schedules. Out: a YAML file for each
of their entries, with its parameters, what they mean and what they may be.

    python -m lenet_bench.hydra_app.conf_files            # writes what has changed
    python -m lenet_bench.hydra_app.conf_files --check    # writes nothing; exit code 1 if it would
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.parameters import Parameter
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.hydra_app.groups import CONF

WIDTH = 100  # of a line of comment at the top
BY_HAND = ("activation/custom.yaml",)  # no entry of a table

# A line of a file: a key, its value, the comment behind it.
Line = tuple[str, object, str]


def conf_files() -> dict[str, str]:
    """The files, as text by their paths below `conf/`."""
    files = {}
    for name, activation in ACTIVATIONS.items():
        top = (f"f(x) = {activation.formula}", activation.reference)
        files[f"activation/{name}.yaml"] = _file(
            name, "activations", top, _lines(activation.parameters)
        )
    for name, scheme in SCHEMES.items():
        lines = [*_lines(scheme.parameters), *_lines_of_every_init(scheme.draws_biases)]
        top = (_sentence(scheme.meaning), scheme.reference)
        files[f"init/{name}.yaml"] = _file(name, "initialization", top, lines)
    for name, optimizer in OPTIMIZERS.items():
        top = (_sentence(optimizer.meaning), optimizer.reference)
        files[f"optimizer/{name}.yaml"] = _file(
            name, "optimizers", top, _lines(optimizer.parameters)
        )
    for name, schedule in SCHEDULES.items():
        top = (_sentence(schedule.meaning), schedule.reference)
        files[f"schedule/{name}.yaml"] = _file(name, "schedules", top, _lines(schedule.parameters))
    return files


def out_of_date(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that differ from the tables, each with what is wrong: stale, missing or surplus."""
    files = conf_files()
    for name, text in files.items():
        path = folder / name
        if not path.is_file():
            yield path, "missing"
        elif path.read_text(encoding="utf-8") != text:
            yield path, "stale"
    for group in sorted({name.partition("/")[0] for name in files}):
        for path in sorted((folder / group).glob("*.yaml")):
            name = f"{group}/{path.name}"
            if name not in files and name not in BY_HAND:
                yield path, "surplus"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="conf_files", description="Write the files of conf/ that follow from tables."
    )
    parser.add_argument("--check", action="store_true", help="only say which are out of date")
    parser.add_argument("--folder", type=Path, default=CONF, help="the folder (default: conf/)")
    given = parser.parse_args(arguments)
    files = conf_files()
    problems = list(out_of_date(given.folder))
    for path, problem in problems:
        print(f"{path}: {problem}{'; run make conf' if given.check else ''}")
        if given.check:
            continue
        if problem == "surplus":
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = files[path.relative_to(given.folder).as_posix()]
            path.write_text(text, encoding="utf-8")
    return 1 if problems and given.check else 0


def _file(name: str, table: str, top: Sequence[str], lines: Sequence[Line]) -> str:
    """A file: comments at the top, then the name and the parameters, comments in a column."""
    origin = f"Written by `make conf` from lenet_bench/choices/{table}.py; change it there."
    wrap = textwrap.TextWrapper(WIDTH, initial_indent="# ", subsequent_indent="#   ")
    comments = [line for text in (*top, origin) if text for line in wrap.wrap(text)]
    entries = [(f"{key}: {_yaml(value)}", comment) for key, value, comment in lines]
    width = max((len(entry) for entry, _ in entries), default=0)
    body = [f"{entry:<{width}}  # {comment}" for entry, comment in entries]
    return "\n".join([*comments, f"name: {name}", *body]) + "\n"


def _lines(parameters: Mapping[str, Parameter]) -> list[Line]:
    return [
        (key, parameter.default, f"{parameter.meaning} ({parameter.allowed})")
        for key, parameter in parameters.items()
    ]


def _lines_of_every_init(draws_biases: bool) -> list[Line]:
    """The keys that every choice of `init` has besides its own."""
    unset = "drawn as the weights are" if draws_biases else "0"
    return [
        ("gain", 1.0, "multiplies the weights; auto: the gain recommended for the activation"),
        (
            "logits_gain", 1.0,
            "multiplies the logits' weights once more; 0.1 starts nearer to the loss of chance",
        ),
        ("bias", None, f"a constant for all biases; null: {unset}"),
    ]  # fmt: skip


def _sentence(meaning: str) -> str:
    """A meaning with a full stop, and a capital unless it begins with the key `lr`."""
    return f"{meaning if meaning.startswith('lr ') else meaning[0].upper() + meaning[1:]}."


def _yaml(value: object) -> str:
    return str(yaml.safe_dump(value)).splitlines()[0]


if __name__ == "__main__":
    raise SystemExit(main())
