"""The pages' templates: a name and what to fill in go in, HTML comes out.

Everything that is filled in is escaped, unless another template made it: no HTML comes of it, and
no character that turns around the direction in which a page is read.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lenet_bench.common.text import printable


def render(name: str, **content: Any) -> Markup:
    """Fill in a template of `templates/`."""
    # The template has escaped what was filled in, so that its result is safe.
    return Markup(_environment().get_template(name).render(content))  # noqa: S704


def check(name: str) -> None:
    """Load a template, and raise an error of Jinja's where it is missing or broken."""
    _environment().get_template(name)


def _without_controls(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lenet_bench.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
