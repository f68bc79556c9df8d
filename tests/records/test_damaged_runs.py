"""Run directories that this program cannot have left: each is refused, and never read in part."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lenet_bench.analysis import load_sweep
from lenet_bench.common.errors import UserError
from lenet_bench.records.run_directory import has_ended, read_status
from tests.fabricate import descent, facts_of_files, make_older, write_run

Damage = Callable[[Path], object]

ROWS = 120


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that is to be damaged, beside one that is not."""
    write_run(tmp_path / "s", "good", descent(ROWS, 1), seed=1)
    return write_run(tmp_path / "s", "bad", descent(ROWS, 0))


def in_file(name: str, change: Callable[[bytes], bytes]) -> Damage:
    """Change what a file holds."""

    def damage(run: Path) -> object:
        path = run / name
        before = path.read_bytes()
        after = change(before)
        assert after != before
        return path.write_bytes(after)

    return damage


def put(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Replace what occurs first."""
    return lambda content: content.replace(old, new, 1)


def in_line(number: int, cell: int, text: bytes) -> Callable[[bytes], bytes]:
    """Replace a cell, counted from 0, of a line, counted from 1."""

    def change(content: bytes) -> bytes:
        lines = content.split(b"\n")
        cells = lines[number - 1].split(b",")
        cells[cell] = text
        lines[number - 1] = b",".join(cells)
        return b"\n".join(lines)

    return change


def without_lines(first: int, last: int) -> Callable[[bytes], bytes]:
    """Leave lines out, counted from 1."""
    return lambda content: b"".join(
        line
        for number, line in enumerate(content.splitlines(keepends=True), 1)
        if not first <= number <= last
    )


def zeroed(content: bytes) -> bytes:
    """What two writers, or a power cut, leave in the middle of a file."""
    middle = content.index(b"\n60,") + 1
    return content[:middle] + bytes(200) + content[middle + 200 :]


def again(number: int) -> Callable[[bytes], bytes]:
    """A line twice."""

    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join([*lines[:number], lines[number - 1], *lines[number:]])

    return change


def in_place_of(name: str, make: Callable[[Path], object]) -> Damage:
    """Something else where a file should be."""

    def damage(run: Path) -> object:
        (run / name).unlink()
        return make(run / name)

    return damage


def bind(path: Path) -> None:
    """Make a socket; its own path may be too long for it."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def make_hollow(path: Path) -> None:
    """Make a file of a tebibyte of nothing, which takes no space."""
    path.touch()
    os.truncate(path, 1 << 40)


def status(**values: Any) -> Damage:
    """Other values in `status.json`."""

    def damage(run: Path) -> object:
        path = run / "status.json"
        content = json.loads(path.read_bytes()) | values
        return path.write_text(json.dumps(content))

    return damage


def checksums(**changes: dict[str, object]) -> Damage:
    """What `status.json` says of the files, with changes."""

    def damage(run: Path) -> object:
        files = facts_of_files(run)
        for name, facts in changes.items():
            files[f"{name}.csv"] |= facts  # type: ignore[arg-type]
        return status(files=files)(run)

    return damage


def older(text: str) -> Damage:
    """A directory of an older version, with another configuration."""

    def damage(run: Path) -> object:
        make_older(run)
        return (run / ".hydra" / "config.yaml").write_text(text)

    return damage


def write(name: str, content: bytes) -> Damage:
    """Another content of a file."""
    return lambda run: (run / name).write_bytes(content)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

CASES: dict[str, tuple[Damage, str]] = {
    # train.csv
    "NULs": (in_file("train.csv", zeroed), "train.csv, line 61: holds NUL bytes"),
    "NULs at the end": (
        in_file("train.csv", lambda c: c + bytes(64)),
        "train.csv, line 122: holds NUL bytes",
    ),
    "gap": (
        in_file("train.csv", without_lines(51, 60)),
        "train.csv, line 51: iteration 60 after 49 is a gap",
    ),
    "no beginning": (
        in_file("train.csv", without_lines(2, 11)),
        "train.csv, line 2: iteration 11 at the beginning is a gap",
    ),
    "doubled": (
        in_file("train.csv", again(31)),
        "train.csv, line 32: iteration 30 after 30 is there again",
    ),
    "backward": (
        in_file("train.csv", in_line(31, 0, b"12")),
        "train.csv, line 31: iteration 12 after 29 goes back",
    ),
    "cut line": (
        in_file("train.csv", lambda c: c[:-9]),
        "train.csv, line 121: is cut off, and the run writes no more",
    ),
    "cut header": (write("train.csv", b"iteration,epo"), "train.csv: its header is cut off"),
    "too few rows": (
        in_file("train.csv", without_lines(54, 121)),
        "train.csv: holds 52 rows, and status.json says that 120 were written",
    ),
    "too many rows": (
        in_file("train.csv", lambda c: c + b"121,11,0.01,0.5,0.5,1.25\n"),
        "train.csv, line 122: is a row of iteration 121, where the run ended at 120",
    ),
    "no rows": (
        in_file("train.csv", lambda c: c.split(b"\n")[0] + b"\n"),
        "train.csv: holds 0 rows, and status.json says that 120 were written",
    ),
    "empty file": (write("train.csv", b""), "train.csv: is empty, without even a header"),
    "wrong column": (
        in_file("train.csv", put(b"grad_norm", b"norm")),
        "train.csv, line 1: lacks the column grad_norm",
    ),
    "column too many": (
        in_file("train.csv", lambda c: c.replace(b"\n", b",9\n").replace(b",9", b",=1+1", 1)),
        'train.csv, line 1: has the column "=1+1", which no run has',
    ),
    "column twice": (
        in_file("train.csv", lambda c: c.replace(b"\n", b",9\n").replace(b",9", b",loss", 1)),
        "train.csv, line 1: has a column twice",
    ),
    "cell too many": (
        in_file("train.csv", in_line(40, 5, b"1.25,7")),
        "train.csv, line 40: has 7 cells instead of 6",
    ),
    "cell too few": (
        in_file("train.csv", in_line(40, 5, b"")),
        "train.csv, line 40: has no grad_norm",
    ),
    "short line": (
        in_file("train.csv", put(b"\n60,", b"\n60\n60,")),
        "train.csv, line 61: has 1 cells instead of 6",
    ),
    "blank line": (
        in_file("train.csv", put(b"\n60,", b"\n\n60,")),
        "train.csv, line 61: has 0 cells instead of 6",
    ),
    "word for a number": (
        in_file("train.csv", in_line(8, 3, b"abc")),
        'train.csv, line 8: loss is "abc", which is no number',
    ),
    "formula": (
        in_file("train.csv", in_line(8, 3, b"=1+1")),
        'train.csv, line 8: loss is "=1+1", which is no number',
    ),
    "escapes": (
        in_file("train.csv", in_line(8, 3, b"\x1b[2J")),
        r'train.csv, line 8: loss is "\u001b[2J", which is no number',
    ),
    "half an iteration": (
        in_file("train.csv", in_line(8, 0, b"7.5")),
        'train.csv, line 8: iteration is "7.5", which is no whole number',
    ),
    "vast iteration": (
        in_file("train.csv", in_line(8, 0, b"9" * 30)),
        f'train.csv, line 8: iteration is "{"9" * 30}", which is no whole number',
    ),
    "not UTF-8": (
        in_file("train.csv", in_line(8, 3, b"\xff\xfe")),
        "train.csv, line 8: is not UTF-8 text",
    ),
    "quotes": (
        in_file("train.csv", in_line(8, 3, b'"0.5')),
        "train.csv, line 8: holds a quotation mark",
    ),
    "another program": (
        in_file("train.csv", lambda c: c.replace(b"\n", b"\r\n")),
        "train.csv, line 1: holds a carriage return",
    ),
    "accuracy above 1": (
        in_file("train.csv", in_line(8, 4, b"1.5")),
        "train.csv, line 8: accuracy 1.5 is outside 0 to 1",
    ),
    "accuracy of nothing": (
        in_file("train.csv", in_line(8, 4, b"nan")),
        "train.csv, line 8: accuracy nan is not finite",
    ),
    "negative loss": (
        in_file("train.csv", in_line(8, 3, b"-5")),
        "train.csv, line 8: loss -5 is negative",
    ),
    "negative rate": (
        in_file("train.csv", in_line(8, 2, b"-0.1")),
        "train.csv, line 8: lr -0.1 is negative",
    ),
    "loss that is not finite": (
        in_file("train.csv", in_line(8, 3, b"nan")),
        "train.csv, line 8: loss nan is not finite, and the run went on",
    ),
    "missing": (lambda run: (run / "train.csv").unlink(), "train.csv: is missing"),
    "directory": (in_place_of("train.csv", Path.mkdir), "train.csv: is a directory, not a file"),
    "FIFO": (in_place_of("train.csv", os.mkfifo), "train.csv: is a FIFO, not a file"),
    "device": (
        in_place_of("train.csv", lambda path: path.symlink_to("/dev/zero")),
        "train.csv: is a device, not a file",
    ),
    "socket": (in_place_of("train.csv", bind), "train.csv: is a socket, not a file"),
    "link to itself": (
        in_place_of("train.csv", lambda path: path.symlink_to(path)),
        "train.csv: Too many levels of symbolic links",
    ),
    "vast and hollow": (
        in_place_of("train.csv", make_hollow),
        "train.csv, line 1: holds NUL bytes",
    ),
    # evaluation.csv and layers.csv
    "unknown split": (
        in_file("evaluation.csv", put(b",validation,", b",vali,")),
        'evaluation.csv, line 3: split "vali" is no split',
    ),
    "evaluated twice": (
        in_file("evaluation.csv", again(3)),
        "evaluation.csv, line 4: split validation at iteration 0 is there again",
    ),
    "evaluated backward": (
        in_file("evaluation.csv", in_line(6, 0, b"20")),
        "evaluation.csv, line 6: iteration 20 after 50 goes back",
    ),
    "evaluated after the end": (
        in_file("evaluation.csv", put(b"\n120,9,test", b"\n121,9,test")),
        "evaluation.csv, line 8: iteration 121 is after the end of the run, 120",
    ),
    "not evaluated": (
        in_file("evaluation.csv", lambda c: c.split(b"\n")[0] + b"\n"),
        "evaluation.csv: holds no rows",
    ),
    "evaluation missing": (
        lambda run: (run / "evaluation.csv").unlink(),
        "evaluation.csv: is missing",
    ),
    "dead beyond all": (
        in_file("layers.csv", in_line(2, 3, b"1.01")),
        "layers.csv, line 2: dead_fraction 1.01 is outside 0 to 1",
    ),
    "unknown layer": (
        in_file("layers.csv", put(b",conv1,", b",conv9,")),
        'layers.csv, line 2: layer "conv9" is no layer',
    ),
    "garbage": (
        write("layers.csv", b"\x89PNG\n\x1a\n"),
        "layers.csv, line 1: is not UTF-8 text",
    ),
    # status.json
    "status gone": (lambda run: (run / "status.json").unlink(), "status.json: is missing"),
    "status not JSON": (write("status.json", b'{"status": "fin'), "is not JSON"),
    "status not an object": (write("status.json", b"[1, 2]"), "is [1, 2] instead of an object"),
    "status empty": (write("status.json", b""), "status.json, line 1: is not JSON"),
    "status too deep": (write("status.json", b"[" * 10**6), "is not JSON of a reasonable size"),
    "status nested": (
        write("status.json", b"[" * 30 + b"]" * 30),
        "is nested more than 20 levels deep",
    ),
    "status vast": (
        lambda run: os.truncate(run / "status.json", 1 << 40),
        "status.json: holds more than 16,777,216 bytes",
    ),
    "status not UTF-8": (
        in_file("status.json", put(b"finished", b"\xff")),
        "status.json: is not UTF-8 text from byte 13 on",
    ),
    "status with NaN": (
        in_file("status.json", put(b"12.5", b"NaN")),
        "status.json: holds NaN, which JSON does not have",
    ),
    "status a FIFO": (in_place_of("status.json", os.mkfifo), "is a FIFO, not a file"),
    "iteration as text": (
        status(iteration="120"),
        'status.json: iteration is "120"; it must be a whole number from 0',
    ),
    "iteration true": (status(iteration=True), "iteration is true; it must be a whole number"),
    "iteration beyond all": (
        status(iteration=10**400),
        "iteration is 1000",
    ),
    "iteration negative": (status(iteration=-1), "iteration is -1; it must be a whole number"),
    "metrics a list": (status(metrics=[1]), "metrics is [1]; it must be an object, or null"),
    "metric as text": (
        status(metrics={"test_accuracy": "best"}),
        'metrics.test_accuracy is "best"; it must be a number from 0 to 1, or null',
    ),
    "accuracy of 1000": (
        status(metrics={"test_accuracy": 1000}),
        "metrics.test_accuracy is 1000; it must be a number from 0 to 1",
    ),
    "unknown status": (
        status(status="won"),
        'status is "won"; it must be one of running, finished, diverged, interrupted, failed',
    ),
    "status a list": (status(status=["finished"]), 'status is ["finished"]; it must be one of'),
    "seconds endless": (
        in_file("status.json", put(b"12.5", b"1e999")),
        "seconds is Infinity; it must be a number from 0, or null",
    ),
    "error a number": (status(error=5), "error is 5; it must be text, or null"),
    "dataset a number": (status(dataset=5), "dataset is 5; it must be an object, or null"),
    "classes negative": (
        status(dataset={"classes": -2}),
        "dataset.classes is -2; it must be a whole number, or names, or null",
    ),
    # what status.json says of the files
    "checksum": (
        checksums(train={"sha256": "0" * 64}),
        "train.csv: has another checksum than at the end of the run",
    ),
    "bytes": (checksums(layers={"bytes": 7}), "bytes instead of 7"),
    "rows": (checksums(evaluation={"rows": 99}), "evaluation.csv: has 7 rows instead of 99"),
    "value changed afterwards": (
        lambda run: (checksums()(run), in_file("train.csv", in_line(8, 3, b"0.001"))(run)),
        "train.csv: has",
    ),
    # the configuration
    "configuration of another run": (
        lambda run: (
            checksums()(run),
            in_file("config.json", put(b'"lr": 0.01', b'"lr": 0.02'))(run),
        ),
        "config.json: has another checksum than at the end of the run",
    ),
    "configuration cut": (
        write("config.json", b'{"config": {"activation"'),
        "config.json, line 1: is not JSON",
    ),
    "configuration of nothing": (write("config.json", b"[1]"), "names no activation"),
    "activation a list": (
        in_file("config.json", put(b'{"name": "relu"}', b'{"name": ["relu"]}')),
        'activation is {"name": ["relu"]}; it must have a name',
    ),
    "rate as text": (
        in_file("config.json", put(b'"lr": 0.01', b'"lr": "=1+1"')),
        'config.json: lr is "=1+1"; it must be a number',
    ),
    "preset a number": (
        in_file("config.json", put(b'"preset": null', b'"preset": 7')),
        "preset is 7; it must be text, or null",
    ),
    "no configuration": (
        lambda run: (run / "config.json").unlink(),
        "holds neither config.json nor .hydra",
    ),
    "Python in YAML": (
        older('activation: !!python/object/apply:os.system ["touch owned"]\n'),
        "config.yaml, line 1: is not plain YAML (could not determine a constructor for the tag",
    ),
    "YAML bomb": (older(BOMB + "activation: relu\n"), "holds more than 100,000 values"),
    "YAML in itself": (
        older("activation: &a {name: relu, a: *a}\n"),
        "is nested more than 20 levels deep",
    ),
    "YAML cut": (older("activation: {name: ["), "is not plain YAML"),
    "YAML date": (
        older("activation: relu\nlr: 2001-01-01\n"),
        "config.yaml: holds a value of the type date",
    ),
    "YAML key": (older("activation: relu\n1: 2\n"), "config.yaml: has a key that is no text"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_run_is_refused_by_name_and_the_others_are_read(
    run: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    damage, words = CASES[case]
    damage(run)
    with pytest.raises(UserError) as refused:
        load_sweep(run.parent)
    message = str(refused.value)
    assert words in message
    assert message.startswith(str(run))
    assert message.endswith(
        "1 of 2 runs cannot be used: train it again with the same command, or remove its directory"
    )
    assert message.isprintable()
    sweep = load_sweep(run.parent, damaged="leave out")
    assert list(sweep.runs["run"]) == ["good"]
    assert len(sweep.train) == ROWS
    assert len(sweep.damaged) == 1
    assert words in sweep.damaged[0]
    assert not (run.parent / "owned").exists()


@pytest.mark.parametrize("case", [name for name, (_, words) in CASES.items() if "status" in words])
def test_a_status_that_cannot_be_believed_is_no_status(run: Path, case: str) -> None:
    """So that the run is trained again, whatever its status says."""
    CASES[case][0](run)
    assert read_status(run) == {} or not has_ended(run)


def test_what_is_no_damage(tmp_path: Path) -> None:
    """What a run that trains, was killed, diverged or records less leaves is read."""
    sweep = tmp_path / "s"
    training = write_run(sweep, "training", descent(60, 0), status="running")
    in_file("train.csv", lambda c: c[:-9])(training)
    in_file("layers.csv", lambda c: c[:-3])(training)
    status(iteration=0)(training)
    killed = write_run(sweep, "killed", descent(60, 1), status="interrupted", seed=1)
    in_file("train.csv", lambda c: c + b"61,6,0.0")(killed)
    status(iteration=50)(killed)
    diverged = np.append(descent(39, 2), np.nan)
    write_run(sweep, "diverged", diverged, status="diverged", seed=2)
    written = write_run(sweep, "checked", descent(60, 3), seed=3)
    checksums()(written)
    only = write_run(
        *(sweep, "only", descent(60, 4)), seed=4, probe={"every": 0}, evaluate={"every": 0}
    )
    (only / "layers.csv").unlink()
    (only / "evaluation.csv").unlink()
    floats = write_run(sweep, "floats", descent(60, 5), seed=5)
    in_file("train.csv", put(b"\n30,", b"\n30.0,"))(floats)
    rows = load_sweep(sweep).train["run"].value_counts().to_dict()
    assert rows == {
        **{"training": 59, "killed": 60, "diverged": 40, "checked": 60, "only": 60, "floats": 60},
    }


def test_a_run_of_an_interruption_holds_what_its_status_says(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s", "a", descent(60, 0), status="interrupted")
    in_file("train.csv", without_lines(41, 61))(run)
    with pytest.raises(UserError, match=r"holds 39 rows, and status\.json says that 60"):
        load_sweep(run)


def test_a_directory_that_was_only_prepared_is_no_damage(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / "status.json").unlink()
    (run / "train.csv").unlink()
    (run / "layers.csv").unlink()
    assert list(load_sweep(run.parent).runs["run"]) == ["good"]
    assert caplog.messages == [f"{run}: has no status.json; the run is left out"]


def test_many_damaged_runs_are_counted(tmp_path: Path) -> None:
    for seed in range(8):
        path = write_run(tmp_path / "s", f"r{seed}", descent(30, seed), seed=seed)
        in_file("train.csv", zeroed_early)(path)
    with pytest.raises(UserError, match=re.escape("; and 3 more. 8 of 8 runs cannot be used")):
        load_sweep(tmp_path / "s", damaged="leave out")


def zeroed_early(content: bytes) -> bytes:
    """A row of NULs."""
    return content.replace(b"\n9,", b"\n\0\0", 1)


@pytest.mark.parametrize("loss", [7.789317595480939e30, 1.7976931348623157e308])
def test_the_loss_of_a_run_that_exploded_is_believed(run: Path, loss: float) -> None:
    """It is finite, so the run finished; nothing of it must be left out."""
    status(metrics=read_status(run)["metrics"] | {"train_loss": loss})(run)
    assert read_status(run)["metrics"]["train_loss"] == loss
    assert has_ended(run)
    assert len(load_sweep(run.parent).runs) == 2
