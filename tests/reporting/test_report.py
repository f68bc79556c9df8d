"""What a report writes: files, and what their tables and sections hold."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from rich.console import Console

from lenet_bench.analysis import load_sweep
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.common.errors import UserError
from lenet_bench.reporting.report import distinct_runs, write_report
from lenet_bench.reporting.tables.tuned_rates import tuned_table
from lenet_bench.reporting.tables.verdicts import verdict_lines
from lenet_bench.reporting.terminal import print_report
from tests.fabricate import descent, set_preset, write_run
from tests.reporting.drawing import write_three


def test_report_writes_everything_and_again_the_same(tmp_path: Path) -> None:
    directory = write_three(tmp_path / "s")
    report = write_report(directory, directory)
    assert [path.relative_to(directory).as_posix() for path in report.paths] == [
        "summary.csv",
        "comparisons.csv",
        *(
            f"figures/{name}.{suffix}"
            for name in ("training_loss", "validation_accuracy", "dead_fraction")
            for suffix in ("png", "svg")
        ),
        "report.html",
    ]
    before = {path: path.read_bytes() for path in report.paths}
    assert write_report(directory, directory).paths == report.paths
    assert {path: path.read_bytes() for path in report.paths} == before
    assert not list(directory.rglob(".*"))
    pixels = imread(directory / "figures" / "training_loss.png")
    assert pixels.shape[1] >= 7 * 150
    assert pixels.shape[2] == 3 or pixels[..., 3].min() == 1.0, "opaque"
    ElementTree.parse(directory / "figures" / "training_loss.svg")
    html = (directory / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 3
    alternatives = re.findall(r'<img [^>]* alt="([^"]*)"', html)
    assert [text.partition(":")[0] for text in alternatives] == [
        *("Training loss on digits", "Validation accuracy on digits", "Dead units on digits"),
    ]
    assert re.search(r"At the end sigmoid [\d.]+, tanh [\d.]+, relu [\d.]+\.$", alternatives[0])
    assert re.search(r"fc1: at the end sigmoid 0 %, tanh 0 %, relu 20 %\.", alternatives[2])
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "prefers-color-scheme: dark" in html
    assert "target loss 1.151 nats (half of chance, ln(10)/2)" in html


def test_report_says_what_is_missing_and_removes_what_is_stale(tmp_path: Path) -> None:
    directory = write_three(tmp_path / "s", seeds=1)
    write_report(directory, directory)
    for run in directory.glob("*/status.json"):
        (run.parent / "layers.csv").unlink()
        (run.parent / "evaluation.csv").write_text("iteration,epoch,split,loss,accuracy\n")
        path = run.parent / "config.json"
        content = json.loads(path.read_text())
        content["config"] |= {"probe": {"every": 0}, "evaluate": {"every": 0}}
        path.write_text(json.dumps(content))
    report = write_report(directory, directory)
    assert [path.name for path in report.paths if path.parent.name == "figures"] == [
        *("training_loss.png", "training_loss.svg"),
    ]
    assert not (directory / "figures" / "dead_fraction.png").exists()
    assert len(report.notes) == 2
    assert "layers.csv" in (directory / "report.html").read_text(encoding="utf-8")


def test_report_of_nothing_but_a_failed_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s", "a", np.array([]), status="failed")
    for name in ("train.csv", "evaluation.csv", "layers.csv"):
        (run / name).unlink()
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert [path.name for path in report.paths] == ["summary.csv", "report.html"]
    assert report.troubles == ("a: failed at iteration 0 of 200: RuntimeError: out of memory",)


def test_html_is_escaped(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "<b>&", descent(30, 0), status="failed")
    write_report(tmp_path / "s", tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html


def test_repeated_runs_count_once(tmp_path: Path) -> None:
    for name, status in (("first", "interrupted"), ("second", "finished")):
        for seed in range(2):
            run = write_run(tmp_path / name, f"r{seed}", descent(90, seed), seed=seed)
            if status != "finished":
                text = (run / "status.json").read_text().replace("finished", status)
                (run / "status.json").write_text(text)
    kept, notes = distinct_runs(load_sweep([tmp_path / "first", tmp_path / "second"]))
    assert list(kept.runs["sweep"]) == ["second", "second"]
    assert len(notes) == 2
    first, second = tmp_path / "first" / "r0", tmp_path / "second" / "r0"
    assert notes[0] == (f"{first}: left out, because {second} has the same configuration and seed")


def test_verdicts_are_printed_written_and_shown(tmp_path: Path) -> None:
    directory = write_three(tmp_path / "s", seeds=5)
    report = write_report(directory, directory)
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    printed = [line for line in lines if line.startswith(("mean training loss,", "test accuracy,"))]
    assert len(printed) == 2 * 3
    (first,) = [line for line in printed if "mean training loss, sigmoid vs relu" in line]
    assert re.search(r": sigmoid higher by \d\.\d+ \[\d\.\d+, \d\.\d+\] \(p [=<] [\d.]+\)$", first)
    table = pd.read_csv(directory / "comparisons.csv")
    assert len(table) == 3 * 7
    html = (directory / "report.html").read_text(encoding="utf-8")
    assert "<h2>Verdicts</h2>" in html
    for verdict in table["verdict"]:
        assert verdict in html
    assert not (directory / "tuned.csv").exists()
    assert "Shared and tuned" not in html


@pytest.mark.slow
def test_claims_of_a_preset_are_printed_written_and_shown(tmp_path: Path) -> None:
    directory = write_three(tmp_path / "s", seeds=5)
    for run in directory.iterdir():
        set_preset(run, "sigmoid_tanh_relu")
    report = write_report(directory, directory)
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    printed = [line for line in lines if line.startswith("claim ")]
    statement = "Sigmoid trains LeNet clearly slower than tanh and ReLU."
    assert re.fullmatch(rf"claim supported \(p [=<] [\d.e-]+\): {statement}", printed[0])
    assert len(printed) == 2
    table = pd.read_csv(directory / "claims.csv")
    assert table["claim"].to_list() == ["sigmoid_slower", "tanh_close_to_relu"]
    assert f"wrote {directory / 'claims.csv'}" in lines
    html = (directory / "report.html").read_text(encoding="utf-8")
    assert [html.index(f"<h2>{name}</h2>") for name in ("Verdicts", "Claims", "Figures")] == sorted(
        html.index(f"<h2>{name}</h2>") for name in ("Verdicts", "Claims", "Figures")
    )
    assert f'<td class="sentence">{statement}</td>' in html
    # The rules of claims are fixed in advance; another target of the report does not move them.
    write_report(directory, tmp_path / "other", target_loss=0.5)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "other" / "claims.csv"), table)
    for path in directory.glob("*/config.json"):
        set_preset(path.parent, None)
    report = write_report(directory, directory)
    assert report.claims.empty
    assert not (directory / "claims.csv").exists()
    assert "<h2>Claims</h2>" not in (directory / "report.html").read_text(encoding="utf-8")


def test_many_verdicts_are_folded_and_not_printed(tmp_path: Path) -> None:
    for number, name in enumerate(tuple(ACTIVATIONS)[:6]):
        for seed in range(3):
            losses = descent(60, seed, rate=5.0 + number)
            write_run(tmp_path / "s", f"{name}-{seed}", losses, activation=name, seed=seed)
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert verdict_lines(report.comparisons) == []
    html = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "<summary>all 105 verdicts</summary>" in html
    opened = html[html.index("<h2>Verdicts") : html.index("<summary>all 105")]
    assert opened.count("<tr>") == 1 + 2 * 15, "the headlines of 15 pairs"


def test_tuned_rates_are_written_and_shown_with_what_is_on_the_edge(tmp_path: Path) -> None:
    for name in ("tanh", "relu"):
        for lr in (0.01, 0.1, 1.0):
            for seed in range(4):
                stops = name == "relu" and lr == 1.0
                losses = np.full(100, 2.3) if name == "tanh" else descent(100, seed)
                write_run(
                    *(tmp_path / "s", f"{name}-{lr}-{seed}", losses),
                    activation=name,
                    lr=lr,
                    seed=seed,
                    status="diverged" if stops else "finished",
                )
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert len(pd.read_csv(tmp_path / "s" / "tuned.csv")) == 2
    html = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "Shared and tuned learning rate" in html
    tuned = tuned_table(report.tuned)
    cells = [dict(zip(tuned.headers, row, strict=True)) for row in tuned.rows]
    assert [cell["activation"] for cell in cells] == ["tanh", "relu"]
    assert cells[0]["best rate on the edge"] == "yes, the lowest tried"
    never = cells[0]["iterations to target, tuned"]
    assert never == "\N{GREATER-THAN OR EQUAL TO} 200 ± 0 (never in 3)"
    assert (tmp_path / "s" / "figures" / "learning_rate.png").exists()
    for run in (tmp_path / "s").glob("*-0.1-*"):
        shutil.rmtree(run)
    for run in (tmp_path / "s").glob("*-1.0-*"):
        shutil.rmtree(run)
    write_report(tmp_path / "s", tmp_path / "s")
    assert not (tmp_path / "s" / "tuned.csv").exists()
    assert not (tmp_path / "s" / "figures" / "learning_rate.png").exists()


def test_one_seed_cannot_tune_and_is_told_so(tmp_path: Path) -> None:
    for lr in (0.01, 0.1):
        write_run(tmp_path / "s", f"{lr}", descent(60, 0), lr=lr)
    report = write_report(tmp_path / "s", tmp_path / "s")
    assert report.tuned.empty
    (note,) = report.notes
    assert note.startswith("learning rates are not tuned: one seed")


def test_an_output_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    directory = write_three(tmp_path / "s", seeds=1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written.*--output"):
        write_report(directory, tmp_path / "file")


def test_directories_start_from_the_folder_of_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_three(tmp_path / "a" / "s", seeds=1)
    write_three(tmp_path / "b", seeds=2)
    monkeypatch.chdir(tmp_path)
    for sweeps, output in ((["a/s"], "a/s"), (["a/s", "b"], "c/d")):
        write_report(sweeps, output)
        monkeypatch.chdir(tmp_path / "a")  # reading it from elsewhere
        table = pd.read_csv(tmp_path / output / "summary.csv")
        for run, directory in zip(table["run"], table["directory"], strict=True):
            assert not Path(directory).is_absolute()
            assert (tmp_path / output / directory / "status.json").is_file()
            assert Path(directory).name == run.rpartition("/")[2]
        monkeypatch.chdir(tmp_path)
