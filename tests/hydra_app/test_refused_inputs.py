"""Hostile and broken inputs: each row of the tables of `docs/faults.md` is tried.

In: the rows, an input and what comes back. Out: that just this comes back, from the command line,
a preset, a folder of images, an archive, a checkpoint or a run directory.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenet_bench.analysis import load_sweep
from lenet_bench.common.errors import UserError
from lenet_bench.datasets import DatasetError, load
from lenet_bench.datasets.unpacking import unpack
from lenet_bench.records.checkpoint import DamagedCheckpointError, read_checkpoint
from tests.fabricate import descent, write_run
from tests.hydra_app.conftest import Command, lying_in

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
HEADING = "## Inputs that are refused"
HEAD = "# @package _global_\n"

Change = Callable[[Path], object]


def change(name: str, old: bytes, new: bytes) -> Change:
    """Replace what occurs first in a file."""

    def act(folder: Path) -> None:
        content = (folder / name).read_bytes()
        assert old in content
        (folder / name).write_bytes(content.replace(old, new, 1))

    return act


def instead(name: str, content: bytes) -> Change:
    """Another content of a file, or a file more."""
    return lambda folder: (folder / name).write_bytes(content)


def without(name: str) -> Change:
    """Remove a file or a folder."""

    def act(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def pipe(name: str) -> Change:
    """A named pipe in place of a file."""

    def act(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return act


def both(*changes: Change) -> Change:
    """One after the other."""
    return lambda folder: [act(folder) for act in changes]


PRESETS: Mapping[str, bytes] = {
    "a value out of range": f"{HEAD}lr: -1\n".encode(),
    "a key twice": f"{HEAD}lr: 0.1\nlr: 0.2\n".encode(),
    "a list that is not closed": f"{HEAD}lr: [0.1\na: {{".encode(),
    "bytes that are no text": HEAD.encode() + b"\xff\xfe\x00",
    "a Python object": f"{HEAD}lr: !!python/object/apply:os.system [ls]\n".encode(),
    "code in the launcher": f"{HEAD}hydra: {{launcher: {{_target_: os.system}}}}\n".encode(),
    "no package": b"lr: 0.1\n",
    "more than a megabyte": HEAD.encode() + b"#" * 1_000_001,
}

FOLDERS: Mapping[str, Change] = {
    "a named pipe among the images": pipe("train/cat/z.png"),
    "a link that leads nowhere": lambda root: (root / "train/cat/z.png").symlink_to("gone.png"),
    "a link to its own folder": lambda root: (root / "train/cat/z").symlink_to("."),
    "a class without images": lambda root: (root / "train/eel").mkdir(),
    "one class only": without("train/dog"),
    "no `train`": without("train"),
    "a class that `train` lacks": both(
        lambda root: (root / "test/eel").mkdir(parents=True),
        instead("test/eel/0.png", b""),
        lambda root: shutil.copytree(root / "train/cat", root / "test/cat"),
        lambda root: shutil.copytree(root / "train/dog", root / "test/dog"),
    ),
    "`val` and `valid`": both(
        lambda root: shutil.copytree(root / "train", root / "val"),
        lambda root: shutil.copytree(root / "train", root / "valid"),
    ),
    "an empty file": instead("train/dog/3.png", b""),
    "text named as an image": instead("train/dog/3.png", b"a cat, in words"),
    "PostScript named as an image": instead("train/dog/3.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    "half an image": lambda root: os.truncate(root / "train/dog/3.png", 400),
    "a TIFF of integers of 32 bits": lambda root: Image.fromarray(
        np.arange(256, dtype=np.int32).reshape(16, 16) * 1000
    ).save(root / "train/dog/3.png", "TIFF"),
    "a TIFF with values above 1": lambda root: Image.fromarray(
        np.linspace(0, 255, 256, dtype=np.float32).reshape(16, 16)
    ).save(root / "train/dog/3.png", "TIFF"),
}

ARCHIVES: Mapping[str, tuple[str, bytes, str]] = {
    "a file above the folder": ("../outside", tarfile.REGTYPE, ""),
    "a file below another folder": ("a/../../outside", tarfile.REGTYPE, ""),
    "a file at an absolute path": ("/etc/outside", tarfile.REGTYPE, ""),
    "a file on a drive": ("C:\\outside", tarfile.REGTYPE, ""),
    "a symbolic link": ("link", tarfile.SYMTYPE, "/etc"),
    "a hard link": ("hard", tarfile.LNKTYPE, "/etc/passwd"),
    "a named pipe": ("pipe", tarfile.FIFOTYPE, ""),
    "a device": ("zero", tarfile.CHRTYPE, ""),
    "a name that would colour the terminal": ("\x1b[31m", tarfile.SYMTYPE, "x"),
}

CHECKPOINTS: Mapping[str, Change] = {
    "an empty file": instead("stack-0.ckpt", b""),
    "another version": instead("stack-0.ckpt", b"lenet-bench checkpoint 2\n"),
    "a checksum that is not right": instead("stack-0.ckpt", b"lenet-bench checkpoint 1\n\n{}"),
    "a folder": lambda folder: (folder / "stack-0.ckpt").mkdir(),
    "a named pipe": pipe("stack-0.ckpt"),
}

RUNS: Mapping[str, Change] = {
    "`train.csv` with NULs at its end": lambda run: os.truncate(
        run / "train.csv", (run / "train.csv").stat().st_size + 64
    ),
    "`train.csv` that lacks iterations": change("train.csv", b"\n60,", b"\n61,"),
    "`train.csv` with an iteration twice": change("train.csv", b"\n60,", b"\n59,"),
    "`train.csv` with half a last line": lambda run: os.truncate(
        run / "train.csv", (run / "train.csv").stat().st_size - 9
    ),
    "`train.csv` with a blank line": change("train.csv", b"\n60,", b"\n\n60,"),
    "`train.csv` with a formula as its column": change("train.csv", b"grad_norm", b"=1+1"),
    "`train.csv` with line ends of another system": change("train.csv", b"\n", b"\r\n"),
    "`train.csv` with bytes that are no text": change("train.csv", b"\n60,", b"\n\xff60,"),
    "an empty `train.csv`": instead("train.csv", b""),
    "no `train.csv`": without("train.csv"),
    "a named pipe as `train.csv`": pipe("train.csv"),
    "an unknown split": change("evaluation.csv", b",validation,", b",vali,"),
    "an unknown layer": change("layers.csv", b",conv1,", b",conv9,"),
    "an image as `layers.csv`": instead("layers.csv", b"\x89PNG\n\x1a\n"),
    "an empty `status.json`": instead("status.json", b""),
    "half a `status.json`": instead("status.json", b'{"status": "fin'),
    "a million brackets as `status.json`": instead("status.json", b"[" * 10**6),
    "`status.json` with NaN": change("status.json", b"12.5", b"NaN"),
    "an unknown status": change("status.json", b'"finished"', b'"won"'),
    "a configuration that names nothing": instead("config.json", b"[1]"),
    "a formula as the rate": change("config.json", b'"lr": 0.01', b'"lr": "=1+1"'),
    "no configuration": without("config.json"),
}


def of_command(arguments: str, folder: Path, command: Command) -> str:
    earlier = folder / "runs" / "earlier"  # where it would write
    write_run(earlier, "one", descent(30, 0), seed=0)
    for name in ("plan.json", "sweep.json", "summary.csv", "report.html"):
        (earlier / name).write_text(name)
    answer = command.within(folder, *shlex.split(arguments), "hydra.sweep.dir=runs/earlier")
    answer.is_refusal()
    (problem,) = answer.problems
    return problem


def of_preset(name: str, folder: Path, command: Command) -> str:
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_bytes(PRESETS[name])
    answer = command("--config-dir", str(folder), "experiment=mine")
    answer.is_refusal()
    (problem,) = answer.problems
    return problem


def of_folder(name: str, folder: Path, _: Command) -> str:
    for number, label in enumerate(("cat", "dog")):
        (folder / "train" / label).mkdir(parents=True)
        noise = np.random.default_rng(number).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
        for index, pixels in enumerate(noise):
            Image.fromarray(pixels).save(folder / "train" / label / f"{index}.png")
    FOLDERS[name](folder)
    before = lying_in(folder)
    with pytest.raises(DatasetError) as refused:
        load(name="image_folder", root=folder, size=16, validation_size=4, split_seed=0)
    assert lying_in(folder) == before
    return str(refused.value)


def of_archive(name: str, folder: Path, _: Command) -> str:
    member = tarfile.TarInfo(ARCHIVES[name][0])
    member.type, member.linkname = ARCHIVES[name][1:]
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        archive.addfile(member, io.BytesIO())
    before = lying_in(folder)
    with pytest.raises(DatasetError) as refused:
        unpack(folder / "a.tar.gz", folder)
    assert lying_in(folder) == before
    return str(refused.value)


def of_checkpoint(name: str, folder: Path, _: Command) -> str:
    CHECKPOINTS[name](folder)
    before = lying_in(folder)
    with pytest.raises(DamagedCheckpointError) as refused:
        read_checkpoint(folder / "stack-0.ckpt")
    assert lying_in(folder) == before
    return str(refused.value)


def of_run(name: str, folder: Path, _: Command) -> str:
    write_run(folder, "good", descent(120, 1), seed=1)
    RUNS[name](write_run(folder, "bad", descent(120, 0)))
    before = lying_in(folder)
    with pytest.raises(UserError) as refused:
        load_sweep(folder)
    assert lying_in(folder) == before
    # The rest is the same for each: train it again, or remove it.
    return str(refused.value).partition(". 1 of 2 runs")[0]


KINDS: Mapping[str, tuple[Callable[[str, Path, Command], str], Mapping[str, object]]] = {
    "Command lines": (of_command, {}),
    "Presets": (of_preset, PRESETS),
    "Image folders": (of_folder, FOLDERS),
    "Archives": (of_archive, ARCHIVES),
    "Checkpoints": (of_checkpoint, CHECKPOINTS),
    "Run directories": (of_run, RUNS),
}


def rows() -> list[tuple[str, str, str]]:
    """Kind, input and answer of each row of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]
    found = []
    for kind, table in re.findall(r"^\*\*(.+?)\*\*.*?\n\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            given, answer = (cell.strip() for cell in line.strip("| ").split(" | "))
            found.append((kind, given, answer.strip("`")))
    return found


@pytest.mark.parametrize(("kind", "given", "answer"), rows())
def test_what_is_refused_is_answered_as_the_page_says(
    kind: str,
    given: str,
    answer: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An ellipsis stands for what depends on the machine, or is long; `DIR` for the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    folder.mkdir()
    ask, _ = KINDS[kind]
    said = ask(given.strip("`") if kind == "Command lines" else given, folder, command)
    assert said.isprintable()
    assert len(answer.replace("…", "")) > 20
    pattern = ".+".join(map(re.escape, answer.split("…")))
    assert re.fullmatch(pattern, said.replace(str(folder), "DIR")), said


def test_the_page_holds_all_of_them() -> None:
    """At least sixty, none twice, and none that is not there any more."""
    told = [(kind, given) for kind, given, _ in rows()]
    assert len(told) == len(set(told)) >= 60
    assert {kind for kind, _ in told} == set(KINDS)
    for kind, (_, cases) in KINDS.items():
        if cases:
            assert {given for of, given in told if of == kind} == set(cases)
