"""From the runs of presets to verdicts: a sweep in, a row of `claims.csv` per claim out.

Each claim names the preset that decides it. So the preset that a run was composed from says which
claims the run is evidence for.
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
    """The runs of one preset on one data set, which are judged together.

    Attributes:
        preset: The name of the preset.
        dataset: What the data are called.
        evidence: What the runs say.
    """

    preset: str
    dataset: str
    evidence: Evidence


def claims_in(sweep: Sweep, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Judge the claims that these runs can decide.

    Args:
        sweep: The runs. Those of one preset on different data are judged separately.
        summary: The frame that `summarise` made of the sweep, if there is one already.

    Returns:
        A row per claim and data set; no row where the runs can decide no claim.
    """
    return judge_claims(gather_evidence(sweep, summary=summary))


def gather_evidence(
    sweep: Sweep, claims: Mapping[str, Claim] = CLAIMS, summary: pd.DataFrame | None = None
) -> list[PresetEvidence]:
    """Gather what these runs say about the claims, one piece of evidence per preset and data."""
    runs = sweep.runs
    labels = data_labels(runs)
    wanted = {claim.preset for claim in claims.values()}
    gathered = []
    for preset in sorted(wanted & set(runs["preset"].dropna())):
        of_preset = runs[runs["preset"] == preset]
        data = of_preset.groupby(["dataset", FINGERPRINT], dropna=False, sort=False)
        datasets = [str(dataset) for (dataset, _), _ in data]
        for (dataset, fingerprint), part in data:
            chosen = runs["directory"].isin(part["directory"])
            # Preferably the sweep itself, because it keeps the files that it has read.
            selected = sweep if chosen.all() else sweep.select(chosen)
            known = None if summary is None else summary[chosen.to_numpy()].reset_index(drop=True)
            name = str(dataset)
            if datasets.count(name) > 1:
                name = f"{name} ({labels.get(str(fingerprint), 'unknown images')})"
            gathered.append(PresetEvidence(preset, name, collect(selected, known)))
    return gathered


def judge_claims(
    gathered: Sequence[PresetEvidence], claims: Mapping[str, Claim] = CLAIMS
) -> pd.DataFrame:
    """Judge every claim by every piece of evidence that can decide it, a row each."""
    return claims_frame(
        judge(claim, each.evidence, each.dataset)
        for each in gathered
        for claim in claims.values()
        if claim.preset == each.preset
    )


def judge(claim: Claim, evidence: Evidence, dataset: str = "") -> dict[str, object]:
    """Judge a claim. If evidence is lacking, it is inconclusive, and the note says what lacks."""
    try:
        finding = claim.test.evaluate(evidence)
    except LackingError as lacking:
        finding = Finding("inconclusive", note=str(lacking))
    return _row(claim, finding, dataset)


def without_evidence(claim: Claim, reason: str) -> dict[str, object]:
    """The row of a claim for which there is no evidence at all."""
    return _row(claim, Finding("inconclusive", note=reason))


def claims_frame(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """The frame of `claims.csv`, with its rows in the order of the registry."""
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
