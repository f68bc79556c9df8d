"""Run directories made up for tests: synthetic curves in the files' real form.

Configurations in, directories out, as a sweep would leave them; also the ways in which a killed
run leaves them damaged.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lenet_bench.common.layers import LOGITS, hidden_layer_names
from lenet_bench.records.configuration import FILE as CONFIGURATION
from lenet_bench.records.file_facts import TABLES, WEIGHTS, FileFacts, facts_of_content
from lenet_bench.records.schema import RUN_TABLES, EvaluationRow, LayerRow, TrainRow, names

HIDDEN = hidden_layer_names(2)


def configuration(**changes: Any) -> dict[str, Any]:
    """A run's configuration; `activation="relu"` is short for `{"name": "relu"}`."""
    config: dict[str, Any] = {
        "activation": {"name": "relu"},
        "init": {"name": "xavier_uniform", "gain": 1.0, "logits_gain": 1.0, "bias": None},
        "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": False},
        "lr": 0.01,
        "weight_decay": 0.0,
        "schedule": {"name": "constant", "warmup": 0},
        "seed": 0,
        "dataset": {
            "name": "digits",
            "train_size": None,
            "validation_size": 200,
            "split_seed": 0,
        },
        "model": {
            "name": "lenet5",
            "channels": [6, 16],
            "hidden": [120, 84],
            "width": 1.0,
            "pool": "max",
            "batch_norm": "none",
        },
        "batch_size": 128,
        "iterations": 200,
        "epochs": None,
        "probe": {"every": 200, "images": 1024, "tau": 0.1, "saturation": 0.05},
        "evaluate": {"every": 50, "train_images": 1024},
        "checkpoint": {"every": 500},
        "precision": "float32",
        "device": "auto",
        "report": {"target_loss": None},
    }
    for key, value in changes.items():
        named = isinstance(value, str) and isinstance(config.get(key), dict)
        config[key] = {**config[key], "name": value} if named else value
    return config


def write_run(
    sweep: Path,
    name: str,
    losses: np.ndarray[Any, Any],
    *,
    status: str = "finished",
    classes: int = 10,
    dead: Mapping[str, float] | None = None,
    test_accuracy: float | None = None,
    preset: str | None = None,
    fingerprint: str | None = None,
    **changes: Any,
) -> Path:
    """One run directory with the given training losses; the rest follows from them."""
    directory = sweep / name
    directory.mkdir(parents=True)
    config = configuration(**changes)
    content = {"preset": preset, "config": config}
    (directory / "config.json").write_text(json.dumps(content), encoding="utf-8")
    train = [
        TrainRow(i, 1 + i // 11, config["lr"], float(loss), accuracy=0.5, grad_norm=1.25)
        for i, loss in enumerate(losses, start=1)
    ]
    write_csv(directory, "train", train)
    accuracies = _accuracies(losses, classes)
    evaluations = [
        EvaluationRow(i, 1 + i // 11, split, 1.5, accuracies[min(i, len(losses) - 1)])
        for i in range(0, len(losses) + 1 if len(losses) else 0, 50)
        for split in ("train", "validation")
    ]
    finished = status == "finished"
    test = test_accuracy
    if test is None and finished:
        test = accuracies[-1]
    if finished:
        assert test is not None
        evaluations.append(EvaluationRow(len(losses), 9, "test", 0.7, test))
    write_csv(directory, "evaluation", evaluations)
    layers = []
    for i in range(0, len(losses) + 1, 50):
        for layer in HIDDEN:
            share = (dead or {}).get(layer, 0.0) * i / max(len(losses), 1)
            layers.append(probed(i, layer, dead_fraction=share))
        layers.append(logits(i, weight_norm=2.5, gradient_norm=0.2))
    write_csv(directory, "layers", layers)
    record = {
        "status": status,
        "error": {
            "diverged": f"the loss was not finite at iteration {len(losses)}",
            "failed": "RuntimeError: out of memory",
        }.get(status),
        "name": name,
        "iteration": len(losses),
        "iterations": config["iterations"],
        "seconds": 12.5,
        "metrics": {"test_accuracy": test if finished else None},
        "started": "2025-01-01T10:00:00+00:00",
        "ended": "2025-01-01T10:01:00+00:00",
        "versions": {"torch": "2.6.0"},
        "commit": "0123abc",
        "device": "cpu",
        "dataset": {
            "name": config["dataset"]["name"],
            "fingerprint": fingerprint or f"f{classes}",
            "classes": classes,
            "train": 1297,
            "validation": 200,
            "test": 300,
        },
        "stack": {"size": 5, "position": 0, "seconds": 62.5},
    }
    (directory / "status.json").write_text(json.dumps(record), encoding="utf-8")
    return directory


def write_small_sweep(directory: Path) -> Path:
    """Two activations, two seeds each: `relu-0`, `relu-1`, `tanh-0`, `tanh-1`."""
    for activation, rate in (("relu", 20.0), ("tanh", 10.0)):
        for seed in range(2):
            losses = descent(120, seed, rate=rate)
            write_run(directory, f"{activation}-{seed}", losses, activation=activation, seed=seed)
    return directory


def set_preset(directory: Path, preset: str | None) -> None:
    """Let a run directory say that its configuration was composed from this preset."""
    path = directory / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "preset": preset}), encoding="utf-8")


def make_older(directory: Path) -> None:
    """Turn a run directory into one as it was before there was a `config.json`."""
    path = directory / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    (directory / ".hydra").mkdir()
    config = yaml.safe_dump({**content["config"], "plan": False})
    overrides = [f"seed={content['config']['seed']}"]
    if content["preset"] is not None:
        overrides.append(f"experiment={content['preset']}")
    (directory / ".hydra" / "config.yaml").write_text(config, encoding="utf-8")
    text = yaml.safe_dump(overrides)
    (directory / ".hydra" / "overrides.yaml").write_text(text, encoding="utf-8")


def probed(iteration: int, layer: str, **values: Any) -> LayerRow:
    """A hidden layer's row of `layers.csv`, a live one but for the `values` given."""
    row = LayerRow(
        iteration=iteration,
        layer=layer,
        units=84,
        dead_fraction=0.0,
        dormant_fraction=0.0,
        saturated_fraction=0.0,
        zero_fraction=0.4,
        died=0,
        revived=0,
        activation_mean=0.1,
        activation_std=0.2,
        preactivation_mean=0.0,
        preactivation_std=1.0,
        weight_norm=3.5,
        gradient_norm=0.1,
    )
    return row._replace(**values)


def logits(iteration: int, *, weight_norm: float, gradient_norm: float) -> LayerRow:
    """The row of `layers.csv` of the output layer, which has norms only."""
    norms = {"weight_norm": weight_norm, "gradient_norm": gradient_norm}
    unknown = dict.fromkeys(names(RUN_TABLES["layers"]))
    return LayerRow(**{**unknown, "iteration": iteration, "layer": LOGITS, "units": 0, **norms})  # type: ignore[arg-type]


def write_csv(directory: Path, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV of a run directory, its header included."""
    with (directory / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([names(RUN_TABLES[table]), *rows])


def descent(
    iterations: int, seed: int, *, plateau: float = 0.0, rate: float = 30.0, floor: float = 0.05
) -> np.ndarray[Any, Any]:
    """A plausible loss: ln 10 until `plateau`, then an exponential fall, with batch noise."""
    generator = np.random.default_rng(seed)
    i = np.arange(1, iterations + 1)
    start = plateau * (1 + 0.15 * generator.standard_normal())
    fall = np.exp(-np.maximum(i - start, 0) / (rate * (1 + 0.1 * generator.standard_normal())))
    clean = floor + (np.log(10) - floor) * fall
    noise = 1 + 0.12 * (1 - 0.9 * fall) * generator.standard_normal(iterations)
    noisy: np.ndarray[Any, Any] = clean * noise
    return noisy


def _accuracies(losses: np.ndarray[Any, Any], classes: int) -> list[float]:
    finite = np.nan_to_num(losses, nan=np.log(classes), posinf=np.log(classes))
    return [float(a) for a in np.clip(1.0 - finite / np.log(classes) * (1 - 1 / classes), 0, 1)]


def facts_of_files(run: Path) -> dict[str, FileFacts]:
    """The section `files` of `status.json`, of the files that are there."""
    return {
        name: facts_of_content((run / name).read_bytes(), table=name in TABLES)
        for name in (*TABLES, WEIGHTS, CONFIGURATION)
        if (run / name).is_file()
    }
