"""Configuration files of the user's own, as a preset with `--config-dir`: looked at before Hydra.

In: a folder, a group and a choice. Out: a line about a file that cannot be read, or about one that
is nearly the file that was asked for. Hydra's own messages name neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from lenet_bench.common.text import printable

MOST_BYTES = 1_000_000  # of a file; those of conf/ have 2,000
MOST_VALUES = 100_000  # of a file once its references are written out
_PACKAGE = ["@package", "_global_"]


def file_problem(folders: Iterable[Path], group: str, choice: str) -> str | None:
    """What is wrong with the file of a choice, before it is composed; None if nothing is.

    Args:
        folders: Those of `--config-dir`.
        group: Such as `experiment`.
        choice: Which of the group.
    """
    for folder in folders:
        file = folder / group / f"{choice}.yaml"
        if file.is_file():
            problem = _problem(file, group)
            return problem and f"{group}={choice}: {printable(file)} {problem}"
    return None


def near_file(folders: Iterable[Path], group: str, choice: str) -> str:
    """A hint at a file that was probably meant, to be followed by other hints; or nothing."""
    name = choice.removesuffix(".yaml").removesuffix(".yml")
    for folder in folders:
        at = folder / group
        for file in (at / f"{name}.yml", at / f"{name}.YAML", at / f"{name}.YML"):
            if file.is_file():
                return f"{printable(file)} is passed over, name it {printable(name)}.yaml; "
        file = at / f"{name}.yaml"
        if file.is_file() and name != choice:
            return f"write {group}={printable(name)}, without the ending; "
        if not file.is_file() and (file.is_symlink() or file.exists()):
            what = "is a link that leads nowhere" if file.is_symlink() else "is no file"
            return f"{printable(file)} {what}; "
        if (at / name).is_dir():
            return f"{printable(at / name)} is a folder; "
    return ""


def _problem(file: Path, group: str) -> str | None:
    try:
        content = file.read_bytes()[: MOST_BYTES + 1]
        if len(content) > MOST_BYTES:
            return f"is larger than {MOST_BYTES:,} bytes"
        text = content.decode("utf-8")
        documents = list(yaml.compose_all(text, yaml.SafeLoader))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except UnicodeDecodeError as error:
        return f"is not encoded in UTF-8 (byte {error.start})"
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        hint = "; indent with spaces, not with tabs" if "'\\t'" in str(error.problem) else ""
        return f"is no YAML ({line}{error.problem}{hint})"
    except (yaml.YAMLError, RecursionError) as error:
        return f"is no YAML ({' '.join(str(error).split()) or type(error).__name__})"
    if text.startswith("\ufeff"):
        return "begins with a byte order mark; save it as UTF-8 without one"
    if len(documents) > 1:
        return f"holds {len(documents)} documents; keep one, without ---"
    if documents and not isinstance(documents[0], yaml.MappingNode):
        return "holds no keys; write one a line, as in lr: 0.1"
    if documents and (problem := _problem_of_nodes(documents[0])):
        return problem
    if group == "experiment" and not _is_global(text):
        return f"must begin with the line # {' '.join(_PACKAGE)}"
    return None


def _is_global(text: str) -> bool:
    """Whether a preset sets keys of the whole configuration, as Hydra reads its first lines."""
    for line in filter(None, map(str.strip, text.splitlines())):
        if not re.match(r"#\s*@", line):
            return False
        if line.lstrip("#").split() == _PACKAGE:
            return True
    return False


def _problem_of_nodes(root: yaml.Node) -> str | None:
    """What is wrong with the nodes of a document: keys given twice, Python's tags, references."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def measure(node: yaml.Node) -> int:
        """How many values a node has once its references are written out."""
        if id(node) in open_:
            raise ValueError(f"holds itself (line {node.start_mark.line + 1})")
        if id(node) not in sizes:
            if not node.tag.startswith("tag:yaml.org,2002:") or "/" in node.tag:
                name = node.tag.removeprefix("tag:yaml.org,2002:")
                line = node.start_mark.line + 1
                raise ValueError(
                    f"holds the tag {printable(name)} (line {line}); plain values only"
                )
            open_.add(id(node))
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
                children = [child for pair in node.value for child in pair]
            else:
                children = node.value if isinstance(node, yaml.SequenceNode) else []
            sizes[id(node)] = 1 + sum(measure(child) for child in children)
            open_.remove(id(node))
        return sizes[id(node)]

    try:
        size = measure(root)
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "is nested too deeply"
    if size > MOST_VALUES:
        return f"stands for {size:,} values by its references; at most {MOST_VALUES:,} are read"
    return None


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ValueError(f"sets {printable(key.value)} twice (line {line})")
            seen.add(key.value)
