"""Writes the parts of the documentation that repeat what the code or `conf/` already says.

In: the tables of the package, the files of `conf/`, docstrings. Out: the text between
`<!-- generated:NAME -->` and `<!-- /generated:NAME -->` in the pages of `docs/`.

    python -m docs.site.reference            # writes what has changed
    python -m docs.site.reference --check    # writes nothing; exit code 1 if a page is out of date
"""

from __future__ import annotations

import ast
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.parameters import Parameter
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.claims.registry import CLAIMS
from lenet_bench.common.errors import UserError
from lenet_bench.records import schema

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PACKAGE = ROOT / "lenet_bench"

_PART = re.compile(
    r"(<!-- generated:(?P<name>[\w-]+) -->\n)(?P<text>.*?)(<!-- /generated:(?P=name) -->)",
    re.DOTALL,
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. A bar is escaped; inside code there must be none."""
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


# --- configuration --------------------------------------------------------------------------------


def commented_keys(file: Path) -> Iterator[tuple[str, str, str]]:
    """Read the keys of a configuration file: dotted name, value, comment behind it.

    A section's own line, which has neither value nor comment, is left out.
    """
    sections: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        match = re.match(r"( *)(\w+):(?: +([^#]*?))?(?:\s+# (.*))?$", line)
        if match is None:
            continue
        indent, key, value, comment = match.groups()
        sections = [*sections[: len(indent) // 2], key]
        if value:
            yield ".".join(sections), value, comment or ""


def top_comment(file: Path) -> str:
    """The comment that a configuration file, a template or a style sheet opens with."""
    text = file.read_text(encoding="utf-8")
    if block := re.match(r"(?:\{#|/\*)(.*?)(?:#\}|\*/)", text, flags=re.DOTALL):
        return " ".join(block[1].split())
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def keys() -> str:
    """The keys that are not part of a group."""
    rows = [
        (f"`{key}`", f"`{value}`", comment)
        for key, value, comment in commented_keys(CONF / "config.yaml")
        if not key.startswith(("defaults", "hydra."))
    ]
    return table(("key", "default", "choices, meaning"), rows)


def groups() -> str:
    """The groups, the choice that each starts with, and all its choices."""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    default = dict(re.findall(r"^  - (\w+): (\w+)", text, flags=re.MULTILINE))
    choices: Mapping[str, Iterable[str]] = {
        "activation": [*ACTIVATIONS, "custom"],
        "init": SCHEMES,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
        "dataset": sorted(path.stem for path in (CONF / "dataset").glob("*.yaml")),
        "model": sorted(path.stem for path in (CONF / "model").glob("*.yaml")),
    }
    rows = [
        (f"`{group}`", f"`{default[group]}`", ", ".join(f"`{name}`" for name in names))
        for group, names in choices.items()
    ]
    return table(("group", "default", "choices"), rows)


def group_files(group: str) -> str:
    """The choices of a group that consists of files: what each is, and its keys."""
    parts = []
    for file in sorted((CONF / group).glob("*.yaml")):
        rows = [
            (f"`{group}.{key}`", f"`{value}`", comment)
            for key, value, comment in commented_keys(file)
            if key != "name"
        ]
        parts.append(
            f"**`{group}={file.stem}`**: {top_comment(file)}\n\n"
            + table(("key", "default", "meaning"), rows)
        )
    return "\n".join(parts)


def presets() -> str:
    """The presets, with what their headers say."""
    rows = []
    for file in sorted((CONF / "experiment").glob("*.yaml")):
        pattern = r"(?:^| )([\d,]+) runs( of each \w+)?[:;] (.*)$"
        match = re.search(pattern, top_comment(file))
        if match is None:
            raise UserError(f"{file}: its header does not say how many runs it is")
        rows.append((f"`{file.stem}`", f"{match[1]}{match[2] or ''}", match[3]))
    return table(("preset", "runs", "cost, and what to expect"), rows)


# --- the choices of the tables --------------------------------------------------------------------


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.4g}"


def activations() -> str:
    """The list of activations, at default parameters."""
    rows = []
    for entry in ACTIVATIONS.values():
        arguments = entry.arguments()
        low, high = map(_number, entry.output_range(**arguments))
        formula = re.sub(r"\|(\w+)\|", r"abs(\1)", entry.formula)
        rows.append(
            (
                f"`{entry.name}`",
                f"`{formula}`",
                entry.family,
                f"{low} to {high}",
                _number(entry.gain(**arguments)),
                "yes" if entry.can_die(**arguments) else "no",
                entry.reference,
            )
        )
    header = ("activation", "f(x)", "family", "range", "gain", "can die", "source")
    return table(header, rows)


def _parameter_rows(
    group: str, parameters: Mapping[str, Mapping[str, Parameter]]
) -> Iterator[Sequence[str]]:
    for name, settings in parameters.items():
        for key, parameter in settings.items():
            yield (
                f"`{group}={name}`",
                f"`{group}.{key}`",
                f"`{str(parameter.default).lower()}`",
                parameter.allowed,
                parameter.meaning,
            )


def parameters_of(group: str, parameters: Mapping[str, Mapping[str, Parameter]]) -> str:
    """What can be set about the choices of a group."""
    header = ("choice", "key", "default", "allowed", "meaning")
    return table(header, _parameter_rows(group, parameters))


def inits() -> str:
    """The initial weights."""
    rows = [(f"`{name}`", entry.meaning, entry.reference) for name, entry in SCHEMES.items()]
    return table(("init", "distribution at gain 1", "source"), rows)


def optimizers() -> str:
    """The update rules."""
    rows = [(f"`{name}`", kind.meaning, kind.reference) for name, kind in OPTIMIZERS.items()]
    return table(("optimizer", "rule", "source"), rows)


def schedules() -> str:
    """The learning-rate schedules."""
    rows = [(f"`{name}`", kind.meaning, kind.reference) for name, kind in SCHEDULES.items()]
    return table(("schedule", "learning rate", "source"), rows)


def claims() -> str:
    """The claims: what is said, where, and what decides it."""
    rows = [
        (
            f"`{claim.identifier}`",
            claim.statement,
            claim.source,
            f"`{claim.preset}`",
        )
        for claim in CLAIMS.values()
    ]
    return table(("claim", "statement", "where it is made", "preset"), rows)


def claim_rules() -> str:
    """What each claim compares and how it is decided, in the words of its test."""
    return "".join(
        f"- `{claim.identifier}` compares {claim.quantity}. Rule: {claim.rule}.\n"
        for claim in CLAIMS.values()
    )


# --- files ----------------------------------------------------------------------------------------


def _docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def purpose(file: Path) -> str:
    """What a file is for: the first sentence of its docstring, or of the comment it opens with."""
    python = file.suffix == ".py"
    opening = _docstring(file).partition("\n\n")[0] if python else top_comment(file)
    words = " ".join(opening.split())
    if not words:
        raise UserError(f"{file}: does not open with a sentence that says what it is for")
    first = re.match(r".*?\.(?=\s|$)", words)
    return (first[0] if first else words).rstrip(".")


def _is_source(path: Path) -> bool:
    hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
    return path.is_file() and not hidden and path.name not in ("__init__.py", "py.typed")


def files_below(folder: Path) -> str:
    """A row for each file below a folder."""
    paths = sorted(
        (path for path in folder.rglob("*") if _is_source(path)),
        key=lambda path: (path.parent.relative_to(folder).parts, path.name),
    )
    rows = [(f"`{path.relative_to(folder).as_posix()}`", purpose(path)) for path in paths]
    return table(("file", "what it is for"), rows)


def rooms() -> str:
    """The rooms in the order of the flow: what each is for, and its files."""
    parts = []
    for room in _rooms_in_order():
        words = _docstring(PACKAGE / room / "__init__.py")
        parts.append(f"### {room}/\n\n{words}\n\n{files_below(PACKAGE / room)}")
    return "\n".join(parts)


def _rooms_in_order() -> list[str]:
    """The rooms from the ground up, as the contract in `pyproject.toml` has them."""
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        contract
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    layers = [name for layer in contract["layers"] for name in re.split(r"\s*[|:]\s*", layer)]
    return [name for name in reversed(layers) if (PACKAGE / name).is_dir()]


# --- pages ----------------------------------------------------------------------------------------

PARTS: Mapping[str, Callable[[], str]] = {
    "groups": groups,
    "keys": keys,
    "dataset": lambda: group_files("dataset"),
    "model": lambda: group_files("model"),
    "presets": presets,
    "activations": activations,
    "activation-parameters": lambda: parameters_of(
        "activation", {name: entry.parameters for name, entry in ACTIVATIONS.items()}
    ),
    "inits": inits,
    "init-parameters": lambda: parameters_of(
        "init", {name: entry.parameters for name, entry in SCHEMES.items()}
    ),
    "optimizers": optimizers,
    "optimizer-parameters": lambda: parameters_of(
        "optimizer", {name: kind.parameters for name, kind in OPTIMIZERS.items()}
    ),
    "schedules": schedules,
    "schedule-parameters": lambda: parameters_of(
        "schedule", {name: kind.parameters for name, kind in SCHEDULES.items()}
    ),
    "claims": claims,
    "claim-rules": claim_rules,
    "rooms": rooms,
    "benchmarks": lambda: files_below(ROOT / "benchmarks"),
    **{
        f"columns-{name.replace('_', '-')}": lambda columns=columns: schema.as_markdown(columns)  # type: ignore[misc]
        for name, columns in {**schema.RUN_TABLES, **schema.SWEEP_TABLES}.items()
    },
}


def up_to_date(page: str) -> str:
    """Return a page with its generated parts written anew.

    Raises:
        UserError: It names a part that there is not.
    """

    def generate(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in PARTS:
            raise UserError(
                f"<!-- generated:{name} -->: no such part; there are {', '.join(PARTS)}"
            )
        return f"{match[1]}\n{PARTS[name]().strip()}\n\n{match[4]}"

    return _PART.sub(generate, page)


def write_pages(folder: Path, *, check: bool = False) -> list[Path]:
    """Bring the generated parts of all pages of a folder up to date.

    Args:
        folder: Where the pages lie.
        check: Whether nothing is to be written.

    Returns:
        The pages that were out of date.

    Raises:
        UserError: A page names a part that there is not, or a part stands in no page.
    """
    changed, used = [], set()
    for page in sorted(folder.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        used |= {match["name"] for match in _PART.finditer(old)}
        new = up_to_date(old)
        if new != old:
            changed.append(page)
            if not check:
                page.write_text(new, encoding="utf-8")
    if unused := sorted(set(PARTS) - used):
        raise UserError(f"{folder}: no page holds the generated part {', '.join(unused)}")
    return changed


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or only check them; return the exit code."""
    check = list(arguments) == ["--check"]
    if arguments and not check:
        print("usage: python -m docs.site.reference [--check]", file=sys.stderr)
        return 2
    try:
        changed = write_pages(ROOT / "docs", check=check)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    for page in changed:
        name = page.relative_to(ROOT)
        print(f"{name}: out of date; run `make conf`" if check else f"{name}: written")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
