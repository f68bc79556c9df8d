"""Tries what a report needs before anything is trained, so that training is not paid for in vain.

In: the directory that the report will be written to. Out: nothing, or a `UserError` that says why a
report could not be made: a library that cannot be loaded or draw, or something in the way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lenet_bench.common.errors import UserError, in_one_line
from lenet_bench.common.surroundings import explain_surroundings

FOLDER = "figures"
FILES = ("summary.csv", "comparisons.csv", "tuned.csv", "claims.csv", "report.html")


def rehearse(output: Path) -> None:
    """Load what a report is made with, draw an empty figure, and look for what is in its way.

    Raises:
        UserError: A report cannot be made.
    """
    with libraries_explained():
        if problem := _in_the_way(output):
            raise UserError(problem)
        _draw()


@contextlib.contextmanager
def libraries_explained() -> Iterator[None]:
    """Turn what libraries raise while they are loaded into a line for the user.

    Raises:
        UserError: One of them cannot be used.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever they raise for their settings
        reason = explain_surroundings(error) or in_one_line(error)
        hint = ""
        if "matplotlib" in _packages(error):
            hint = "; matplotlib's settings may be the cause: a file matplotlibrc, MATPLOTLIBRC"
        raise UserError(f"no report can be made: {reason}{hint}") from error


def _draw() -> None:
    from lenet_bench.reporting import report, templates, terminal  # noqa: F401
    from lenet_bench.reporting.figures import stylesheet

    with stylesheet.style():
        figure, body = stylesheet.new_figure("Title", "Caption", stylesheet.WIDTH, 1)
        body.subplots().plot([0, 1])
    for suffix in report.FORMATS:
        stylesheet.save(figure, Path(f"figure.{suffix}"))
    templates.check("report.html")


def _in_the_way(output: Path) -> str | None:
    from lenet_bench.claims.files import is_claims_folder

    if (output / "status.json").exists():
        return f"{output}: is the directory of a run; name another for the sweep"
    if is_claims_folder(output):
        return (
            f"{output}: holds what lenet-bench-claims wrote, which the report would replace; name "
            "another directory"
        )
    folder = output / FOLDER
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
        return f"{folder}: the report needs a folder of this name that it can write to; move it"
    for name in FILES:
        if (output / name).is_dir():
            return f"{output / name}: a file of the report has this name; move the folder"
    return None


def _packages(error: BaseException) -> set[str]:
    """The packages whose code an error came through."""
    names = set()
    trace = error.__traceback__
    while trace is not None:
        names.add(str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0])
        trace = trace.tb_next
    return names
