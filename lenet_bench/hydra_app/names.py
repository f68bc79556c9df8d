"""The names of sweeps and runs, as the resolvers `${sweep_name:}` and `${run_name:}`.

In: a composed configuration. Out: a folder's name. A run is named by what varies in its sweep and
by the fingerprint of its whole configuration, so that the same run has the same place again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lenet_bench.hydra_app.plain import plain
from lenet_bench.hydra_app.session import current
from lenet_bench.records.configuration import OF_THE_COMMAND

IN_EVERY_NAME = ("activation", "init", "lr", "seed")
ENDS_IN_FINGERPRINT = re.compile(r"-([0-9a-f]{8})$")


def register_resolvers() -> None:
    """Make `${run_name:}` and `${sweep_name:}` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)


def sweep_name(choice: str | None) -> str:
    """Resolver of `hydra.sweep.dir`: the preset's name, or `sweep`."""
    return "sweep" if choice in (None, "null", "None") else _as_file_name(str(choice))


def run_name(_root_: DictConfig) -> str:
    """Resolver of `hydra.sweep.subdir`: a readable slug of what varies, then the fingerprint."""
    session = current()
    config = session.parser.parse(plain(_root_))
    known = _names_in(Path(str(_root_.hydra.sweep.dir)))
    if config.fingerprint in known:
        return known[config.fingerprint]
    overrides = [str(item).lstrip("+") for item in _root_.hydra.overrides.task]
    values = dict(item.split("=", 1) for item in overrides if "=" in item)
    parts = [config.activation.name, config.init.name, f"lr{config.lr:g}", f"seed{config.seed}"]
    for key, value in values.items():
        varies = session.varying is None or key in session.varying
        if varies and key not in (*IN_EVERY_NAME, "experiment", *OF_THE_COMMAND):
            # A choice speaks for itself; a value needs the name of its key.
            choice = value if value.isidentifier() and "." not in key else None
            parts.insert(-2, choice or f"{key.rsplit('.', 1)[-1]}{value}")
    slug = _as_file_name("-".join(parts))[:120].strip("_")
    return f"{slug}-{config.fingerprint}"


@contextlib.contextmanager
def naming_by_what_varies(job_overrides: Sequence[Sequence[str]]) -> Iterator[None]:
    """Let the names of runs hold only the keys that differ between these jobs."""
    values: dict[str, set[str]] = {}
    for overrides in job_overrides:
        for item in overrides:
            key, _, value = item.lstrip("+~").partition("=")
            values.setdefault(key, set()).add(value)
    session = current()
    session.varying = frozenset(key for key, seen in values.items() if len(seen) > 1)
    try:
        yield
    finally:
        session.varying = None


def _names_in(directory: Path) -> dict[str, str]:
    """The names of the runs that a sweep directory held at first, by fingerprint.

    What varies in one command may be constant in another, and so no part of the slug.
    """
    known = current().names
    if directory not in known:
        names = sorted(path.name for path in directory.glob("*-*") if path.is_dir())
        matches = [(ENDS_IN_FINGERPRINT.search(name), name) for name in names]
        known[directory] = {match[1]: name for match, name in matches if match}
    return known[directory]


def _as_file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)
