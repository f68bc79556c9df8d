"""The registry of claims against the presets that are to decide them."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from lenet_bench.claims.evaluation import judge
from lenet_bench.claims.evidence import Evidence
from lenet_bench.claims.registry import CLAIMS, COST, EXACT
from tests.claims.made_up import PRESETS, TRAINED, noisy_evidence


def test_every_claim_says_all_that_it_has_to_say() -> None:
    assert len(CLAIMS) == 34
    assert len({claim.statement for claim in CLAIMS.values()}) == len(CLAIMS)
    for name, claim in CLAIMS.items():
        assert name == claim.identifier == name.lower()
        assert name.isidentifier()
        assert claim.statement.endswith(".")
        assert all((claim.source, claim.quantity, claim.rule))
        assert claim.preset in (EXACT, COST) or (PRESETS / f"{claim.preset}.yaml").is_file()


@pytest.mark.parametrize("preset", sorted(TRAINED))
def test_every_claim_finds_its_runs_in_its_preset(preset: str) -> None:
    evidence = noisy_evidence(preset)
    for claim in CLAIMS.values():
        if claim.preset == preset:
            finding = claim.test.evaluate(evidence)
            assert finding.seeds >= 3, claim.identifier
            assert math.isfinite(finding.effect), claim.identifier


@pytest.mark.parametrize("preset", sorted(TRAINED))
def test_every_claim_notices_when_its_preset_no_longer_holds_what_it_compares(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = noisy_evidence(preset)
    selected: list[str] = []
    select = Evidence.select

    def remembering(self: Evidence, selection: str) -> pd.DataFrame:
        selected.append(selection)
        return select(self, selection)

    for claim in (claim for claim in CLAIMS.values() if claim.preset == preset):
        selected.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Evidence, "select", remembering)
            whole = claim.test.evaluate(evidence)
        for selection in dict.fromkeys(selected):
            configured = selection.partition(" setting=")[0]
            runs, summary = evidence.runs, evidence.summary
            name, *conditions = configured.split()
            gone = runs["activation"] == name
            for key, _, value in (condition.partition("=") for condition in conditions):
                gone &= runs[key].astype(str).str.replace(" ", "").isin([value, f"{value}.0"])
            assert gone.any(), f"{claim.identifier}: {selection}"
            less = Evidence(summary[~gone.to_numpy()], runs[~gone], evidence.layers)
            row = judge(claim, less)
            gap = f"there is no run of {selection}"
            if str(row["note"]).endswith(f" is lacking: {gap}"):  # what decides nothing
                assert selection not in claim.rule, claim.identifier
                assert row["effect"] == whole.effect, claim.identifier
            else:
                assert (row["verdict"], row["note"]) == ("inconclusive", gap), claim.identifier


def test_rules_in_words_name_what_is_compared() -> None:
    assert CLAIMS["sigmoid_slower"].rule == (
        "mean training loss (nats): sigmoid - tanh above 0 (negligible: within 5 % of the loss of "
        "chance), sigmoid - relu above 0 (negligible: within 5 % of the loss of chance); "
        "all of these must be supported"
    )
    assert CLAIMS["relu_gradients_keep"].rule.endswith("above 0.9")
    assert CLAIMS["tanh_close_to_relu"].rule.endswith(
        "test accuracy: tanh - relu within 0.02; all of these must be supported"
    )
