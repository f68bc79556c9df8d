"""How most claims are tested: contrasts between runs in, a `Test` out.

A test states its rule in words. The words are made from the contrasts themselves, so that they
cannot differ from what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lenet_bench.analysis import outcomes
from lenet_bench.analysis.summary import WINDOW
from lenet_bench.claims.evidence import ITERATIONS, QUANTITIES, Evidence, compared
from lenet_bench.claims.rules import Claimed, Finding, Hypothesis, LackingError, Verdict, decide

PLACES = {("element", "torch"): "per element", ("lenet", "lenet_bench"): "in training LeNet"}
"""Where the cost of an activation is measured: torch's own module alone, and a whole step here."""

TUNED = "setting=tuned"
"""In a selection: each activation at its own best learning rate."""

SAME_COST = 0.02
"""A difference that is negligible, as a share of the time."""


@dataclass(frozen=True)
class Test:
    """How a claim is tested: the quantity, the rule in words, and its evaluation."""

    quantity: str
    rule: str
    evaluate: Callable[[Evidence], Finding]


@dataclass(frozen=True)
class Level:
    """A quantity of one selection of runs, compared with a bound.

    `Evidence.select` says what a selection is.
    """

    quantity: str
    a: str
    claimed: Claimed
    bound: float = 0.0

    @property
    def words(self) -> str:
        """What is compared."""
        return self.a

    def margin(self) -> tuple[float | None, bool]:
        """None: no level is negligible."""
        return None, False

    def values(self, evidence: Evidence) -> pd.Series[float]:
        """By seed."""
        return evidence.values(self.a, self.quantity)


@dataclass(frozen=True)
class Difference:
    """A quantity of selection a minus the same of selection b, paired by seed.

    If a claim says `clearly`, a difference that still counts as close is negligible.
    """

    quantity: str
    a: str
    b: str
    claimed: Claimed
    bound: float = 0.0
    clearly: bool = False

    @property
    def words(self) -> str:
        """What is compared."""
        sign = "/" if QUANTITIES[self.quantity].ratio else "-"
        return f"{self.a} {sign} {self.b}"

    def margin(self) -> tuple[float | None, bool]:
        """The margin of the quantity, and whether it is a share of the loss of chance."""
        quantity = QUANTITIES[self.quantity]
        wide = self.clearly or self.claimed == "close"
        return quantity.close if wide else quantity.negligible, quantity.of_chance

    def values(self, evidence: Evidence) -> pd.Series[float]:
        """By the seeds that both have; NaN where neither run reached the target."""
        a, b = evidence.select(self.a), evidence.select(self.b)
        both = a.index.intersection(b.index)
        a, b = a.loc[both], b.loc[both]
        if self.quantity in (*outcomes.LOSSES, *outcomes.ACCURACIES):
            of_a, of_b = outcomes.level_pairs(
                self.quantity,
                np.asarray(compared(a, self.quantity), dtype=np.float64),
                np.asarray(compared(b, self.quantity), dtype=np.float64),
                outcomes.diverged(a).to_numpy(bool),
                outcomes.diverged(b).to_numpy(bool),
            )
            return pd.Series(of_a - of_b, index=both)
        values = compared(a, self.quantity) - compared(b, self.quantity)
        if self.quantity == ITERATIONS:
            values = values.where(~(a["never"] & b["never"]))
        return values


Contrast = Level | Difference


def compare(
    *needed: Contrast,
    also: Sequence[Contrast] = (),
    tuned: bool = False,
    remark: Callable[[Evidence], str] | None = None,
) -> Test:
    """Test a claim that consists of several contrasts, all of which have to hold.

    Args:
        *needed: The contrasts.
        also: Contrasts that only the note mentions. They decide nothing; if their runs are
            missing, the note says so.
        tuned: Whether to compare the reporting seeds of a learning-rate sweep. Selections then
            have a `setting=shared` or `setting=tuned`. A verdict at `setting=tuned` is withheld
            if an activation could overturn it whose best rate is on an edge of the grid; the note
            names such activations.
        remark: Says what else the note holds.
    """

    def evaluate(evidence: Evidence) -> Finding:
        seen = evidence.tuned() if tuned else evidence
        edges = _edges(seen, needed)
        noted, lacking = _available(also, seen)
        limits = _iterations(seen, [*needed, *noted])
        remarks = [_diverged(seen, needed), *limits, _on_edge(edges)]
        remarks += [remark(seen)] if remark else []
        return decide(
            [replace(_hypothesis(each, seen), open=_open(each, edges)) for each in needed],
            list(noted.values()),
            [text for text in (*remarks, *lacking) if text],
        )

    quantities = dict.fromkeys(QUANTITIES[each.quantity].words for each in needed)
    return Test(", ".join(quantities), _rule(needed), evaluate)


def costs(*activations: str, reference: str, claimed: Claimed) -> Test:
    """Test the time of activations over that of a reference, alone and inside LeNet.

    Every activation has to be as claimed in both places.
    """

    def evaluate(evidence: Evidence) -> Finding:
        hypotheses = [
            Hypothesis(
                f"{name} / {reference}",
                f"time {where}",
                _cost(evidence, name, place) - _cost(evidence, reference, place),
                claimed,
                margin=math.log1p(SAME_COST),
                ratio=True,
            )
            for name in activations
            for place, where in PLACES.items()
        ]
        return decide(hypotheses, remarks=["pairs are rounds of measurement, not seeds"])

    names = " and ".join(activations)
    return Test(
        "time forward and backward, ratio, per element (torch) and of a training step of LeNet",
        f"time of {names} over that of {reference} {claimed} 1, per element and inside LeNet; "
        f"negligible: within {100 * SAME_COST:g} %",
        evaluate,
    )


def _cost(evidence: Evidence, activation: str, place: tuple[str, str]) -> pd.Series[float]:
    """The logarithm of an activation's time relative to ReLU, by round of measurement."""
    rounds = evidence.rounds
    if rounds.empty:
        raise LackingError("the cost of activations was not measured")
    where, implementation = place
    chosen = rounds[
        (rounds["activation"] == activation)
        & (rounds["where"] == where)
        & (rounds["implementation"] == implementation)
        & (rounds["pass"] == "forward_backward")  # noqa: S105  a pass of the network
    ]
    if chosen.empty:
        raise LackingError(f"the cost of {activation} ({where}, {implementation}) was not measured")
    relative = chosen.set_index("round")["relative"].astype("float64")
    return pd.Series(np.log(relative.to_numpy()), index=relative.index)


def _hypothesis(contrast: Contrast, evidence: Evidence) -> Hypothesis:
    margin, of_chance = contrast.margin()
    if margin is not None and of_chance:
        margin *= evidence.chance_loss
        if math.isnan(margin):
            raise LackingError("no run recorded the number of classes")
    return Hypothesis(
        contrast.words,
        QUANTITIES[contrast.quantity].words,
        contrast.values(evidence),
        contrast.claimed,
        contrast.bound,
        margin,
        QUANTITIES[contrast.quantity].ratio,
    )


def _available(
    contrasts: Sequence[Contrast], evidence: Evidence
) -> tuple[dict[Contrast, Hypothesis], list[str]]:
    """The hypotheses whose runs are there, and a remark on each of the others."""
    available: dict[Contrast, Hypothesis] = {}
    lacking = []
    for each in contrasts:
        try:
            available[each] = _hypothesis(each, evidence)
        except LackingError as error:
            lacking.append(f"{each.words} is lacking: {error}")
    return available, lacking


def _rule(needed: Sequence[Contrast]) -> str:
    """The rule in words: `mean training loss (nats): a - b above 0 (negligible: ...); ...`."""
    parts: dict[str, list[str]] = {}
    for each in needed:
        quantity = QUANTITIES[each.quantity]
        margin, _ = each.margin()
        if each.claimed == "close":
            text = f"{each.words} within {quantity.margin_in_words(margin)}"
        else:
            bound = math.exp(each.bound) if quantity.ratio else each.bound
            small = f" (negligible: within {quantity.margin_in_words(margin)})" if margin else ""
            text = f"{each.words} {each.claimed} {bound:.3g}{small}"
        parts.setdefault(quantity.words, []).append(text)
    rules = [f"{words}: {', '.join(texts)}" for words, texts in parts.items()]
    rules += ["all of these must be supported"] if len(needed) > 1 else []
    if any(each.quantity == ITERATIONS for each in needed):
        rules.append(f"no count is below {WINDOW}, the iterations that a loss is averaged over")
    sides = [_sides(each) for each in needed if isinstance(each, Difference) and _is_tuned(each)]
    for better, worse in dict.fromkeys(sides):
        rules.append(
            "inconclusive where a better rate beyond the grid could overturn the verdict: where "
            f"the best rate of {worse} (if supported) or {better} (if refuted) is on an edge"
        )
    return "; ".join(rules)


def _is_tuned(contrast: Contrast) -> bool:
    return any(TUNED in selection.split() for selection in _selections([contrast]))


def _sides(difference: Difference) -> tuple[str, str]:
    """The activations that are claimed to do better and worse."""
    a, b = (selection.split()[0] for selection in (difference.a, difference.b))
    more_of_a = difference.claimed == "above"
    return (a, b) if more_of_a == QUANTITIES[difference.quantity].more_is_better else (b, a)


def _edges(evidence: Evidence, contrasts: Sequence[Contrast]) -> dict[str, str]:
    """The activations that are compared at a best rate on an edge of the grid, and which edge."""
    selections = _selections([each for each in contrasts if _is_tuned(each)])
    names = {each.split()[0] for each in selections if TUNED in each.split()}
    return {name: edge for name, edge in evidence.edges().items() if name in names} if names else {}


def _open(contrast: Contrast, edges: Mapping[str, str]) -> dict[Verdict, str]:
    """The verdicts that a better rate beyond the grid could overturn, each with the reason."""
    if not isinstance(contrast, Difference) or not _is_tuned(contrast):
        return {}
    better, worse = _sides(contrast)
    pairs: tuple[tuple[Verdict, str], ...] = (("supported", worse), ("refuted", better))
    return {
        verdict: f"{name} might do better beyond the grid of learning rates"
        for verdict, name in pairs
        if name in edges
    }


def _on_edge(edges: Mapping[str, str]) -> str:
    """Remark on best rates on an edge of the grid."""
    return "; ".join(
        f"best rate of {name} on the edge of the grid ({edge})" for name, edge in edges.items()
    )


def _diverged(evidence: Evidence, contrasts: Sequence[Contrast]) -> str:
    """Remark on how many runs diverged."""
    counts = []
    for selection in _selections(contrasts):
        diverged = int((evidence.select(selection)["status"] == "diverged").sum())
        if diverged:
            counts.append(f"{diverged} of {selection}")
    return f"diverged (loss and accuracy count as chance): {', '.join(counts)}" if counts else ""


def _iterations(evidence: Evidence, contrasts: Sequence[Contrast]) -> list[str]:
    """Remarks on iterations that are only bounds: at the budget, or at the window of the mean."""
    never, least = [], []
    for selection in _selections([each for each in contrasts if each.quantity == ITERATIONS]):
        runs = evidence.select(selection)
        if count := int(runs["never"].sum()):
            never.append(f"{count} of {selection}")
        if count := int((runs[ITERATIONS].eq(WINDOW) & ~runs["never"]).sum()):
            least.append(f"{count} of {selection}")
    notes = [f"never there, counted as the budget: {', '.join(never)}"] if never else []
    if least:
        notes.append(
            f"there at iteration {WINDOW}, the first that can be told (the loss is a mean over "
            f"{WINDOW}): {', '.join(least)}"
        )
    return notes


def _selections(contrasts: Sequence[Contrast]) -> list[str]:
    """The selections of runs that some contrasts compare, each once."""
    both = [name for each in contrasts for name in (each.a, getattr(each, "b", None)) if name]
    return list(dict.fromkeys(both))
