"""Sweeps in, a row per claim out.

Which claims a sweep can decide follows from the preset that its runs were composed from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from lenet_bench.analysis.labels import FINGERPRINT, data_labels
from lenet_bench.claims.evidence import Evidence, collect
from lenet_bench.claims.registry import CLAIMS, Claim
from lenet_bench.claims.rules import Finding, LackingError
from lenet_bench.records import schema
from lenet_bench.records.loading import Sweep
from lenet_bench.records.schema import names


@dataclass(frozen=True, eq=False)
class PresetEvidence:
    """The runs of a preset on one data set, which are judged together."""

    preset: str
    dataset: str
    evidence: Evidence


def claims_in(sweep: Sweep, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """The claims that these runs can decide, a row each; empty if there are none.

    Args:
        sweep: Runs of a preset on different data are judged apart.
        summary: What `summarise` made of the sweep, if it did.
    """
    return decided(parts_of(sweep, summary=summary))


def parts_of(
    sweep: Sweep, claims: Mapping[str, Claim] = CLAIMS, summary: pd.DataFrame | None = None
) -> list[PresetEvidence]:
    """The evidence that these runs are for the claims, read once; empty if they are none."""
    runs = sweep.runs
    labels = data_labels(runs)
    wanted = {claim.preset for claim in claims.values()}
    parts = []
    for preset in sorted(wanted & set(runs["preset"].dropna())):
        of_preset = runs[runs["preset"] == preset]
        data = of_preset.groupby(["dataset", FINGERPRINT], dropna=False, sort=False)
        names = [str(dataset) for (dataset, _), _ in data]
        for (dataset, fingerprint), part in data:
            chosen = runs["directory"].isin(part["directory"])
            # The sweep itself where it can be, because it keeps the files that it has read.
            selected = sweep if chosen.all() else sweep.select(chosen)
            known = None if summary is None else summary[chosen.to_numpy()].reset_index(drop=True)
            name = str(dataset)
            if names.count(name) > 1:
                name = f"{name} ({labels.get(str(fingerprint), 'unknown images')})"
            parts.append(PresetEvidence(preset, name, collect(selected, known)))
    return parts


def decided(parts: Sequence[PresetEvidence], claims: Mapping[str, Claim] = CLAIMS) -> pd.DataFrame:
    """Every claim on every part that can decide it, a row each."""
    return as_frame(
        judge(claim, part.evidence, part.dataset)
        for part in parts
        for claim in claims.values()
        if claim.preset == part.preset
    )


def judge(claim: Claim, evidence: Evidence, dataset: str = "") -> dict[str, object]:
    """The row of a claim; what it lacks leaves it inconclusive, and the note says so."""
    try:
        finding = claim.test.evaluate(evidence)
    except LackingError as lacking:
        finding = Finding("inconclusive", note=str(lacking))
    return _row(claim, finding, dataset)


def undecided(claim: Claim, reason: str) -> dict[str, object]:
    """The row of a claim without any evidence."""
    return _row(claim, Finding("inconclusive", note=reason))


def as_frame(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """Rows of claims in the registry's order."""
    order = list(CLAIMS)
    ordered = sorted(rows, key=lambda row: order.index(str(row["claim"])))
    return pd.DataFrame(ordered, columns=names(schema.CLAIMS))


def _row(claim: Claim, finding: Finding, dataset: str = "") -> dict[str, object]:
    return {
        "claim": claim.identifier,
        "statement": claim.statement,
        **asdict(finding),
        "preset": claim.preset,
        "dataset": dataset,
    }
