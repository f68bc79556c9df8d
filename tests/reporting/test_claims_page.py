"""Claims as text and as a page."""

from __future__ import annotations

from lenet_bench.claims.evaluation import claims_frame, judge
from lenet_bench.claims.evidence import Evidence
from lenet_bench.claims.registry import CLAIMS
from lenet_bench.reporting.claims_page import claims_as_text, claims_page
from lenet_bench.reporting.terminal import claim_lines
from tests.claims.made_up import runs_of


def test_the_page_tells_all_and_escapes_it() -> None:
    rows = [
        judge(CLAIMS["relu_twice"], Evidence()),
        judge(CLAIMS["sigmoid_slower"], runs_of(relu={0: 0.5})),
    ]
    frame = claims_frame(rows)
    assert frame["claim"].to_list() == ["sigmoid_slower", "relu_twice"]  # the registry's order
    text = claims_as_text(frame)
    assert "2 claims: 1 supported, 1 inconclusive" in text
    assert claim_lines(frame) == [
        "claim inconclusive: Sigmoid trains LeNet clearly slower than tanh and ReLU.",
        "claim supported: ReLU after ReLU changes nothing.",
    ]
    assert claim_lines(claims_frame(rows * 3)) == [
        "6 claims: 3 supported, 3 inconclusive; see claims.csv"
    ]
    assert claim_lines(claims_frame([])) == []
    content = claims_page(frame, ["dataset=<mine>"])
    assert "dataset=&lt;mine&gt;" in content
    assert "<dd>there is no run of sigmoid</dd>" in content
    assert "Fewer than 3 seeds: inconclusive" in content
    assert ":mod:" not in content
    assert "A comparison is supported if" in content
