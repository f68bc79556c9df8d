"""The presets: each one is trained, tiny, from its command to its report; headers say the truth.

A preset is a file of `conf/experiment/`; a new one is tested without touching this file.
"""

from __future__ import annotations

import logging
import math
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_bench.claims.registry import CLAIMS
from lenet_bench.hydra_app.composer import Composer
from lenet_bench.records.loading import load_sweep
from tests.conftest import Lenet

ROOT = Path(__file__).resolve().parent.parent
PRESETS = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
TINY = (
    "dataset=fake", "dataset.images=150", "dataset.train_size=64", "batch_size=16", "iterations=4",
    "probe.images=16", "evaluate.every=4", "device=cpu", "hydra.launcher.workers=1",
)  # fmt: skip
MOST_JOBS = 36  # what is beyond them is thinned: composing takes most of the time

each_preset = pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)


def swept(preset: Path) -> dict[str, list[str]]:
    """The values of each key that a preset sweeps, as they would be typed."""
    params = yaml.safe_load(preset.read_text(encoding="utf-8"))["hydra"]["sweeper"]["params"]
    loader = Composer("config", []).loader
    values = {}
    for key, text in params.items():
        (override,) = OverridesParser.create(loader).parse_overrides([f"{key}={text}"])
        found = override.sweep_string_iterator() if override.is_sweep_override() else [text]
        values[key] = [str(value) for value in found]
    return values


def jobs(values: dict[str, list[str]]) -> int:
    """How many runs the product of these values is."""
    return math.prod(map(len, values.values()))


def thinned(values: dict[str, list[str]]) -> dict[str, list[str]]:
    """One seed; of the key with the most values every second, until the jobs are few enough."""
    values = values | {"seed": ["0"]}
    while jobs(values) > MOST_JOBS:
        longest = max(values, key=lambda key: len(values[key]))
        values[longest] = values[longest][::2]
    return values


@pytest.mark.slow
@each_preset
def test_a_preset_trains_from_its_command_to_its_report(
    preset: Path, lenet: Lenet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process; figures take longer than these runs, and are tested elsewhere."""
    monkeypatch.setattr("lenet_bench.reporting.report.draw_figures", lambda *_: {})
    everything = swept(preset)
    chosen = thinned(everything)
    fewer = [
        f"{key}={','.join(values)}" for key, values in chosen.items() if values != everything[key]
    ]
    done = lenet(f"experiment={preset.stem}", *TINY, *fewer)
    assert not done.code

    (folder,) = done.sweeps
    runs = load_sweep(folder).runs
    assert len(runs) == jobs(chosen)
    assert set(runs["status"]) <= {"finished", "diverged"}
    assert set(runs["preset"]) == {preset.stem}
    assert (folder / "report.html").is_file()

    decided = [claim.identifier for claim in CLAIMS.values() if claim.preset == preset.stem]
    assert (folder / "claims.csv").is_file() == bool(decided)
    if decided:
        claims = pd.read_csv(folder / "claims.csv")
        assert claims["claim"].to_list() == decided
        assert set(claims["verdict"]) == {"inconclusive"}, "one seed decides nothing"
        if chosen == everything | {"seed": ["0"]}:
            assert not claims["note"].str.contains("there is no run of").any()


@each_preset
def test_the_header_of_a_preset_holds_its_command_and_how_many_runs_it_is(preset: Path) -> None:
    package, command, *rest = preset.read_text(encoding="utf-8").splitlines()
    assert package == "# @package _global_"
    assert re.match(rf"# lenet-bench experiment={preset.stem}(\s|$)", command)
    header = rest[: next(n for n, line in enumerate(rest) if not line.startswith("#"))]
    pattern = re.compile(r"# ([\d,]+) runs(?: of each (\w+))?[:;] ")
    (stated,) = [found for line in header if (found := pattern.match(line))]
    values = swept(preset)
    # Where a whole group is swept, the header holds for any number of choices.
    text = preset.read_text(encoding="utf-8")
    assert (stated[2] is None) == ("glob(" not in text)
    if stated[2] is not None:
        assert f"      {stated[2]}: glob(*" in text
    multiple = 1 if stated[2] is None else len(values[stated[2]])
    assert int(stated[1].replace(",", "")) * multiple == jobs(values)


def test_every_claim_that_is_trained_has_a_preset_and_most_presets_a_claim() -> None:
    """A preset that decides no claim is named here, so that a dead one is noticed."""
    decide = {claim.preset for claim in CLAIMS.values()} - {"exact", "activation_cost"}
    presets = {preset.stem for preset in PRESETS}
    assert decide <= presets
    assert presets - decide == {"debug", "smoke"}


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Give the loggers that the preset `debug` sets up back as they were."""
    root, package = logging.getLogger(), logging.getLogger("lenet_bench")
    before = root.handlers[:], root.level, package.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    package.setLevel(before[2])


@pytest.mark.usefixtures("logging_restored")
def test_debug_shows_the_traceback_of_an_error_while_training(
    lenet: Lenet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the main process, where a debugger could follow; other presets give one line."""
    source = """
        import os, torch

        class Broken(torch.nn.Module):
            def forward(self, x):
                if x.requires_grad and x.dim() == 4:  # not yet when it is tried out
                    raise RuntimeError(f"broken in process {os.getpid()}")
                return x.sin()
    """
    (tmp_path / "broken_activation.py").write_text(textwrap.dedent(source), encoding="utf-8")
    broken = ("activation=custom", "activation.path=broken_activation:Broken", "dataset=fake")
    assert lenet(*broken, "device=cpu", "iterations=3", "hydra.launcher.workers=1").code == 1
    assert "Traceback" not in capsys.readouterr().err
    assert lenet("experiment=debug", *broken, "device=cpu").code == 1
    told = capsys.readouterr().err
    assert told.count("Traceback") == 1
    assert 'broken_activation.py", line 7, in forward' in told
    assert f"RuntimeError: broken in process {os.getpid()}" in told
