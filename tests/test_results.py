"""docs/RESULTS.md says nothing that the committed CSVs do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lenet_bench.claims.registry import CLAIMS
from lenet_bench.reporting.claims_markdown import claims_table, tuned_table

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "RESULTS.md"
FOLDERS = {
    "digits": ROOT / "runs" / "reference" / "claims-digits",
    "CIFAR-10 (JPEG copy)": ROOT / "runs" / "reference" / "claims-cifar10-jpeg",
}
NUMBER = re.compile(r"\d+\.\d+")


@pytest.mark.parametrize("table", [claims_table, tuned_table])
def test_its_tables_are_those_of_the_reference_runs(table: object) -> None:
    assert callable(table)
    assert table(FOLDERS) in RESULTS.read_text(encoding="utf-8")


def test_its_prose_quotes_no_number_that_no_table_holds() -> None:
    text = RESULTS.read_text(encoding="utf-8")
    lines = text.splitlines()
    held = set(NUMBER.findall("\n".join(line for line in lines if line.startswith("|"))))
    for folder in FOLDERS.values():
        held |= set(NUMBER.findall((folder / "claims.csv").read_text(encoding="utf-8")))
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    prose = "\n".join(line for line in prose.splitlines() if not line.startswith("|"))
    assert set(NUMBER.findall(prose)) <= held


def test_at_least_twenty_claims_have_a_verdict() -> None:
    for folder in FOLDERS.values():
        text = (folder / "claims.csv").read_text(encoding="utf-8")
        rows = [line for line in text.splitlines() if line.split(",", 1)[0] in CLAIMS]
        decided = [line for line in rows if ",supported," in line or ",refuted," in line]
        assert len(rows) == len(CLAIMS)
        assert len(decided) >= 20


def test_the_reference_runs_are_small_and_know_no_machine() -> None:
    files = [path for path in (ROOT / "runs" / "reference").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10 * 2**20
    for path in files:
        if path.suffix in (".csv", ".json", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.])/(work|home|root|tmp|Users)/", text), path
