"""Sweeps in, a row per claim out.

Which claims a sweep can decide follows from the preset that its runs were composed from
(``experiment=NAME`` in ``.hydra/overrides.yaml``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lenet_bench.analysis.loading import Sweep, load_sweep
from lenet_bench.claims.evidence import Evidence, collect
from lenet_bench.claims.registry import CLAIMS, Claim
from lenet_bench.claims.rules import Finding, LackingError

COLUMNS = (
    *("claim", "statement", "verdict", "effect", "low", "high", "p_value", "seeds", "preset"),
    "note",
)
"""Of ``claims.csv``."""

PRESET = re.compile(r"^- ['\"]?experiment=([\w/.+-]+)", re.MULTILINE)


def claims_of(directories: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """The claims that sweep directories can decide, a row each; empty if there are none.

    Raises:
        UserError: A directory holds no runs.
    """
    return claims_in(load_sweep(directories))


def claims_in(sweep: Sweep, claims: Mapping[str, Claim] = CLAIMS) -> pd.DataFrame:
    """The claims that these runs can decide, a row each; empty if there are none.

    Runs of a preset on different data are judged apart, and the note says on which. Where no run
    comes from a preset with claims, only the runs' overrides are read.
    """
    runs = sweep.runs
    presets = runs["directory"].map(preset_of)
    wanted = {claim.preset for claim in claims.values()}
    rows = []
    for preset in sorted(wanted & set(presets.dropna())):
        of_preset = presets == preset
        parts = runs[of_preset].groupby(
            ["dataset", "dataset.fingerprint"], dropna=False, sort=False
        )
        for (dataset, _), part in parts:
            chosen = runs["directory"].isin(part["directory"])
            # The sweep itself where it can be, because it keeps the files that it has read.
            evidence = collect(sweep if chosen.all() else sweep.select(chosen))
            where = f"on {dataset}: " if parts.ngroups > 1 else ""
            rows += [
                judge(claim, evidence, where) for claim in claims.values() if claim.preset == preset
            ]
    return as_frame(rows)


def judge(claim: Claim, evidence: Evidence, where: str = "") -> dict[str, object]:
    """The row of a claim; what it lacks leaves it inconclusive, and the note says so."""
    try:
        finding = claim.test.evaluate(evidence)
    except LackingError as lacking:
        finding = Finding("inconclusive", note=str(lacking))
    return _row(claim, finding, where)


def undecided(claim: Claim, reason: str) -> dict[str, object]:
    """The row of a claim without any evidence."""
    return _row(claim, Finding("inconclusive", note=reason))


def as_frame(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """Rows of claims in the registry's order."""
    order = list(CLAIMS)
    ordered = sorted(rows, key=lambda row: order.index(str(row["claim"])))
    return pd.DataFrame(ordered, columns=list(COLUMNS))


def preset_of(run: str | Path) -> str | None:
    """The preset that a run directory was composed from, if any."""
    try:
        text = (Path(run) / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = PRESET.search(text)
    return found[1] if found else None


def _row(claim: Claim, finding: Finding, where: str = "") -> dict[str, object]:
    told = {
        "claim": claim.identifier,
        "statement": claim.statement,
        **asdict(finding),
        "preset": claim.preset,
    }
    told["note"] = where + finding.note
    return told
