"""The pages' templates: a name and what to fill in go in, HTML comes out.

Everything that is filled in is escaped, unless another template made it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(name: str, **content: Any) -> Markup:
    """Fill in a template of `templates/`."""
    # The template has escaped what was filled in, so that its result is safe.
    return Markup(_environment().get_template(name).render(content))  # noqa: S704


def check(name: str) -> None:
    """Load a template, and raise an error of Jinja's where it is missing or broken."""
    _environment().get_template(name)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lenet_bench.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
