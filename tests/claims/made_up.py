"""Evidence made up for tests of claims: whole presets without training, and frames made by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_bench.analysis.summary import SUMMARY
from lenet_bench.claims.evidence import QUANTITIES, SEEN, Evidence, probe_results
from lenet_bench.claims.kinds import PLACES
from lenet_bench.claims.registry import CLAIMS, COST, EXACT
from lenet_bench.hydra_app.composer import Composer
from tests.fabricate import descent, probed, write_csv, write_run

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "conf" / "experiment"
TRAINED = {claim.preset for claim in CLAIMS.values()} - {EXACT, COST}
SPREAD = np.array([-1.2, -0.4, 0.1, 0.5, 1.0])  # mean 0: what is added is the mean


def spread(mean: float, deviation: float, seeds: int = 5) -> pd.Series[float]:
    """Values by seed with this mean, differing in a fixed way."""
    pattern = np.resize(SPREAD, seeds)
    values: pd.Series[float] = pd.Series(mean + deviation * (pattern - pattern.mean()))
    return values


@cache
def grid(preset: str) -> pd.DataFrame:
    """A run for each job of a preset, with the configuration that its directory would hold."""
    content = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text(encoding="utf-8"))
    swept = content.pop("hydra")["sweeper"]["params"]
    fixed = {key: value for key, value in content.items() if not isinstance(value, dict)}
    parser = OverridesParser.create(Composer("config", []).loader)
    choices = []
    for key, text in swept.items():
        (override,) = parser.parse_overrides([f"{key}={text}"])
        values = override.sweep_string_iterator() if override.is_sweep_override() else [str(text)]
        choices.append([(key, yaml.safe_load(str(value))) for value in values])
    rows = []
    for number, job in enumerate(itertools.product(*choices)):
        flat: dict[str, Any] = {
            "run": f"run{number}", "activation": "relu", "init": "xavier_uniform", "init.gain": 1.0,
            "optimizer": "sgd", "lr": 0.01, "seed": 0, "model.batch_norm": "none", **fixed,
        }  # fmt: skip
        flat |= {key: json.dumps(value) if isinstance(value, list) else value for key, value in job}
        rows.append(flat)
    return pd.DataFrame(rows)


def noisy_evidence(preset: str) -> Evidence:
    """Evidence for a preset's whole grid whose numbers are noise."""
    runs = grid(preset).copy()
    generator = np.random.default_rng(0)
    for name in (*QUANTITIES, "zero_fraction", "final_train_loss"):
        runs[name] = generator.uniform(0.2, 0.4, len(runs))
    runs = runs.assign(status="finished", classes=10, never=False, budget=100)
    runs = runs.assign(target_reached=pd.array([True] * len(runs), dtype="boolean"))
    layers = runs[["run"]].merge(
        pd.DataFrame({"iteration": [0, 50, 50], "layer": ["fc1", "fc1", "logits"]}), how="cross"
    )
    layers = layers.assign(
        units=84, dead_fraction=0.0, dormant_fraction=0.0, zero_fraction=0.0, died=1, revived=0,
        gradient_norm=0.0,
    )  # fmt: skip
    runs = runs.merge(probe_results(layers)[["run", *SEEN]], on="run")
    configured = [*grid(preset).columns, *(name for name in SUMMARY if name in runs)]
    return Evidence(runs[configured], runs, layers)


def layers_csv(directory: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows (iteration, layer, units, dead, dormant, zero, died, revived, gradient norm)."""
    columns = (
        *("units", "dead_fraction", "dormant_fraction", "zero_fraction"),
        *("died", "revived", "gradient_norm"),
    )
    write_csv(
        directory,
        "layers",
        [
            probed(iteration, layer, **dict(zip(columns, values, strict=True)))
            for iteration, layer, *values in rows
        ],
    )


def runs_of(**values: dict[int, float]) -> Evidence:
    """Evidence of one quantity, `test_accuracy`, by activation and seed."""
    rows = [
        {"run": f"{name}{seed}", "activation": name, "lr": 0.01, "seed": seed,
         "model.hidden": "[120, 84]", "test_accuracy": value, "status": "finished", "classes": 10,
         "never": False}
        for name, by_seed in values.items()
        for seed, value in by_seed.items()
    ]  # fmt: skip
    return Evidence(runs=pd.DataFrame(rows))


def sweep(
    folder: Path,
    plateaus: dict[str, float],
    seeds: int = 6,
    preset: str = "sigmoid_tanh_relu",
    **changes: Any,
) -> Path:
    """A preset's directory, whose activations stay at chance for so many iterations."""
    for name, plateau in plateaus.items():
        for seed in range(seeds):
            losses = descent(200, seed, plateau=plateau)
            write_run(
                *(folder, f"{name}-{seed}", losses),
                preset=preset,
                activation=name,
                seed=seed,
                **changes,
            )
    return folder


def with_values(preset: str, **of: Callable[[pd.DataFrame], Any]) -> Evidence:
    """A preset's grid with columns computed from its configuration and noise over seeds."""
    evidence = noisy_evidence(preset)
    runs = evidence.runs
    noise = np.random.default_rng(3).standard_normal(len(runs))
    for name, function in of.items():
        runs[name] = function(runs) + 1e-3 * noise
    return evidence


def tuned(best: dict[str, float], iterations: dict[str, float]) -> Evidence:
    """The learning-rate preset, in which each activation is best at one of the rates."""
    evidence = noisy_evidence("learning_rate")
    runs = evidence.runs
    noise = np.random.default_rng(5).uniform(0, 0.01, len(runs))
    optimum = runs["activation"].map(best).fillna(0.03)
    runs["final_validation_loss"] = np.abs(np.log(runs["lr"] / optimum)) + noise
    runs["iterations_to_target"] = runs["activation"].map(iterations).fillna(50.0) * np.exp(noise)
    columns = list(evidence.summary.columns)
    return Evidence(runs[columns], runs, evidence.layers)


def rounds(**relative: float) -> Evidence:
    """Costs relative to ReLU, in nine noisy rounds, everywhere the same."""
    generator = np.random.default_rng(2)
    rows = [
        {"activation": name, "where": where, "pass": passes, "implementation": implementation,
         "round": number, "relative": value * (1 + 0.01 * generator.standard_normal())}
        for name, value in {"relu": 1.0, **relative}.items()
        for where, implementation in PLACES
        for passes in ("forward", "forward_backward")
        for number in range(9)
    ]  # fmt: skip
    return Evidence(rounds=pd.DataFrame(rows))
