"""Claims: the registry against the presets, verdicts on evidence made up to deserve them."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_bench.analysis.summary import SUMMARY
from lenet_bench.claims.evaluation import (
    as_frame,
    claims_in,
    decided,
    judge,
    parts_of,
)
from lenet_bench.claims.evidence import QUANTITIES, SEEN, Evidence, as_table, collect, probe_results
from lenet_bench.claims.kinds import PLACES, Difference, Level, compare, costs
from lenet_bench.claims.registry import CLAIMS, COST, EXACT
from lenet_bench.claims.rules import Claimed, Hypothesis, LackingError, decide
from lenet_bench.claims.tables import read_claims
from lenet_bench.commands import claims as command
from lenet_bench.commands.claims import main
from lenet_bench.commands.report import main as report
from lenet_bench.common.errors import UserError
from lenet_bench.records import schema
from lenet_bench.records.loading import READ_EXACTLY, load_sweep
from lenet_bench.records.schema import names
from lenet_bench.reporting.claims_page import claims_as_text, claims_page, explained_table
from lenet_bench.reporting.tables.table import as_html
from lenet_bench.reporting.terminal import claim_lines
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


def verdict(
    *values: pd.Series[float], claimed: Claimed = "above", margin: float | None = None
) -> str:
    """The verdict of comparisons against 0."""
    return decide([Hypothesis("a - b", "loss", v, claimed, margin=margin) for v in values]).verdict


# --- the registry ---------------------------------------------------------------------------------


def test_every_claim_says_all_that_it_has_to_say() -> None:
    assert len(CLAIMS) == 34
    assert len({claim.statement for claim in CLAIMS.values()}) == len(CLAIMS)
    for name, claim in CLAIMS.items():
        assert name == claim.identifier == name.lower()
        assert name.isidentifier()
        assert claim.statement.endswith(".")
        assert all((claim.source, claim.quantity, claim.rule))
        assert claim.preset in (EXACT, COST) or (PRESETS / f"{claim.preset}.yaml").is_file()


@cache
def grid(preset: str) -> pd.DataFrame:
    """A run for each job of a preset, with the configuration that its directory would hold."""
    content = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text(encoding="utf-8"))
    swept = content.pop("hydra")["sweeper"]["params"]
    fixed = {key: value for key, value in content.items() if not isinstance(value, dict)}
    parser = OverridesParser.create()
    choices = []
    for key, text in swept.items():
        override = parser.parse_override(f"{key}={text}")
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


def made_up(preset: str) -> Evidence:
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


@pytest.mark.parametrize("preset", sorted(TRAINED))
def test_every_claim_finds_its_runs_in_its_preset(preset: str) -> None:
    evidence = made_up(preset)
    for claim in CLAIMS.values():
        if claim.preset == preset:
            finding = claim.test.evaluate(evidence)
            assert finding.seeds >= 3, claim.identifier
            assert math.isfinite(finding.effect), claim.identifier


@pytest.mark.parametrize("preset", sorted(TRAINED))
def test_every_claim_notices_when_its_preset_no_longer_holds_what_it_compares(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = made_up(preset)
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
        "all of them"
    )
    assert CLAIMS["relu_gradients_keep"].rule.endswith("above 0.9")
    assert CLAIMS["tanh_close_to_relu"].rule.endswith(
        "test accuracy: tanh - relu within 0.02; all of them"
    )


# --- the rules ------------------------------------------------------------------------------------


def test_a_difference_is_judged_by_the_side_it_lies_on() -> None:
    assert verdict(spread(1.0, 0.1)) == "supported"
    assert verdict(spread(-1.0, 0.1)) == "refuted"
    assert verdict(spread(0.05, 1.0)) == "inconclusive"
    assert verdict(spread(-1.0, 0.1), claimed="below") == "supported"
    assert verdict(spread(1.0, 0.1), claimed="below") == "refuted"


def test_a_difference_shown_to_be_negligible_refutes() -> None:
    tiny = spread(0.01, 0.001)
    assert verdict(tiny) == "supported"
    assert verdict(tiny, margin=0.02) == "refuted"
    assert verdict(tiny, margin=0.005) == "supported"
    assert verdict(spread(0.0, 1.0), margin=0.5) == "inconclusive"
    finding = decide([Hypothesis("a - b", "loss", tiny, "above", margin=0.02)])
    assert "negligible: within 0.02" in finding.note


def test_closeness_is_judged_by_its_margin() -> None:
    assert verdict(spread(0.1, 0.05), claimed="close", margin=1.0) == "supported"
    assert verdict(spread(2.0, 0.05), claimed="close", margin=1.0) == "refuted"
    assert verdict(spread(-2.0, 0.05), claimed="close", margin=1.0) == "refuted"
    assert verdict(spread(0.9, 1.0), claimed="close", margin=1.0) == "inconclusive"


def test_all_comparisons_have_to_hold_and_one_against_refutes() -> None:
    for_it, against, unclear = spread(1.0, 0.1), spread(-1.0, 0.1), spread(0.0, 1.0)
    assert verdict(for_it, for_it) == "supported"
    assert verdict(for_it, unclear) == "inconclusive"
    assert verdict(for_it, unclear, against) == "refuted"
    words = ("one", "two")
    pair = zip(words, (for_it, against), strict=True)
    finding = decide([Hypothesis(word, "loss", values, "above") for word, values in pair])
    assert finding.effect == pytest.approx(-1.0)
    assert finding.note.startswith("decided by two, loss; loss: one is 1 [")


def test_many_comparisons_ask_for_smaller_p_values() -> None:
    """p = 0.02 each: one alone is enough, four by Holm are not."""
    border = spread(1.3, 0.85)
    alone = decide([Hypothesis("a", "loss", border, "above")])
    assert 0.0125 < alone.p_value < 0.05
    assert alone.verdict == "supported"
    assert verdict(*[border] * 4) == "inconclusive"


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_give_no_verdict(seeds: int) -> None:
    finding = decide([Hypothesis("a - b", "loss", spread(1.0, 0.001, 5)[:seeds], "above")])
    assert (finding.verdict, finding.seeds) == ("inconclusive", seeds)
    assert f"no verdict from fewer than 3 seeds ({seeds})" in finding.note
    assert math.isnan(finding.p_value)
    assert verdict(spread(1.0, 0.1), spread(1.0, 0.1)[:2]) == "inconclusive"


def test_seeds_without_a_value_do_not_count_and_are_told() -> None:
    values = spread(1.0, 0.1)
    values.iloc[3:] = np.nan
    finding = decide([Hypothesis("a - b", "loss", values, "above")])
    assert finding.seeds == 3
    assert "2 of 5 seeds lack a value" in finding.note
    values.iloc[2] = np.nan
    assert decide([Hypothesis("a - b", "loss", values, "above")]).verdict == "inconclusive"


def test_five_equal_differences_are_as_clear_as_a_sign_test_says() -> None:
    """Every unit dead in every seed leaves no spread; 2^-5 is the chance of that by luck."""
    finding = decide([Hypothesis("dead", "loss", spread(1.0, 0.0), "above")])
    assert (finding.verdict, finding.p_value) == ("supported", 2.0**-5)
    assert verdict(spread(0.0, 0.0)) == "inconclusive"
    assert verdict(spread(0.0, 0.0), margin=0.01) == "refuted"


def test_ratios_are_shown_as_ratios() -> None:
    finding = decide(
        [Hypothesis("a / b", "loss", spread(math.log(4), 0.1), "above", math.log(3), ratio=True)]
    )
    assert finding.verdict == "supported"
    assert finding.effect == pytest.approx(4)
    assert 3 < finding.low < 4 < finding.high


def test_without_a_difference_a_claim_of_two_comparisons_is_rarely_decided() -> None:
    """At most 5 % of verdicts are wrong under the null; 600 draws, so 8 % would be 3 deviations."""
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(600):
        draws = generator.standard_normal((2, 5))
        wrong += verdict(*(pd.Series(values) for values in draws)) != "inconclusive"
    assert wrong / 600 < 0.08


# --- evidence -------------------------------------------------------------------------------------


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


def test_differences_pair_by_seed() -> None:
    evidence = runs_of(relu={0: 0.5, 1: 0.6, 7: 0.9}, tanh={1: 0.5, 0: 0.1, 3: 0.0})
    values = Difference("test_accuracy", "relu", "tanh", "above").values(evidence)
    assert values.to_dict() == pytest.approx({0: 0.4, 1: 0.1})


def test_never_counts_as_the_budget_but_two_nevers_say_nothing() -> None:
    evidence = runs_of(relu={0: 1, 1: 1, 2: 1, 3: 1}, tanh={0: 1, 1: 1, 2: 1, 3: 1})
    runs = evidence.runs
    runs["iterations_to_target"] = [10.0, 10, 20, 100, 100, 80, 100, 100]
    runs["never"] = runs["iterations_to_target"] == 100
    test = compare(Difference("iterations_to_target", "tanh", "relu", "above", math.log(3)))
    finding = test.evaluate(evidence)
    assert finding.seeds == 3
    assert finding.effect == pytest.approx((10 * 8 * 5) ** (1 / 3))
    assert "never there, counted as the budget: 3 of tanh, 1 of relu" in finding.note


def test_what_is_lacking_leaves_a_claim_inconclusive() -> None:
    claim = CLAIMS["sigmoid_slower"]
    row = judge(claim, runs_of(relu={0: 0.5}))
    assert (row["verdict"], row["note"]) == ("inconclusive", "there is no run of sigmoid")


def test_what_is_only_told_may_lack_and_decides_nothing() -> None:
    needed = Difference("test_accuracy", "relu", "tanh", "above")
    also = (
        Difference("test_accuracy", "relu", "elu", "above"),
        Difference("test_accuracy", "tanh", "relu", "above"),
    )
    evidence = runs_of(
        relu={seed: 0.8 + 0.01 * seed for seed in range(5)},
        tanh={seed: 0.5 + 0.012 * seed for seed in range(5)},
    )
    alone = compare(needed).evaluate(evidence)
    told = compare(needed, also=also).evaluate(evidence)
    assert told.verdict == alone.verdict == "supported"
    assert (told.effect, told.p_value) == (alone.effect, alone.p_value)
    assert told.note.endswith("relu - elu is lacking: there is no run of elu")
    assert "tanh - relu is -0.2" in told.note


# --- whole sweeps ---------------------------------------------------------------------------------


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


def found(folder: Path) -> dict[str, str]:
    """Verdicts by claim."""
    frame = claims_in(load_sweep(folder))
    assert tuple(frame.columns) == names(schema.CLAIMS)
    return dict(zip(frame["claim"], frame["verdict"], strict=True))


def test_verdicts_follow_the_curves(tmp_path: Path) -> None:
    as_said = sweep(tmp_path / "a", {"sigmoid": 100, "tanh": 5, "relu": 5})
    assert found(as_said) == {"sigmoid_slower": "supported", "tanh_close_to_relu": "supported"}
    reverse = sweep(tmp_path / "b", {"sigmoid": 5, "tanh": 100, "relu": 5})
    assert found(reverse) == {"sigmoid_slower": "refuted", "tanh_close_to_relu": "refuted"}
    alike = sweep(tmp_path / "c", {"sigmoid": 5, "tanh": 5, "relu": 5})
    assert found(alike)["sigmoid_slower"] == "refuted"  # negligible: the curves are the same
    few = sweep(tmp_path / "d", {"sigmoid": 100, "tanh": 5, "relu": 5}, seeds=2)
    assert set(found(few).values()) == {"inconclusive"}
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
    table = as_table([part.evidence for part in parts_of(load_sweep([first, second]))])
    assert table.groupby("dataset").size().to_dict() == {"digits": 18, "mnist": 18}


def test_numbers_of_claims_follow_from_the_evidence_as_it_is_written(tmp_path: Path) -> None:
    """A reader with nothing but evidence.csv: pair by seed, subtract, take the mean."""
    folder = sweep(tmp_path, {"sigmoid": 100, "tanh": 5, "relu": 5})
    parts = parts_of(load_sweep(folder))
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
    found = decided(parts).set_index("claim")["effect"]
    differences = [(loss["sigmoid"] - loss[other]).mean() for other in ("tanh", "relu")]
    assert float(found["sigmoid_slower"]) in [pytest.approx(mean) for mean in differences]


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


# --- special tests --------------------------------------------------------------------------------

Rows = dict[int, list[tuple[str, int, int]]]


def dead_units(by_seed: Rows) -> Evidence:
    """A hot run per seed, with (layer, died, revived) at one probe."""
    runs = pd.DataFrame(
        [{"run": f"r{s}", "activation": "relu", "lr": 0.5, "seed": s} for s in by_seed]
    )
    layers = pd.DataFrame(
        [
            {"run": f"r{seed}", "iteration": 25, "layer": layer, "units": 84, "dead_fraction": 0.0,
             "dormant_fraction": 0.0, "zero_fraction": 0.0, "died": died, "revived": revived,
             "gradient_norm": 0.0}
            for seed, rows in by_seed.items()
            for layer, died, revived in rows
        ]
    )  # fmt: skip
    return Evidence(runs=runs.merge(probe_results(layers), on="run"), layers=layers)


def test_units_that_revive_refute_that_the_dead_stay_dead() -> None:
    test = CLAIMS["dead_stays_dead"].test
    none: Rows = {seed: [("fc1", 20, 0), ("fc2", 9 + seed, 0)] for seed in range(5)}
    assert test.evaluate(dead_units(none)).verdict == "supported"
    many: Rows = {seed: [("fc1", 20, 0), ("fc2", 20, 7 + seed)] for seed in range(5)}
    finding = test.evaluate(dead_units(many))
    assert finding.verdict == "refuted"
    assert finding.effect == pytest.approx(9 / 40)
    assert "fc1 0 of 100, fc2 45 of 100" in finding.note
    once: Rows = {**none, 4: [("fc2", 20, 1)]}
    assert test.evaluate(dead_units(once)).verdict == "inconclusive"
    few: Rows = {seed: many[seed] for seed in range(2)}
    finding = test.evaluate(dead_units(few))
    assert finding.verdict == "inconclusive"
    assert "fewer than 3 seeds (2)" in finding.note


def with_values(preset: str, **of: Callable[[pd.DataFrame], Any]) -> Evidence:
    """A preset's grid with columns computed from its configuration and noise over seeds."""
    evidence = made_up(preset)
    runs = evidence.runs
    noise = np.random.default_rng(3).standard_normal(len(runs))
    for name, function in of.items():
        runs[name] = function(runs) + 1e-3 * noise
    return evidence


def test_leaky_relu_may_have_no_dead_unit_at_all() -> None:
    test = CLAIMS["leaky_ends_dying"].test

    def dead_relu(runs: pd.DataFrame) -> Any:
        return 0.5 * (runs["activation"] == "relu")

    evidence = with_values("relu_family", dead_fraction=dead_relu)
    assert test.evaluate(evidence).verdict == "supported"
    alive = with_values("relu_family", dead_fraction=lambda runs: 0.0 * runs["lr"])
    assert test.evaluate(alive).verdict == "inconclusive", "nothing that could end"
    leaky = evidence.runs.index[evidence.runs["activation"] == "leaky_relu"]
    evidence.runs.loc[leaky[0], "largest_dead_fraction"] = 0.01
    assert test.evaluate(evidence).verdict == "refuted"


def _scaled(factor: float, runs: pd.DataFrame) -> Any:
    return factor * runs["zero_fraction"]


def _unrelated(runs: pd.DataFrame) -> Any:
    return (-1.0) ** runs["seed"] * runs["zero_fraction"]


def test_sparsity_is_correlated_with_the_gap_seed_by_seed() -> None:
    test = CLAIMS["sparser_overfit_less"].test
    for sign, expected in ((-1.0, "supported"), (1.0, "refuted")):
        evidence = with_values("sparsity", gap=partial(_scaled, sign))
        finding = test.evaluate(evidence)
        assert (finding.verdict, finding.seeds) == (expected, 5)
        assert finding.effect == pytest.approx(sign, abs=0.02)
    evidence = with_values("sparsity", gap=_unrelated)
    assert test.evaluate(evidence).verdict == "inconclusive"


def test_what_was_dead_from_the_start_says_nothing_about_overfitting() -> None:
    """Sparse as can be, without a gap: it would decide the claim alone."""
    test = CLAIMS["sparser_overfit_less"].test
    evidence = with_values("sparsity", gap=partial(_scaled, 1.0))
    runs = evidence.runs
    dead = runs["activation"] == runs["activation"].iloc[0]
    runs.loc[dead, "zero_fraction"], runs.loc[dead, "gap"] = 1.0, 0.0
    runs.loc[dead, "mean_train_loss"] = evidence.chance_loss
    finding = test.evaluate(evidence)
    assert finding.verdict == "refuted"
    assert f"{dead.sum()} more learned nothing and are left out" in finding.note
    runs["mean_train_loss"] = evidence.chance_loss
    with pytest.raises(LackingError, match="no run that learned"):
        test.evaluate(evidence)


def test_any_gradient_at_all_refutes_that_the_step_has_none() -> None:
    test = CLAIMS["step_untrainable"].test
    evidence = made_up("all_activations")
    assert test.evaluate(evidence).verdict == "supported"
    steps = evidence.runs["activation"] == "binary_step"
    evidence.runs.loc[steps, "largest_gradient_norm"] = 1e-30
    assert test.evaluate(evidence).verdict == "refuted"


def tuned(best: dict[str, float], iterations: dict[str, float]) -> Evidence:
    """The learning-rate preset, in which each activation is best at one of the rates."""
    evidence = made_up("learning_rate")
    runs = evidence.runs
    noise = np.random.default_rng(5).uniform(0, 0.01, len(runs))
    optimum = runs["activation"].map(best).fillna(0.03)
    runs["final_validation_loss"] = np.abs(np.log(runs["lr"] / optimum)) + noise
    runs["iterations_to_target"] = runs["activation"].map(iterations).fillna(50.0) * np.exp(noise)
    columns = list(evidence.summary.columns)
    return Evidence(runs[columns], runs, evidence.layers)


def test_best_rates_are_compared_seed_by_seed_and_edges_are_minded() -> None:
    test = CLAIMS["sigmoid_needs_hot_rate"].test
    cases = (
        ({"sigmoid": 0.1, "relu": 0.01}, "supported"),
        ({"sigmoid": 0.03, "relu": 0.01}, "supported"),
        ({"sigmoid": 0.03, "relu": 0.03}, "refuted"),
        ({"sigmoid": 0.01, "relu": 0.03}, "refuted"),
        ({"sigmoid": 0.1, "relu": 0.03}, "supported"),  # beyond the grid it would be more
        ({"sigmoid": 0.1, "relu": 0.1}, "inconclusive"),
    )
    for best, expected in cases:
        finding = test.evaluate(tuned(best, {}))
        assert finding.verdict == expected, best
        assert finding.effect == pytest.approx(best["sigmoid"] / best["relu"])
    assert "sigmoid 7 at 0.1, relu 7 at 0.1" in finding.note
    assert "not refuted: the ratio may be another beyond the grid" in finding.note


def test_seeds_that_disagree_on_the_best_rate_decide_nothing() -> None:
    test = CLAIMS["sigmoid_needs_hot_rate"].test
    evidence = tuned({"sigmoid": 0.03, "relu": 0.01}, {})
    runs = evidence.runs
    odd = (runs["activation"] == "relu") & (runs["seed"] % 2 == 1)
    runs.loc[odd & (runs["lr"] == 0.03), "final_validation_loss"] = -1.0
    finding = test.evaluate(evidence)
    assert finding.verdict == "inconclusive"
    assert "relu 4 at 0.01 and 3 at 0.03" in finding.note
    assert finding.effect == pytest.approx(3 ** (4 / 7))


def test_a_rate_at_which_a_run_diverged_is_not_its_best() -> None:
    """Its loss counts as that of chance, which may be less than what a plateau has."""
    test = CLAIMS["sigmoid_needs_hot_rate"].test
    evidence = tuned({"sigmoid": 0.1, "relu": 0.01}, {})
    runs = evidence.runs
    calm = (runs["activation"] == "sigmoid") & (runs["lr"] == 0.003)
    runs.loc[calm, "final_validation_loss"] = -1.0
    runs.loc[calm, "status"] = "diverged"
    assert "sigmoid 7 at 0.1" in test.evaluate(evidence).note
    runs.loc[runs["activation"] == "relu", "status"] = "diverged"
    with pytest.raises(LackingError, match="validation loss of relu"):
        test.evaluate(evidence)


def test_six_times_the_iterations_is_judged_at_both_rates() -> None:
    for factor, expected in ((6.0, "supported"), (1.2, "refuted")):
        evidence = tuned({}, {"tanh": 20 * factor, "relu": 20.0})
        for name in ("relu_six_times_faster", "relu_six_times_faster_tuned"):
            finding = CLAIMS[name].test.evaluate(evidence)
            assert (finding.verdict, finding.seeds) == (expected, 4)
            assert finding.effect == pytest.approx(factor, rel=0.02)
            assert "tanh at lr 0.03; relu at lr 0.03" in finding.note


def test_a_tanh_that_never_arrives_refutes_nothing() -> None:
    evidence = tuned({}, {"tanh": 40.0, "relu": 20.0})
    evidence.runs["never"] = evidence.runs["activation"] == "tanh"
    for name in ("relu_six_times_faster", "relu_six_times_faster_tuned"):
        finding = CLAIMS[name].test.evaluate(evidence)
        assert finding.verdict == "inconclusive"
        assert "lower bound" in finding.note


def at_best_rates(best: dict[str, float], accuracy: dict[str, float]) -> Evidence:
    """As `tuned`, with these accuracies, and validation losses to match."""
    evidence = tuned(best, {})
    runs = evidence.runs
    noise = np.random.default_rng(6).normal(0, 0.001, len(runs))
    runs["test_accuracy"] = runs["activation"].map(accuracy).fillna(0.5) + noise
    runs["final_validation_loss"] = 2 * (1 - runs["test_accuracy"])
    return evidence


def test_a_loser_whose_best_rate_is_on_an_edge_has_not_lost() -> None:
    test = CLAIMS["tanh_beats_sigmoid_tuned"].test
    ahead, behind, equal = (
        {"tanh": tanh, "sigmoid": sigmoid} for tanh, sigmoid in ((0.9, 0.5), (0.5, 0.9), (0.7, 0.7))
    )
    cases: tuple[tuple[dict[str, float], dict[str, float], str, str], ...] = (
        ({}, ahead, "supported", ""),
        ({"sigmoid": 0.1}, ahead, "inconclusive", "not supported: sigmoid might do better"),
        ({"tanh": 0.1}, ahead, "supported", "best rate of tanh on the edge of the grid (highest)"),
        ({}, behind, "refuted", ""),
        ({"tanh": 0.003}, behind, "inconclusive", "not refuted: tanh might do better"),
        (
            {"sigmoid": 0.003},
            behind,
            "refuted",
            "best rate of sigmoid on the edge of the grid (low",
        ),
        ({}, equal, "refuted", "negligible"),
        ({"tanh": 0.1}, equal, "inconclusive", "not refuted: tanh might do better"),
        ({"relu": 0.1}, ahead, "supported", ""),
    )
    for best, accuracy, expected, told in cases:
        finding = test.evaluate(at_best_rates(best, accuracy))
        assert finding.verdict == expected, (best, accuracy, finding.note)
        assert told in finding.note
        for name in ("tanh", "sigmoid"):
            assert (f"best rate of {name} on the edge" in finding.note) == (name in best)
    assert "the best rate of sigmoid (if supported) or tanh (if refuted) is on an edge" in test.rule


def test_of_iterations_fewer_are_better_and_what_is_shared_has_no_best_rate() -> None:
    """ReLU on an edge could be six times faster beyond it; tanh there could only be faster."""
    slower, faster = {"tanh": 300.0, "relu": 40.0}, {"tanh": 60.0, "relu": 40.0}
    cases = (
        ({"relu": 0.1}, faster, "inconclusive"),
        ({"tanh": 0.1}, faster, "refuted"),
        ({"relu": 0.1}, slower, "supported"),
        ({"tanh": 0.1}, slower, "inconclusive"),
    )
    for best, iterations, expected in cases:
        evidence = tuned(best, iterations)
        assert CLAIMS["relu_six_times_faster_tuned"].test.evaluate(evidence).verdict == expected
        finding = CLAIMS["relu_six_times_faster"].test.evaluate(evidence)
        assert finding.verdict == ("refuted" if iterations is faster else "supported")
        assert "edge" not in finding.note


def test_counts_at_the_window_of_the_mean_are_told() -> None:
    evidence = tuned({}, {"tanh": 40.0})
    relu = evidence.runs["activation"] == "relu"
    evidence.runs.loc[relu, "iterations_to_target"] = 25.0
    test = CLAIMS["relu_six_times_faster"].test
    note = test.evaluate(evidence).note
    assert "there at iteration 25, the first that can be told" in note
    assert "mean over 25): 4 of relu setting=shared" in note
    assert "no count is below 25" in test.rule


def test_one_learning_rate_tunes_nothing() -> None:
    evidence = made_up("learning_rate")
    summary = evidence.summary[evidence.summary["lr"] == 0.01]
    row = judge(CLAIMS["tanh_beats_sigmoid_tuned"], Evidence(summary, evidence.runs))
    assert row["verdict"] == "inconclusive"
    assert "learning rates are not tuned" in str(row["note"])


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


def test_costs_are_ratios_within_a_round() -> None:
    test = costs("hard_swish", reference="swish", claimed="below")
    assert test.evaluate(rounds(hard_swish=1.5, swish=2.0)).verdict == "supported"
    finding = test.evaluate(rounds(hard_swish=2.0, swish=1.5))
    assert finding.verdict == "refuted"
    assert finding.effect == pytest.approx(2 / 1.5, rel=0.02)
    assert test.evaluate(rounds(hard_swish=2.0, swish=2.0)).verdict == "refuted"  # negligible
    with pytest.raises(LackingError, match="swish"):
        test.evaluate(rounds(hard_swish=2.0))
    both = CLAIMS["exponentials_slower"].test
    assert both.evaluate(rounds(sigmoid=2, tanh=3)).verdict == "supported"
    assert both.evaluate(rounds(sigmoid=2, tanh=1)).verdict == "refuted"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear_without_nonlinearity", "refuted"),
        ("max_pool_commutes", "supported"),
        ("relu_twice", "supported"),
    ],
)
def test_what_can_be_computed_is_computed(name: str, expected: str) -> None:
    finding = CLAIMS[name].test.evaluate(Evidence())
    assert finding.verdict == expected, finding.note


def _constant(value: float, runs: pd.DataFrame) -> Any:
    return np.full(len(runs), value)


def test_a_level_is_held_against_its_bound() -> None:
    for factor, expected in ((0.95, "supported"), (0.5, "refuted")):
        evidence = with_values("depth", gradient_ratio_per_layer=partial(_constant, factor))
        finding = CLAIMS["relu_gradients_keep"].test.evaluate(evidence)
        assert finding.verdict == expected
        assert finding.effect == pytest.approx(factor, rel=0.01)
    assert Level("test_accuracy", "relu", "above").margin() == (None, False)


# --- output ---------------------------------------------------------------------------------------


def test_the_page_tells_all_and_escapes_it() -> None:
    rows = [
        judge(CLAIMS["relu_twice"], Evidence()),
        judge(CLAIMS["sigmoid_slower"], runs_of(relu={0: 0.5})),
    ]
    frame = as_frame(rows)
    assert frame["claim"].to_list() == ["sigmoid_slower", "relu_twice"]  # the registry's order
    text = claims_as_text(frame)
    assert "2 claims: 1 supported, 1 inconclusive" in text
    assert claim_lines(frame) == [
        "claim inconclusive: Sigmoid trains LeNet clearly slower than tanh and ReLU.",
        "claim supported: ReLU after ReLU changes nothing.",
    ]
    assert claim_lines(as_frame(rows * 3)) == [
        "6 claims: 3 supported, 3 inconclusive; see claims.csv"
    ]
    assert claim_lines(as_frame([])) == []
    content = claims_page(frame, ["dataset=<mine>"])
    assert "dataset=&lt;mine&gt;" in content
    assert "<dd>there is no run of sigmoid</dd>" in content
    assert "Fewer than 3 seeds: inconclusive" in content
    assert ":mod:" not in content
    assert "A comparison is supported if" in content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "sigmoid_is_slow"], "there is no such claim; choose from sigmoid_slower, "),
        (["--only", "sigmoid_slower", "lr=-1"], "lr=-1"),
        (["activation=rleu"], "did you mean relu?"),
        (["experiment=depth"], "claims set this themselves"),
        (["plan=true"], "claims set this themselves"),
    ],
)
def test_mistakes_are_answered_before_anything_trains(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_trains_decides_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "it's mine"
    arguments = [
        "dataset=fake", "dataset.images=150", "iterations=4", "batch_size=16", "seed=0,1,2",
        "probe.every=2", "probe.images=16", "device=cpu", "hydra.launcher.workers=1",
        "--output", str(output), "--only", "sigmoid_slower",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "lenet_bench.commands.claims", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 claim: " in done.stdout
    assert "[1/1, " in done.stderr
    frame = pd.read_csv(output / "claims.csv")
    assert tuple(frame.columns) == names(schema.CLAIMS)
    assert frame["claim"].to_list() == ["sigmoid_slower"]
    assert frame["seeds"].to_list() == [3]
    assert (output / "claims.html").is_file()
    assert len(list((output / "sigmoid_tanh_relu").glob("*/status.json"))) == 9
    assert (output / "sigmoid_tanh_relu" / "report.html").is_file()
    runs = pd.read_csv(output / "sigmoid_tanh_relu" / "evidence.csv")
    assert runs["run"].nunique() == len(runs) == 9
    # The sweep's own report decides the same, and what else its preset decides.
    own = pd.read_csv(output / "sigmoid_tanh_relu" / "claims.csv")
    assert own["claim"].to_list() == ["sigmoid_slower", "tanh_close_to_relu"]
    pd.testing.assert_frame_equal(own.iloc[:1], frame)

    assert ended([*arguments, "iterations=5"]) == 1
    assert "its runs were trained with" in capsys.readouterr().err


def test_a_preset_that_fails_leaves_its_claims_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(parts: Any) -> int:
        write_run(tmp_path / "sigmoid_tanh_relu", "a", descent(10, 0), status="failed")
        return 1

    monkeypatch.setattr(command, "_wait", fails)
    assert ended(["--output", str(tmp_path), "--only", "sigmoid_slower", "relu_twice"]) == 1
    frame = pd.read_csv(tmp_path / "claims.csv", index_col="claim")
    assert frame.loc["sigmoid_slower", "verdict"] == "inconclusive"
    reason = "training sigmoid_tanh_relu failed: 1 of 1 runs failed: RuntimeError: out of memory"
    assert frame.loc["sigmoid_slower", "note"] == reason
    assert frame.loc["relu_twice", "verdict"] == "supported"
    assert "2 claims" in capsys.readouterr().out


def ended(arguments: list[str]) -> int | str | None:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return stopped.value.code


def test_only_some_claims_leave_the_verdicts_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(["--output", str(tmp_path), "--only", "relu_twice", "max_pool_commutes"]) == 0
    path = tmp_path / "claims.csv"
    before = path.read_text(encoding="utf-8")
    marked = before.replace("ReLU after ReLU changes nothing.", "Marked.")
    path.write_text(f"{marked}gone,Old.,refuted,1,,,,5,depth,,digits\n", encoding="utf-8")
    capsys.readouterr()
    assert ended(["--output", str(tmp_path), "--only", "max_pool_commutes"]) == 0
    rows = path.read_text(encoding="utf-8").splitlines()
    assert rows == marked.splitlines(), "kept as it was; a claim that there is no more goes"
    assert "relu_twice" in (tmp_path / "claims.html").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "1 claim: 1 supported" in printed
    assert "claims.csv (with 1 that were there)" in printed
    assert ended(["--output", str(tmp_path), "--only", "relu_twice"]) == 0
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("content", ["", "claim,verdict\n", "a,b\nc,d,e,f\ng,h\n", "\xff\xfe\x00"])
@pytest.mark.parametrize("name", ["claims.csv", "activation_cost_rounds.csv"])
def test_tables_that_nobody_can_read_are_answered_before_anything_trains(
    name: str,
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "_judged", lambda *_: pytest.fail("it went on"))
    (tmp_path / name).write_text(content, encoding="latin-1")
    assert ended(["--output", str(tmp_path), "--only", "hard_swish_cheaper", "sigmoid_slower"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lenet-bench-claims: {tmp_path / name}: ")
    assert "; delete it" in line


def test_numbers_of_a_table_have_to_be_numbers(tmp_path: Path) -> None:
    assert ended(["--output", str(tmp_path), "--only", "relu_twice"]) == 0
    path = tmp_path / "claims.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",0.0,", ",none of it,"), "utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        read_claims(path, "delete it")


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lenet_bench.training.activation_cost.measure", stopped)
    assert ended(["--output", str(tmp_path), "--only", "hard_swish_cheaper"]) == 130
    told = capsys.readouterr().err
    assert f"stopped; the same command with --output={tmp_path} goes on" in told
    assert not (tmp_path / "activation_cost_rounds.csv").exists()


def test_measured_costs_are_written_whole_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = rounds(hard_swish=1.0, swish=2.0).rounds
    monkeypatch.setattr("lenet_bench.training.activation_cost.measure", lambda **_: measured)
    arguments = ["--output", str(tmp_path), "--only", "hard_swish_cheaper"]
    assert ended(arguments) == 0
    before = (tmp_path / "claims.csv").read_text(encoding="utf-8")
    assert ",supported," in before
    monkeypatch.setattr(
        "lenet_bench.training.activation_cost.measure", lambda **_: pytest.fail("again")
    )
    assert ended(arguments) == 0
    assert (tmp_path / "claims.csv").read_text(encoding="utf-8") == before


def test_a_report_does_not_replace_what_the_command_wrote(tmp_path: Path) -> None:
    output = tmp_path / "claims"
    assert ended(["--output", str(output), "--only", "relu_twice"]) == 0
    before = (output / "claims.csv").read_text(encoding="utf-8")
    other = sweep(tmp_path / "sweep", {"relu": 5}, seeds=1, preset="my_own")
    for arguments in ([str(output)], [str(other), "--output", str(output)]):
        with pytest.raises(SystemExit, match=r"holds what lenet-bench-claims wrote"):
            report(arguments)
    assert (output / "claims.csv").read_text(encoding="utf-8") == before
    assert not (output / "summary.csv").exists()
