"""Verdicts: the frame of `summarise` in, a row per pair of lines and quantity out.

The runs of a panel differ only in line and seed. Every line of a panel is compared with every other
one, paired by seed. Holm's correction goes over the comparisons of one quantity in one panel. No
run is dropped silently: `outcomes` says what a run counts as that diverged or never reached a
target, and the verdict says how many did.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from lenet_bench.analysis import outcomes
from lenet_bench.analysis.lines import lines_in_order, split_keys
from lenet_bench.analysis.statistics import MIN_SEEDS, holm, paired
from lenet_bench.records.schema import COMPARISONS, names

MOST_PAIRS = 300
"""If there are more pairs, each line is compared with one reference only."""

REFERENCE = "relu"
LEVEL = 0.05


@dataclass(frozen=True)
class Quantity:
    """How a quantity is put into words.

    Attributes:
        words: Its name.
        less: What it is called if there is less of it.
        more: What it is called if there is more of it.
        unit: Its unit, which follows numbers.
        scale: The factor from recorded numbers to this unit.
    """

    words: str
    less: str
    more: str
    unit: str
    scale: float = 1.0


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "mean_train_loss": Quantity("mean training loss", "lower", "higher", ""),
        "final_train_loss": Quantity("final training loss", "lower", "higher", ""),
        "test_accuracy": Quantity("test accuracy", "lower", "higher", " points", 100.0),
        **{
            f"{unit}_to_{target}": Quantity(
                f"{unit} to the target {name}", "sooner", "later", f" {unit}"
            )
            for target, name in (("target", "loss"), ("accuracy", "accuracy"))
            for unit in ("iterations", "seconds")
        },
    }
)


def pairwise(summary: pd.DataFrame) -> pd.DataFrame:
    """Make the frame of `comparisons.csv`: every comparison of a sweep.

    A verdict names a difference only if the p value after Holm's correction is at most 0.05 and the
    interval does not contain 0. Two runs of a pair that both never reached a target do not differ.

    Args:
        summary: The frame of `summarise`.

    Returns:
        The keys that distinguish panels, then the columns of
        `lenet_bench.records.schema.COMPARISONS`.
    """
    line_keys, panel_keys = split_keys(summary)
    summary = summary.copy()
    for name in QUANTITIES:
        value, never = _columns_of(name)
        summary[value] = outcomes.count(summary, name)
        summary[never] = outcomes.never_reached(summary, name)
    panels = [
        (values, lines_in_order(panel, line_keys, among=summary))
        for values, panel in panels_of(summary, panel_keys)
    ]
    by_reference = _count_pairs(len(lines) for _, lines in panels) > MOST_PAIRS
    rows: list[dict[str, Any]] = []
    for values, lines in panels:
        labels = [label for label, _ in lines]
        pairs = list(combinations(range(len(labels)), 2))
        if by_reference:
            reference = labels.index(REFERENCE) if REFERENCE in labels else 0
            pairs = [(line, reference) for line in range(len(labels)) if line != reference]
        if pairs:
            by_seed = _by_seed([runs for _, runs in lines])
            for name in QUANTITIES:
                rows += [values | row for row in _table(labels, by_seed, pairs, name)]
    return pd.DataFrame(rows, columns=[*panel_keys, *names(COMPARISONS)])


def is_distinguishable(row: Mapping[str, Any] | pd.Series[Any]) -> bool:
    """Whether a row of `pairwise` shows a difference."""
    apart = row["low"] > 0 or row["high"] < 0
    return bool(row["seeds"] >= MIN_SEEDS and row["p_holm"] <= LEVEL and apart)


def scope(summary: pd.DataFrame) -> str:
    """Say what each line is compared with, if there are too many pairs; else an empty text."""
    line_keys, panel_keys = split_keys(summary)
    sizes = [len(panel[line_keys].drop_duplicates()) for _, panel in panels_of(summary, panel_keys)]
    pairs = _count_pairs(sizes)
    if pairs <= MOST_PAIRS:
        return ""
    activations = line_keys[0] == "activation" and (summary["activation"] == REFERENCE).any()
    reference = REFERENCE if activations else "the first line of its panel"
    return f"{pairs:,} pairs are too many: each line is compared with {reference} only"


def panels_of(summary: pd.DataFrame, keys: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Split runs into panels by the values of these keys: the values, and the runs."""
    if not keys:
        return [({}, summary)]
    return [
        (dict(zip(keys, values, strict=True)), panel)
        for values, panel in summary.groupby(keys, dropna=False, sort=False)
    ]


def format_difference(name: str, difference: float, low: float, high: float) -> str:
    """Format as `0.034 [0.020, 0.048]` with its unit, to two digits of half of the interval."""
    quantity = QUANTITIES[name]
    values = [quantity.scale * value for value in (difference, low, high)]
    half = (values[2] - values[1]) / 2
    size = half if half > 0 else abs(values[0])
    digits = min(max(1 - math.floor(math.log10(size)), 0), 8) if 0 < size < math.inf else 0
    middle, first, last = (f"{value:,.{digits}f}" for value in values)
    return f"{middle}{quantity.unit} [{first}, {last}]"


def _by_seed(lines: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Align the runs of lines by seed: each gets a row for every seed that any of them has."""
    runs = [line.drop_duplicates("seed", keep="last").set_index("seed") for line in lines]
    seeds = pd.Index(pd.unique(np.concatenate([line.index for line in runs])))
    return [line.reindex(seeds) for line in runs]


def _table(
    labels: list[str], lines: list[pd.DataFrame], pairs: list[tuple[int, int]], name: str
) -> list[dict[str, Any]]:
    """Compare the pairs of one panel in one quantity, with one correction for all of them."""
    value, never = _columns_of(name)
    values = [line[value].to_numpy(np.float64) for line in lines]
    nevers = [line[never].eq(True).to_numpy(bool) for line in lines]
    bounds = [
        missed | outcomes.diverged(line).to_numpy(bool)
        for missed, line in zip(nevers, lines, strict=True)
    ]
    counts = [(int(outcomes.diverged(line).sum()), line["status"].count()) for line in lines]
    diverged = {
        label: f"{count} of {runs}"
        for label, (count, runs) in zip(labels, counts, strict=True)
        if count
    }
    rows: list[dict[str, Any]] = []
    for a, b in pairs:
        of_a, of_b = outcomes.level_pairs(name, values[a], values[b], bounds[a], bounds[b])
        result = paired(of_a, of_b)
        both = np.isfinite(of_a) & np.isfinite(of_b)
        rows.append(
            {
                "quantity": name,
                "a": labels[a],
                "b": labels[b],
                "seeds": result.n,
                "mean_a": of_a[both].mean() if result.n else np.nan,
                "mean_b": of_b[both].mean() if result.n else np.nan,
                "difference": result.mean,
                "low": result.low,
                "high": result.high,
                "p_value": result.p_value,
                "effect_size": result.effect_size,
                "probability": result.probability,
                "never_a": int(nevers[a][both].sum()),
                "never_b": int(nevers[b][both].sum()),
            }
        )
    adjusted = holm([row["p_value"] if row["seeds"] >= MIN_SEEDS else np.nan for row in rows])
    for row, p_holm in zip(rows, adjusted, strict=True):
        row["p_holm"] = float(p_holm)
        row["verdict"] = _verdict(name, row, diverged)
    return rows


def _verdict(name: str, row: Mapping[str, Any], diverged: Mapping[str, str]) -> str:
    """The verdict of a comparison, with how many runs diverged or never reached the target."""
    never = {row["a"]: row["never_a"], row["b"]: row["never_b"]}
    if name in outcomes.REACHED:
        parts = [
            f"{label} never in {count} of {row['seeds']}" for label, count in never.items() if count
        ]
    else:
        parts = [f"{label} diverged in {diverged[label]}" for label in never if label in diverged]
    return "; ".join([_in_words(name, row), *parts])


def _in_words(name: str, row: Mapping[str, Any]) -> str:
    """What a comparison shows: `tanh higher by 0.034 [0.020, 0.048]`."""
    quantity = QUANTITIES[name]
    if row["seeds"] < MIN_SEEDS:
        return f"no verdict: fewer than {MIN_SEEDS} seeds"
    if not is_distinguishable(row):
        return "not distinguishable"
    less = row["difference"] < 0
    sign = -1.0 if less else 1.0
    low, high = sorted((sign * row["low"], sign * row["high"]))
    difference = format_difference(name, sign * row["difference"], low, high)
    slower, faster = ("never_b", "never_a") if less else ("never_a", "never_b")
    at_least = "at least " if row[slower] and not row[faster] else ""
    return f"{row['a']} {quantity.less if less else quantity.more} by {at_least}{difference}"


def _columns_of(name: str) -> tuple[str, str]:
    """The columns that hold what runs count as, and whether they never reached the target."""
    return f"{name} counted", f"{name} never"


def _count_pairs(sizes: Iterable[int]) -> int:
    return sum(size * (size - 1) // 2 for size in sizes)
