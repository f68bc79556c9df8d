"""The benchmarks: a tiny invocation of the real command, and the arithmetic behind its numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.floor import step_flops
from benchmarks.sweeps import Rows, steady_rate
from benchmarks.throughput import mixed
from benchmarks.workload import Workload

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_a_tiny_benchmark_writes_its_tables(tmp_path: Path) -> None:
    """With the methods that need no extra package and start fast."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.throughput"),
            *("--rounds", "1", "--iterations", "200", "--runs", "1", "--images", "300"),
            *("--batch", "8", "--threads", "1", "--output", "results"),
            *("--methods", "ours", "in_memory"),
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ms per model and iteration" in done.stdout
    results = tmp_path / "results"
    assert {path.name for path in results.iterdir()} == {
        *("rounds.csv", "throughput.csv", "machine.json", "throughput.png", "throughput.svg")
    }
    rounds = pd.read_csv(results / "rounds.csv")
    assert list(rounds.columns) == [
        *("method", "label", "models", "round", "ms_per_model_iteration", "gflops"),
        *("startup_seconds", "other_load"),
    ]
    assert set(rounds["method"]) == {"ours", "in_memory", "floor"}
    assert (rounds["ms_per_model_iteration"] > 0).all()
    summary = pd.read_csv(results / "throughput.csv").set_index("method")
    assert (summary[["ms_median", "ms_min", "ms_max", "share_of_sgemm"]] > 0).all(axis=None)
    assert np.isfinite(summary.loc[["ours", "in_memory"], "final_loss"]).all()
    facts = json.loads((results / "machine.json").read_text(encoding="utf-8"))
    assert facts["left_out"] == {}
    assert facts["cores"] >= 1


def test_operations_of_a_step() -> None:
    """Counted by hand for CIFAR's images: 1,303,440 forward, 705,600 of them in the first layer."""
    workload = Workload(Path(), (), 1, 3, 32, 10, (0.0,), (1.0,), batch=2)
    assert step_flops(workload) == 2 * (3 * 1_303_440 - 705_600)


def test_the_rate_of_a_sweep_leaves_out_start_and_end() -> None:
    """Two workers, three stacks: counting ends when the first worker has nothing left to do."""
    first = Rows([10.0, 20.0, 30.0], [50, 100, 150])  # 5 iterations a second, from 0 s
    second = Rows([12.0, 22.0, 32.0], [50, 100, 150])
    third = Rows([41.0, 61.0, 71.0], [50, 100, 150], opened=31.0)  # slow, but after the first
    rate, start = steady_rate([first, second, third], skip=50)
    assert start == 12.0
    # From 12 s to 32 s: the first for 18 s, the second all the time, the third for one second.
    assert rate == pytest.approx((18 + 20 + 1) * 5 / 20)


@pytest.mark.parametrize("runs", [1, 4, 8, 16, 64])
def test_every_sweep_holds_what_the_peers_train(runs: int) -> None:
    """ReLU at a learning rate of 0.01, and as many runs as were asked for."""
    activations, rates, _ = (item.partition("=")[2].split(",") for item in mixed(runs))
    assert len(activations) * len(rates) == runs
    assert len(set(rates)) == len(rates)
    assert "relu" in activations
    assert "0.01" in rates
