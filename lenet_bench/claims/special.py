"""Tests of claims that `kinds` does not cover, a function per claim: evidence in, a finding out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from lenet_bench.analysis.outcomes import losses_to_choose_by
from lenet_bench.analysis.statistics import MIN_SEEDS, one_sample
from lenet_bench.claims.evidence import Evidence, deaths, untuned
from lenet_bench.claims.kinds import Difference, Test, compare
from lenet_bench.claims.rules import Finding, Hypothesis, LackingError, Verdict, decide, too_few
from lenet_bench.common.layers import LOGITS

SEVERAL = 2.0
LEARNED = 0.95
NEGLIGIBLE_CORRELATION = 0.1


def dead_stays_dead() -> Test:
    """Test `dead_stays_dead`: count units of ReLU that revive, in dying_relu at lr >= 0.1."""

    def evaluate(evidence: Evidence) -> Finding:
        runs = evidence.runs
        hot = _probed(runs[(runs["activation"] == "relu") & (runs["lr"] >= 0.1)])
        by_seed = hot.groupby("seed")[["deaths", "revived"]].sum()
        probes = evidence.layers
        rows = probes[probes["run"].isin(hot["run"]) & (probes["layer"] != LOGITS)]
        by_layer = rows.assign(deaths=deaths(rows)).groupby("layer", sort=False, observed=True)
        layers = ", ".join(
            f"{layer} {row.revived:.0f} of {row.deaths:.0f}"
            for layer, row in by_layer[["deaths", "revived"]].sum().iterrows()
        )
        note = f"fraction of deaths that were undone; revived: {layers}"
        shares = by_seed["revived"] / by_seed["deaths"].where(by_seed["deaths"] > 0)
        share = one_sample(shares.to_numpy())
        verdict: Verdict = "inconclusive"
        if share.n < MIN_SEEDS:
            note = f"{too_few(share.n)} with dead units; {note}"
        elif not by_seed["revived"].any():
            verdict = "supported"
        elif (by_seed["revived"] > 0).sum() >= MIN_SEEDS and share.low > 0:
            verdict = "refuted"
        return Finding(verdict, share.mean, share.low, share.high, share.p_value, share.n, note)

    return Test(
        "fraction of deaths (on the probe set, born dead included) that a later probe sees undone",
        "supported if no unit ever revives; refuted if units revive in at least "
        f"{MIN_SEEDS} seeds and the interval of the fraction lies above 0",
        evaluate,
    )


def leaky_ends_dying() -> Test:
    """Test `leaky_ends_dying`: leaky ReLU has no dead unit where ReLU has some."""
    # At higher rates leaky ReLU diverges where ReLU dies, so there is nothing left to compare.
    rates = ("0.01", "0.03")

    def differences(quantity: str) -> list[Difference]:
        return [
            Difference(quantity, f"relu lr={lr}", f"leaky_relu lr={lr}", "above") for lr in rates
        ]

    def remark(evidence: Evidence) -> str:
        hot = evidence.runs[evidence.runs["lr"] >= 0.1]
        counts = [
            f"{(of['status'] == 'diverged').sum()} of {len(of)} of {name}"
            for name in ("leaky_relu", "relu")
            if len(of := hot[hot["activation"] == name])
        ]
        return f"diverged at lr >= 0.1: {', '.join(counts)}" if counts else ""

    test = compare(
        *differences("dead_fraction"), also=differences("dormant_fraction"), remark=remark
    )

    def evaluate(evidence: Evidence) -> Finding:
        leaky = _probed(evidence.runs[evidence.runs["activation"] == "leaky_relu"])
        most = float(leaky["largest_dead_fraction"].max())
        if most > 0:
            seeds = int(leaky["seed"].nunique())
            verdict: Verdict = "refuted" if seeds >= MIN_SEEDS else "inconclusive"
            note = f"largest dead fraction of a layer of leaky_relu: {most:g}"
            return Finding(verdict, most, seeds=seeds, note=note)
        finding = test.evaluate(evidence)
        if finding.verdict == "refuted":  # neither has dead units: there was nothing to end
            note = f"ReLU has no more dead units here; {finding.note}"
            return replace(finding, verdict="inconclusive", note=note)
        return finding

    rule = (
        f"no dead unit of leaky_relu at any probe, else refuted; and {test.rule}; inconclusive "
        "where ReLU has no more dead units"
    )
    return Test(test.quantity, rule, evaluate)


def sparser_overfits_less() -> Test:
    """Test `sparser_overfit_less`: correlate sparsity and generalisation gap over a seed's runs."""

    def evaluate(evidence: Evidence) -> Finding:
        known = evidence.runs.dropna(subset=["zero_fraction", "gap"])
        # A network that is dead from the start is as sparse as can be and cannot overfit.
        runs = known[known["mean_train_loss"] < LEARNED * evidence.chance_loss]
        if runs.empty:
            raise LackingError(
                "no run that learned has both a zero fraction and a generalisation gap"
            )
        rows = {
            seed: _spearman(group["zero_fraction"], group["gap"])
            for seed, group in runs.groupby("seed")
        }
        values = pd.Series(rows, dtype="float64")
        quantity = "correlation of final zero fraction and test loss - training loss"
        correlation = Hypothesis(
            "Spearman's", quantity, values, "below", margin=NEGLIGIBLE_CORRELATION
        )
        sparsity = runs["zero_fraction"]
        spread = f"zero fractions from {sparsity.min():.2f} to {sparsity.max():.2f}"
        remarks = [f"{len(runs)} runs, {spread}"]
        if idle := len(known) - len(runs):
            remarks.append(f"{idle} more learned nothing and are left out")
        return decide([correlation], remarks=remarks)

    return Test(
        "Spearman's correlation of zero fraction and generalisation gap over a seed's runs that "
        f"learned (mean training loss below {100 * LEARNED:g} % of that of chance)",
        f"mean over seeds below 0; negligible: within {NEGLIGIBLE_CORRELATION:g}",
        evaluate,
    )


def step_has_no_gradient() -> Test:
    """Test `step_untrainable`: the hidden gradients of binary_step are 0 at every probe."""

    def evaluate(evidence: Evidence) -> Finding:
        runs = _probed(evidence.select("binary_step"))
        largest = float(runs["largest_gradient_norm"].max())
        seeds = len(runs)
        accuracy = one_sample(runs["test_accuracy"].to_numpy())
        note = (
            f"largest gradient norm of a hidden layer at any probe: {largest:g}; test accuracy "
            f"{100 * accuracy.mean:.1f} % (chance {100 / runs['classes'].iloc[0]:.3g} %): the "
            "logits learn on random features"
        )
        verdict: Verdict = "supported" if largest == 0 else "refuted"
        if seeds < MIN_SEEDS:
            verdict, note = "inconclusive", f"{too_few(seeds)}; {note}"
        return Finding(verdict, largest, largest, largest, seeds=seeds, note=note)

    return Test(
        "gradient norm of the hidden layers",
        "supported if it is exactly 0 in every hidden layer at every probe of every run, "
        "else refuted",
        evaluate,
    )


def sigmoid_needs_hot_rate() -> Test:
    """Test `sigmoid_needs_hot_rate`: each seed's best rate for sigmoid over its best for ReLU."""

    def evaluate(evidence: Evidence) -> Finding:
        if evidence.runs["lr"].nunique() < 2:
            raise LackingError(untuned(evidence.summary))
        losses = {name: _validation_losses(evidence, name) for name in ("sigmoid", "relu")}
        best = {name: table.idxmin(axis=1).astype("float64") for name, table in losses.items()}
        ratios = (best["sigmoid"] / best["relu"]).map(math.log)
        # If the best rate is at an edge, the truly best one may lie beyond it.
        at = {
            (name, edge): bool((best[name] == getattr(table.columns, edge)()).any())
            for name, table in losses.items()
            for edge in ("min", "max")
        }
        beyond = "the ratio may be another beyond the grid"
        unsure: dict[Verdict, str] = {}
        if at["sigmoid", "max"] or at["relu", "min"]:
            unsure["refuted"] = beyond
        if at["sigmoid", "min"] or at["relu", "max"]:
            unsure["supported"] = beyond
        several = Hypothesis(
            "sigmoid / relu",
            "best learning rate, ratio",
            ratios,
            "above",
            math.log(SEVERAL),
            ratio=True,
            open=unsure,
        )
        counts = ", ".join(f"{name} {_counted(rates)}" for name, rates in best.items())
        return decide([several], remarks=[f"seeds by their best rate: {counts}"])

    return Test(
        "learning rate with the lowest final validation loss of a seed, sigmoid / relu",
        f"geometric mean over seeds above {SEVERAL:g}; no verdict that a best rate on the edge of "
        "the grid could overturn",
        evaluate,
    )


def beyond_six_times(setting: str) -> Test:
    """Test `relu_six_times_faster`: tanh needs at least three times the iterations of ReLU.

    That is half of the factor that is claimed.

    Args:
        setting: Whether the activations are compared at the `shared` or at the `tuned` rates.
    """
    a, b = f"tanh setting={setting}", f"relu setting={setting}"
    difference = Difference("iterations_to_target", a, b, "above", bound=math.log(3))

    def remark(evidence: Evidence) -> str:
        rates = [
            f"{name.split()[0]} at lr {', '.join(f'{lr:g}' for lr in _rates(evidence, name))}"
            for name in (a, b)
        ]
        return "; ".join(rates)

    test = compare(difference, tuned=True, remark=remark)

    def evaluate(evidence: Evidence) -> Finding:
        finding = test.evaluate(evidence)
        seen = evidence.tuned()
        missed = [set(runs.index[runs["never"]]) for runs in (seen.select(a), seen.select(b))]
        if finding.verdict == "refuted" and missed[0] - missed[1]:
            note = f"tanh never arrived, so that its iterations are a lower bound; {finding.note}"
            return replace(finding, verdict="inconclusive", note=note)
        return finding

    rule = f"{test.rule}; a tanh that never arrives refutes nothing, its budget is a lower bound"
    return Test(test.quantity, rule, evaluate)


def _rates(evidence: Evidence, selection: str) -> list[float]:
    return [float(lr) for lr in sorted(evidence.select(selection)["lr"].unique())]


def _validation_losses(evidence: Evidence, name: str) -> pd.DataFrame:
    """Final validation losses of an activation, a row per seed and a column per learning rate.

    A rate at which a run diverged cannot be the best one. A seed that lacks a run is left out.

    Raises:
        LackingError: There are several runs of one seed and rate, or no complete seed.
    """
    runs = evidence.runs[evidence.runs["activation"] == name]
    if runs[["seed", "lr"]].duplicated().any():
        raise LackingError(f"several runs of {name} have the same seed and learning rate")
    runs = runs.assign(loss=losses_to_choose_by(runs))
    table: pd.DataFrame = runs.pivot(index="seed", columns="lr", values="loss")
    table = table.dropna()
    table = table.loc[np.isfinite(table.to_numpy()).any(axis=1)]
    if table.empty:
        raise LackingError(f"no seed has a validation loss of {name} at every learning rate")
    return table


def _counted(rates: pd.Series[float]) -> str:
    """How often each rate is the best: `5 at 0.03 and 2 at 0.1`."""
    counts = rates.value_counts().sort_index()
    return " and ".join(f"{count} at {lr:g}" for lr, count in counts.items())


def _probed(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose hidden layers were probed.

    Raises:
        LackingError: There is no such run.
    """
    if runs.empty:
        raise LackingError("the preset's sweep lacks the runs that this claim is about")
    probed = runs[runs["largest_gradient_norm"].notna()]
    if probed.empty:
        raise LackingError("the runs have no probes (layers.csv); probe.every=0 turns them off")
    return probed


def _spearman(a: pd.Series[float], b: pd.Series[float]) -> float:
    """Spearman's rank correlation; NaN where one of the two does not vary."""
    if a.nunique() < 2 or b.nunique() < 2:
        return math.nan  # SciPy would say the same with a warning
    return float(spearmanr(a, b).statistic)
