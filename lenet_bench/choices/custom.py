"""A user's own activation, `activation=custom activation.path=package.module:Class`.

In: the import path. Out: what is wrong with it, or the module class, after its trial.
Neither importing this file nor checking a path imports torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_bench.common.errors import UserError, in_one_line
from lenet_bench.common.files import digest_of_files

if TYPE_CHECKING:
    from torch import nn


def check_custom_path(path: str) -> str | None:
    """Say what is wrong with `activation.path`, without importing torch or the user's code.

    Args:
        path: "package.module:Class"; the module is searched for wherever Python searches, and
            then in the current directory.

    Returns:
        A sentence naming what is wrong; None if the module exists and, as far as its source
        tells, the class. Whether that can serve is known only to `load_custom`.
    """
    module, colon, name = path.partition(":")
    if not (colon and name.isidentifier() and all(p.isidentifier() for p in module.split("."))):
        return (
            f"activation.path={path!r} is not of the form package.module:Class, "
            "for example my_activations:Snake"
        )
    _search_current_directory()
    spec, missing = _find(module)
    if spec is None:
        return (
            f"activation.path={path!r}: no module {missing!r} in {Path.cwd()} "
            "nor where Python searches; run from the folder that holds it, or set PYTHONPATH"
        )
    if missing in sys.stdlib_module_names and not str(spec.origin).startswith(str(Path.cwd())):
        hint = f"; rename your {missing}.py" if Path(f"{missing}.py").is_file() else ""
        return (
            f"activation.path={path!r}: {missing} is Python's own, it has no torch.nn.Module{hint}"
        )
    source = _source(spec)
    if source is None or name in source.other or name in source.classes:
        return None
    if name in source.functions:
        return f"activation.path={path!r}: {name} is a function, not a torch.nn.Module class"
    near = difflib.get_close_matches(name, source.classes | source.other, n=1, cutoff=0.5)
    listed = f"; its classes are {', '.join(sorted(source.classes))}" if source.classes else ""
    hint = f"; did you mean {near[0]}?" if near else listed
    return f"activation.path={path!r}: {module} has no class {name!r}{hint}"


@dataclass(frozen=True)
class _Source:
    """The names that a module's source binds, by what they are bound to."""

    classes: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    other: frozenset[str] = frozenset()

    def __or__(self, more: _Source) -> _Source:
        return _Source(
            self.classes | more.classes, self.functions | more.functions, self.other | more.other
        )


def _find(module: str) -> tuple[ModuleSpec | None, str]:
    """Return a module's spec, None if it is missing, and the part of its name looked up last."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    looked_up = top
    # Each level is looked up in its parent's folders: find_spec("a.b") would run a's code.
    for part in rest:
        if spec is None:
            break
        looked_up = f"{looked_up}.{part}"
        spec = PathFinder.find_spec(looked_up, spec.submodule_search_locations or [])
    return spec, looked_up


def _source(spec: ModuleSpec) -> _Source | None:
    """Return the names that a module's source binds; None where only running it would tell."""
    if not str(spec.origin).endswith(".py"):
        return None
    file = Path(str(spec.origin))
    try:
        return _parsed(file, file.stat().st_mtime_ns, spec.parent or "")
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


@cache
def _parsed(file: Path, _changed: int, package: str) -> _Source | None:
    text = file.read_bytes()
    if b"globals()" in text or b"__getattr__" in text:
        return None
    classes, functions, other = set(), set(), set()
    stars = _Source()
    # Names bound inside of functions count too: better to accept too much here than too little.
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            classes.add(node.name)
        elif isinstance(node, ast.FunctionDef) and not node.decorator_list:
            functions.add(node.name)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            other.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            other.add(node.id)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            name = "." * node.level + (node.module or "")
            spec, _ = _find(importlib.util.resolve_name(name, package))
            starred = _source(spec) if spec else None
            if starred is None:
                return None
            stars |= starred
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            other |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return _Source(frozenset(classes), frozenset(functions), frozenset(other)) | stars


def load_custom(path: str) -> type[nn.Module]:
    """Import a user's activation module and check that it can serve as one.

    Args:
        path: "package.module:Class", as `check_custom_path` takes it.

    Returns:
        The class: a torch.nn.Module, built without arguments, that maps every element of a
        float tensor by itself.

    Raises:
        UserError: The path, the module or the class cannot be used.
    """
    if problem := check_custom_path(path):
        raise UserError(problem)
    from torch import nn

    from lenet_bench.choices.custom_trial import kind, try_out
    from lenet_bench.choices.torch_settings import settings_put_back

    module_name, _, name = path.partition(":")
    try:
        with settings_put_back():
            module = importlib.import_module(module_name)
    except Exception as error:
        raise UserError(
            f"activation.path={path!r}: importing {module_name} failed: {in_one_line(error)}"
        ) from error
    member = getattr(module, name, None)
    if member is None:
        modules = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        nearest = difflib.get_close_matches(name, modules, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else _listing(modules)
        raise UserError(f"activation.path={path!r}: {module_name} has no class {name!r}; {hint}")
    if not (isinstance(member, type) and issubclass(member, nn.Module)):
        raise UserError(
            f"activation.path={path!r}: {name} is {kind(member)}, not a torch.nn.Module class"
        )
    with settings_put_back() as changed:
        refusal: UserError | None = None
        try:
            try_out(member, path)
        except UserError as error:
            refusal = error
        if names := changed():  # whatever went wrong, that is why
            raise UserError(
                f"activation.path={path!r} changes torch's {' and '.join(names)}, which every run "
                "of this machine shares; leave them alone in __init__ and forward"
            )
    if refusal is not None:
        raise refusal
    return member


def digest_of_source(path: str) -> str | None:
    """Sixteen hexadecimal digits that tell the file of a user's own module from all others.

    Args:
        path: "package.module:Class". What the module imports is not looked at.

    Returns:
        The digits; None if there is no such file.
    """
    _search_current_directory()
    spec, _ = _find(path.partition(":")[0])
    if spec is None or not spec.has_location:
        return None
    file = Path(str(spec.origin))
    try:
        return digest_of_files([(file.parent, file)])
    except OSError:
        return None


def _search_current_directory() -> None:
    # Last, so that a user's `torch.py` hides no library; and only for those who have an own module.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    importlib.invalidate_caches()


def _listing(names: list[str]) -> str:
    return f"its modules are {', '.join(names)}" if names else "it defines no torch.nn.Module"
