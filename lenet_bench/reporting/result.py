"""What a report found and what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Report:
    """What was found and what was written.

    In the frames for readers (`groups`, `comparisons`, `tuned`) data have names, where `summary`
    and the files have fingerprints.

    Attributes:
        title: What was run, and the target loss.
        summary: A row per run.
        groups: A row per configuration without its seed.
        keys: What distinguishes the groups, the activation first.
        comparisons: A row per pair of lines and quantity.
        tuned: A row per line of a sweep that varies the learning rate.
        claims: A row per claim that these runs can decide.
        troubles: A line for each run that did not finish.
        damaged: A line for each run that was left out because its files cannot be believed.
        notes: What was left out, and why.
        paths: The files that were written.
    """

    title: str
    summary: pd.DataFrame
    groups: pd.DataFrame
    keys: tuple[str, ...]
    comparisons: pd.DataFrame
    tuned: pd.DataFrame
    claims: pd.DataFrame
    troubles: tuple[str, ...]
    damaged: tuple[str, ...]
    notes: tuple[str, ...]
    paths: tuple[Path, ...]

    @property
    def warning(self) -> str:
        """A sentence that says how many runs were left out; empty where none was."""
        count = len(self.damaged)
        runs = "a damaged run is" if count == 1 else f"{count} damaged runs are"
        return (
            f"{runs} left out of the report; train again or remove what it names" if count else ""
        )
