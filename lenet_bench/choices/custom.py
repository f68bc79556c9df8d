"""A user's own activation, `activation=custom activation.path=package.module:Class`.

In: the import path. Out: what is wrong with it, or the module class, after a trial on small inputs.
Neither importing this file nor checking a path imports torch.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_bench.common.errors import UserError, in_one_line
from lenet_bench.common.files import digest_of_files

if TYPE_CHECKING:
    from torch import Tensor, nn


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

    module_name, _, name = path.partition(":")
    try:
        with _settings_put_back():
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
            f"activation.path={path!r}: {name} is {_kind(member)}, not a torch.nn.Module class"
        )
    with _settings_put_back() as changed:
        _try_out(member, path)
        if names := changed():
            raise UserError(
                f"activation.path={path!r} changes torch's {' and '.join(names)}, which every run "
                "of this machine shares; leave them alone in __init__ and forward"
            )
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


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


@contextlib.contextmanager
def _settings_put_back() -> Iterator[Callable[[], list[str]]]:
    """Undo what a user's code does to torch as a whole.

    Yields:
        A function that names the settings that differ by now.
    """
    import torch

    settings: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
        "number of threads": (torch.get_num_threads, torch.set_num_threads),
        "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "default device": (torch.get_default_device, torch.set_default_device),
        "gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
        "deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        "matmul precision": (
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
    }
    before = {name: get() for name, (get, _) in settings.items()}

    def changed() -> list[str]:
        return [name for name, (get, _) in settings.items() if get() != before[name]]

    try:
        yield changed
    finally:
        for name in changed():
            settings[name][1](before[name])


def _try_out(module_class: type[nn.Module], path: str) -> None:
    try:
        module = module_class()
    except Exception as error:
        raise UserError(
            f"activation.path={path!r} cannot be built without arguments ({in_one_line(error)}); "
            "give every argument of its __init__ a default"
        ) from error
    for _ in range(2):  # as it is built, and once it has learned
        for training in (False, True):
            _check_elements(module.train(training), path)
        _learn(module, path)


def _check_elements(module: nn.Module, path: str) -> None:
    """Check that a module, in the mode it is in, maps every element by itself."""
    import torch

    # A unit of a layer and an image of a batch must not see their neighbours.
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 4, generator=generator)  # (B, C, H, W)
    vectors = maps.reshape(16, 6).clone()  # (B, units), the same elements in other places
    others = maps.clone()
    others.view(-1)[::2] *= 1.5  # every other element is another one
    outputs = [_call(module, x, path).flatten() for x in (maps, vectors, others)]
    if not torch.equal(outputs[0], _call(module, maps, path).flatten()) and module.training:
        return  # it draws from a generator of its own, and no two calls can be compared
    where = " while it trains" if module.training else ""
    same = partial(torch.allclose, rtol=1e-4, atol=1e-6, equal_nan=True)
    if not same(outputs[0], outputs[1]):
        raise UserError(
            f"activation.path={path!r} does not map each element by itself{where}: the same values "
            "arranged in another shape give other results"
        )
    if not same(outputs[0][1::2], outputs[2][1::2]) and not _remembers(module, maps):
        raise UserError(
            f"activation.path={path!r} does not map each element by itself{where}: a result "
            "depends on other elements"
        )


def _call(module: nn.Module, x: Tensor, path: str) -> Tensor:
    """Call a module as if for the first time, with the same noise each time."""
    import torch

    given = x.clone()
    with contextlib.suppress(Exception):  # it may keep what cannot be copied
        module = copy.deepcopy(module)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            y = module(given)
    except Exception as error:
        raise UserError(
            f"activation.path={path!r} failed on an input of shape {tuple(x.shape)}: "
            f"{in_one_line(error)}"
        ) from error
    if not torch.equal(given, x):
        raise UserError(
            f"activation.path={path!r} changes its input in place, which training needs again; "
            "return a new tensor, as in x.clamp(min=0) instead of x.clamp_(min=0)"
        )
    if not isinstance(y, torch.Tensor):
        raise UserError(f"activation.path={path!r} returns {_kind(y)}, not a tensor")
    if y.shape != x.shape or y.dtype != x.dtype:
        raise UserError(
            f"activation.path={path!r} turns shape {tuple(x.shape)} and {x.dtype} into "
            f"{tuple(y.shape)} and {y.dtype}; an activation keeps both"
        )
    return y


def _remembers(module: nn.Module, x: Tensor) -> bool:
    """Whether a module keeps tensors from call to call, such as statistics of what it has seen."""
    import torch

    def kept() -> list[Tensor]:
        return [
            value.detach().clone()
            for part in module.modules()
            for value in (*part.buffers(recurse=False), *vars(part).values())
            if isinstance(value, torch.Tensor)
        ]

    with contextlib.suppress(Exception):
        module = copy.deepcopy(module)
    before = kept()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        module(x.clone())
    after = kept()
    return len(before) != len(after) or not all(map(torch.equal, before, after))


def _learn(module: nn.Module, path: str) -> None:
    """Let a module take a few steps, so that what it learns is not what it began with."""
    import torch

    module.train()
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        x, weights = torch.randn(2, 16, 6, generator=generator)
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                y = module(x.requires_grad_() * 1)
                if not y.requires_grad:
                    return
                module.zero_grad()
                (y * weights).sum().backward()
        except Exception as error:
            raise UserError(
                f"activation.path={path!r} failed in a step of training: {in_one_line(error)}"
            ) from error
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.01 * parameter.grad.sign())
