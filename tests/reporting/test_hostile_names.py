"""A report of runs whose names, configurations and errors were chosen to do harm."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from lenet_bench.analysis.summary import summarise
from lenet_bench.records.loading import load_sweep
from lenet_bench.reporting.figures import save
from lenet_bench.reporting.report import draw_figures, write_report
from lenet_bench.reporting.result import Report
from lenet_bench.reporting.tables.table import as_markdown, make_table, markdown_text
from lenet_bench.reporting.terminal import print_report
from tests.fabricate import configuration, descent, set_preset, write_run
from tests.reporting.drawing import all_text

BAD = "=1+1;$x^{2$\x1b[31m<img src=x onerror=alert(1)>\u202e[red]{{ 7*7 }}"
WORSE = '@b|*c*\n2$\\frac$&amp;;=cmd"onload="alert(2)'
ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hostile image folders and a run that failed with a hostile error."""
    directory = tmp_path_factory.mktemp("hostile") / "=<b>s&"
    for number, root in enumerate((BAD, WORSE)):
        dataset = {**configuration()["dataset"], "name": "image_folder", "root": root}
        for activation in ("relu", "tanh"):
            for seed in range(3):
                write_run(
                    directory, f"{activation}-<i>{number}\x1b[2J-{seed}", descent(60, seed, rate=9),
                    activation=activation, seed=seed, dataset=dataset, fingerprint=f"f{number}",
                )  # fmt: skip
    run = write_run(directory, "=failed", descent(0, 0), status="failed", seed=9)
    status = (run / "status.json").read_text(encoding="utf-8")
    error = r"RuntimeError: \u001b]0;t\u0007<script>alert(3)</script>"
    status = status.replace("RuntimeError: out of memory", error)
    (run / "status.json").write_text(status, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def report(sweep: Path) -> Report:
    """The report of it."""
    return write_report(sweep, sweep)


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def test_no_element_and_no_attribute_comes_of_a_name(report: Report, sweep: Path) -> None:
    page = Reader((sweep / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "i", "b"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/"), attributes["src"]
    assert r"=1+1;$x^{2$\x1b[31m<img src=x onerror=alert(1)>\u202e[red]{{ 7*7 }}" in page.text
    assert r"\x1b]0;t\x07<script>alert(3)</script>" in page.text


def test_nothing_that_is_written_or_printed_holds_controls(report: Report, sweep: Path) -> None:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=80))
    texts = {"terminal": stream.getvalue()}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in written(sweep)}
    assert {"report.html", "summary.csv", "comparisons.csv", "training_loss.svg"} <= set(texts)
    for name, text in texts.items():
        assert not ACTS.search(text), (name, ACTS.search(text))
    assert "[red]" in texts["terminal"]  # no markup of rich's either


def written(sweep: Path) -> Iterator[Path]:
    for path in sorted(sweep.rglob("*")):
        if path.suffix in (".html", ".csv", ".svg") and path.parent in (sweep, sweep / "figures"):
            yield path


def test_no_cell_of_a_table_is_a_formula(report: Report, sweep: Path) -> None:
    for path in written(sweep):
        if path.suffix != ".csv":
            continue
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            for cell in row:
                assert not cell.startswith(("=", "@")), (path.name, cell)
                if cell.startswith(("+", "-")):
                    float(cell)


def test_figures_show_dollar_signs_and_are_sound(report: Report, sweep: Path) -> None:
    """A name is no formula of TeX, not even a broken one, which would end the report."""
    figures = [path for path in written(sweep) if path.suffix == ".svg"]
    assert len(figures) == 3
    for path in figures:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")  # noqa: S314, our own


DOLLARS = ("$", "$x^$", "\\", "$\\frac$", "a_$x^2$_b", "\\$")


@pytest.mark.parametrize(
    ("names", "roots", "gains", "count", "shown"),
    [
        (DOLLARS, ("$$", "$x_$"), (1.0,), 4, (*DOLLARS, "$$", "$x_$")),
        (("$x^$",), ("$$",), (0.5, 1.0), 5, ()),  # what all runs have in common is not shown
    ],
    ids=["varied", "alone"],
)
def test_dollars_and_backslashes_are_drawn_as_they_are_typed(
    tmp_path: Path,
    names: tuple[str, ...],
    roots: tuple[str, ...],
    gains: tuple[float, ...],
    count: int,
    shown: tuple[str, ...],
) -> None:
    """At curves, in legends, headings of panels and captions; the second has a phase diagram."""
    products = itertools.product(names, roots, (0.01, 0.1, 1.0), gains)
    for number, (name, root, lr, gain) in enumerate(products):
        data = {"name": "image_folder", "root": f"/d/{root}"}
        write_run(
            tmp_path, str(number), descent(20, 0, rate=9), lr=lr, dead={"fc1": 0.2},
            activation={"name": "custom", "path": f"mine:{name}"}, fingerprint=root,
            init={**configuration()["init"], "gain": gain},
            dataset={**configuration()["dataset"], **data},
        )  # fmt: skip
    sweep = load_sweep(tmp_path)
    drawn = {key: one for key, one in draw_figures(sweep, summarise(sweep), []).items() if one}
    assert len(drawn) == count
    for key, figure in drawn.items():
        assert save(figure, Path("figure.svg"))
        drawn_text = all_text(figure)
        assert all(text in drawn_text for text in shown), key


def test_no_name_decides_where_a_report_is_written(sweep: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sweep, tmp_path / "in" / "sweep")
    for run in copy.glob("*/status.json"):
        status = json.loads(run.read_text(encoding="utf-8"))
        run.write_text(json.dumps({**status, "name": "../../x"}), encoding="utf-8")
        set_preset(run.parent, "../../x")
    write_report(copy, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["sweep"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("hard_swish 0.1 a: b", "hard_swish 0.1 a: b"),
        ("_x_ a_ __b__", "&#95;x&#95; a&#95; &#95;&#95;b&#95;&#95;"),
        ("www.evil.example", "www&#46;evil.example"),
        ("@everyone", "&#64;everyone"),
        (":smiley: 1:2:3", "&#58;smiley: 1&#58;2:3"),
    ],
)
def test_githubs_own_markdown_of_others_is_text(text: str, seen: str) -> None:
    """Emphasis by underscores, bare addresses, mentions and emoji; words stay as they are."""
    assert markdown_text(text) == seen


def test_names_in_colons_are_no_emoji_in_the_terminal(report: Report) -> None:
    stream = io.StringIO()
    named = replace(report, paths=(Path(":smiley:[bold]"),))
    print_report(named, Console(file=stream, width=80))
    assert ":smiley:[bold]" in stream.getvalue()


def test_markdown_of_others_is_text() -> None:
    table = make_table(["a"], [[markdown_text("[x](http://y) <b> `c` a|b \\")]])
    *_, row = as_markdown(table).splitlines()
    assert row == ("| &#91;x&#93;(http&#58;//y) &#60;b&#62; &#96;c&#96; a&#124;b &#92; |")
