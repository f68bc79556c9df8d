"""What run directories say as evidence, compared with numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lenet_bench.claims.evidence import QUANTITIES, SEEN, Evidence, as_table, collect
from lenet_bench.claims.rules import LackingError
from lenet_bench.records.loading import load_sweep
from tests.claims.made_up import layers_csv, runs_of
from tests.fabricate import descent, write_csv, write_run


def test_fractions_are_of_all_hidden_units_at_the_last_probe(tmp_path: Path) -> None:
    run = write_run(tmp_path, "a", descent(200, 0))
    layers_csv(
        run,
        [
            (0, "conv1", 6, 1.0, 1.0, 0.9, 0, 0, 1.0),
            (0, "fc1", 30, 1.0, 1.0, 0.9, 0, 0, 1.0),
            (0, "fc2", 84, 0.0, 0.0, 0.5, 0, 0, 2.0),
            (0, "fc3", 84, 0.0, 0.0, 0.5, 0, 0, 4.0),
            (0, "fc4", 84, 0.0, 0.0, 0.5, 0, 0, 8.0),
            (200, "conv1", 6, 0.5, 0.0, 0.2, 3, 6, 1.0),
            (200, "fc1", 30, 0.1, 0.2, 0.6, 3, 30, 1.0),
            (200, "logits", 0, None, None, None, None, None, 99.0),
        ],
    )
    row = collect_one(tmp_path)
    assert row["dead_fraction"] == pytest.approx(6 / 36)  # 3 of 6 and 3 of 30
    assert row["dormant_fraction"] == pytest.approx(6 / 36)
    assert row["zero_fraction"] == pytest.approx((6 * 0.2 + 30 * 0.6) / 36)
    assert row["gradient_ratio"] == pytest.approx(2 / 8)
    assert row["gradient_ratio_per_layer"] == pytest.approx(1 / 2)
    assert row[list(SEEN)].to_list() == [6 + 30 + 6, 36, 1.0, 8.0]


def collect_one(sweep: Path) -> pd.Series[Any]:
    """The only run of a sweep."""
    (row,) = (row for _, row in collect(load_sweep(sweep)).runs.iterrows())
    return row


def test_networks_of_different_depth_each_have_their_own_last_layer(tmp_path: Path) -> None:
    deep = write_run(tmp_path, "deep", descent(50, 0), seed=0)
    shallow = write_run(tmp_path, "shallow", descent(50, 0), seed=1)
    layers_csv(deep, [(0, f"fc{i}", 84, 0, 0, 0, 0, 0, 10.0**i) for i in range(1, 13)])
    layers_csv(shallow, [(0, f"fc{i}", 84, 0, 0, 0, 0, 0, 5.0) for i in (1, 2)])
    runs = collect(load_sweep(tmp_path)).runs.set_index("seed")
    assert runs["gradient_ratio"].to_list() == pytest.approx([1e-10, 1.0])
    assert runs.loc[0, "gradient_ratio_per_layer"] == pytest.approx(0.1)
    assert runs["gradient_ratio_per_layer"].isna().to_list() == [False, True]
    assert runs["dead_fraction"].isna().all()  # no probe in training: nothing is known of its end


def test_runs_without_probes_have_no_fractions(tmp_path: Path) -> None:
    run = write_run(tmp_path, "r", descent(100, 0), probe={"every": 0})
    write_csv(run, "layers", [])
    row = collect_one(tmp_path)
    assert pd.isna(row["dead_fraction"])
    assert pd.isna(row["gradient_ratio"])
    assert row["mean_train_loss"] > 0


def test_a_run_that_diverged_counts_as_chance_and_one_that_failed_not_at_all(
    tmp_path: Path,
) -> None:
    losses = np.array([2.3, 5.0, np.inf])
    write_run(tmp_path / "a", "r", losses, status="diverged")
    row = collect_one(tmp_path / "a")
    assert row["mean_train_loss"] == row["final_validation_loss"] == pytest.approx(math.log(10))
    assert row["test_accuracy"] == pytest.approx(0.1)
    assert row["iterations_to_target"] == 200
    assert row["never"]
    assert pd.isna(row["gap"])
    write_run(tmp_path / "b", "r", descent(100, 0), status="failed")
    row = collect_one(tmp_path / "b")
    assert row[list(QUANTITIES)].isna().all()


def test_runs_are_selected_by_what_their_configuration_says() -> None:
    evidence = runs_of(relu={1: 0.5, 0: 0.4}, tanh={0: 0.3})
    assert evidence.values("relu lr=1e-2", "test_accuracy").to_dict() == {0: 0.4, 1: 0.5}
    assert len(evidence.select("relu model.hidden=[120,84]")) == 2
    for selection in ("relu lr=0.1", "relu optimizer=sgd", "relu lr=fast"):
        with pytest.raises(LackingError, match="there is no run of"):
            evidence.select(selection)
    twice = Evidence(runs=pd.concat([evidence.runs, evidence.runs.assign(lr=0.1)]))
    with pytest.raises(LackingError, match="have the same seed; they differ in lr"):
        twice.select("relu")


def test_evidence_says_what_varies_and_nothing_of_the_machine(tmp_path: Path) -> None:
    for number, (lr, status) in enumerate([(0.1, "finished"), (0.5, "diverged")]):
        losses = np.full(200, 2.3) if status == "finished" else np.array([2.3, np.inf])
        run = write_run(tmp_path, f"r{number}", losses, status=status, lr=lr, seed=number)
        layers_csv(run, [(0, "fc1", 10, 0.0, 0.0, 0.5, 0, 0, 1.0)])
    table = as_table([collect(load_sweep(tmp_path))])
    assert list(table.columns[:6]) == ["run", "activation", "lr", "seed", "status", "never"]
    assert table["never"].to_list() == [True, True]
    assert table["iterations_to_target"].to_list() == [200, 200]
    assert "dead_fraction" not in table  # no run was probed in training
    machine = {"directory", "sweep", "commit", "seconds", "started", "ended", "trained_on"}
    assert not machine & set(table)
