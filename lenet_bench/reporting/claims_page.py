"""What `lenet-bench-claims` shows: a table for the terminal, and `claims.html`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from lenet_bench.claims.registry import CLAIMS
from lenet_bench.claims.rules import __doc__ as RULES
from lenet_bench.reporting.tables.claims import claim_names, claims_table, count_verdicts
from lenet_bench.reporting.tables.table import Table, as_html, as_text
from lenet_bench.reporting.templates import render


def claims_as_text(frame: pd.DataFrame) -> str:
    """The table for a terminal, and how many claims got which verdict."""
    return f"{as_text(claims_table(frame, 'claim'))}\n{count_verdicts(frame)}"


def claims_page(frame: pd.DataFrame, overrides: Sequence[str]) -> str:
    """`claims.html`: the table; the rules; of each claim its source, its rule and what was found.

    Args:
        frame: The claims with their verdicts.
        overrides: What the presets were trained with.
    """
    return render(
        "claims.html",
        title="lenet-bench: claims about activation functions",
        subtitle=f"trained with: {' '.join(overrides) or 'the presets as they are'}",
        verdicts=as_html(explained_table(frame)),
        rules=_rules(),
        claim_details=claim_details(frame),
    )


def explained_table(frame: pd.DataFrame) -> Table:
    """The claims in full sentences, with a caption that says how to read the numbers."""
    caption = (
        f"{count_verdicts(frame)}. Effects are means over seeds, in the unit of the claim's "
        "quantity; p is adjusted by Holm's method over a claim's comparisons. The rules are in the "
        "code, the same for every run."
    )
    return claims_table(frame, "statement", caption)


def claim_details(frame: pd.DataFrame) -> list[tuple[str, Mapping[str, str]]]:
    """Of each claim: its statement, and who makes it, its rule and what was found."""
    details: list[tuple[str, Mapping[str, str]]] = []
    for heading, (_, row) in zip(claim_names(frame, "statement"), frame.iterrows(), strict=True):
        claim = CLAIMS[str(row["claim"])]
        facts = {
            "claim": claim.identifier,
            "made in": claim.source,
            "quantity": claim.quantity,
            "rule": claim.rule,
            "verdict": str(row["verdict"]),
            "found": str(row["note"]),
        }
        details.append((heading, facts))
    return details


def _rules() -> list[str]:
    """The rules in the words of the code that applies them, an item each."""
    _, _, text = (RULES or "").partition("\n\n")
    items = re.split(r"\n\n|\n(?=- )", text.strip())
    plain = (item.removeprefix("- ").replace("*", "") for item in items)
    return [" ".join(item.split()) for item in plain]
