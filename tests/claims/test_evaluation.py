"""Whole sweeps: which claims they decide, and how."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lenet_bench.claims.evaluation import claims_in, gather_evidence, judge, judge_claims
from lenet_bench.claims.evidence import SEEN, as_table
from lenet_bench.claims.registry import CLAIMS
from lenet_bench.records import schema
from lenet_bench.records.loading import load_sweep
from lenet_bench.records.run_tables import READ_EXACTLY
from lenet_bench.records.schema import names
from lenet_bench.reporting.claims_page import explained_table
from lenet_bench.reporting.tables.table import as_html
from tests.claims.made_up import runs_of, sweep
from tests.fabricate import descent, write_run


def test_what_is_lacking_leaves_a_claim_inconclusive() -> None:
    claim = CLAIMS["sigmoid_slower"]
    row = judge(claim, runs_of(relu={0: 0.5}))
    assert (row["verdict"], row["note"]) == ("inconclusive", "there is no run of sigmoid")


def verdicts(folder: Path) -> dict[str, str]:
    """Verdicts by claim."""
    frame = claims_in(load_sweep(folder))
    assert tuple(frame.columns) == names(schema.CLAIMS)
    return dict(zip(frame["claim"], frame["verdict"], strict=True))


def test_verdicts_follow_the_curves(tmp_path: Path) -> None:
    as_said = sweep(tmp_path / "a", {"sigmoid": 100, "tanh": 5, "relu": 5})
    assert verdicts(as_said) == {"sigmoid_slower": "supported", "tanh_close_to_relu": "supported"}
    reverse = sweep(tmp_path / "b", {"sigmoid": 5, "tanh": 100, "relu": 5})
    assert verdicts(reverse) == {"sigmoid_slower": "refuted", "tanh_close_to_relu": "refuted"}
    alike = sweep(tmp_path / "c", {"sigmoid": 5, "tanh": 5, "relu": 5})
    assert verdicts(alike)["sigmoid_slower"] == "refuted"  # negligible: the curves are the same
    few = sweep(tmp_path / "d", {"sigmoid": 100, "tanh": 5, "relu": 5}, seeds=2)
    assert set(verdicts(few).values()) == {"inconclusive"}
    assert claims_in(load_sweep(few))["note"].str.contains("fewer than 3 seeds").all()


def test_sweeps_of_no_preset_have_no_claims(tmp_path: Path) -> None:
    write_run(tmp_path, "a", descent(100, 0))
    frame = claims_in(load_sweep(tmp_path))
    assert frame.empty
    assert tuple(frame.columns) == names(schema.CLAIMS)
    other = sweep(tmp_path / "other", {"relu": 5}, preset="my_own")
    assert claims_in(load_sweep(other)).empty


def test_data_sets_are_judged_apart(tmp_path: Path) -> None:
    plateaus = {"sigmoid": 100.0, "tanh": 5.0, "relu": 5.0}
    first = sweep(tmp_path / "a", plateaus)
    second = sweep(tmp_path / "b", plateaus, classes=7, dataset="mnist")
    frame = claims_in(load_sweep([first, second]))
    assert frame["claim"].to_list() == ["sigmoid_slower"] * 2 + ["tanh_close_to_relu"] * 2
    assert frame["dataset"].to_list() == ["digits", "mnist"] * 2
    assert "ReLU. (mnist)</td>" in as_html(explained_table(frame))
    table = as_table([part.evidence for part in gather_evidence(load_sweep([first, second]))])
    assert table.groupby("dataset").size().to_dict() == {"digits": 18, "mnist": 18}


def test_numbers_of_claims_follow_from_the_evidence_as_it_is_written(tmp_path: Path) -> None:
    """A reader with nothing but evidence.csv: pair by seed, subtract, take the mean."""
    folder = sweep(tmp_path, {"sigmoid": 100, "tanh": 5, "relu": 5})
    parts = gather_evidence(load_sweep(folder))
    table = as_table([part.evidence for part in parts])
    assert list(table.columns) == [
        "run", "activation", "seed", "status", "never",
        "mean_train_loss", "final_validation_loss", "test_accuracy", "gap", "dead_fraction",
        "dormant_fraction", "iterations_to_target", "gradient_ratio", "zero_fraction", *SEEN,
    ]  # fmt: skip
    (tmp_path / "evidence.csv").write_text(table.to_csv(index=False), encoding="utf-8")
    read = pd.read_csv(tmp_path / "evidence.csv", **READ_EXACTLY)
    pd.testing.assert_frame_equal(read, table, check_exact=True, check_dtype=False)
    loss = read.pivot(index="seed", columns="activation", values="mean_train_loss")
    effects = judge_claims(parts).set_index("claim")["effect"]
    differences = [(loss["sigmoid"] - loss[other]).mean() for other in ("tanh", "relu")]
    assert float(effects["sigmoid_slower"]) in [pytest.approx(mean) for mean in differences]
