"""A stack that was stopped and goes on ends with the same bytes as one that was left alone."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lenet_bench.config.schema import RunConfig
from lenet_bench.model.stack import Stack
from lenet_bench.records.checkpoint import CheckpointFile, StoredState, read_checkpoint
from lenet_bench.records.run_directory import Run, read_status
from lenet_bench.training.loop import train_stack
from lenet_bench.training.recording import Outcome
from tests.conftest import Configure, load
from tests.faults import watch_syncs

FILES = ("train.csv", "evaluation.csv", "layers.csv", "weights.pt")

# 60 images make 7 batches of 8: an epoch ends at 7, 14, 21, ...; a block at 50.
SMALL = (
    "dataset.train_size=60", "dataset.validation_size=30", "batch_size=8", "iterations=54",
    "evaluate.every=9", "probe.every=6", "probe.images=16", "model.channels=[2,4]",
    "model.hidden=[9]",
)  # fmt: skip
OWN = ("activation=custom", "activation.path=tests.training.test_resume:Remembering")


class Remembering(nn.Module):
    """An activation with everything that a module can remember, and noise."""

    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1))
        self.register_buffer("largest", torch.zeros(()))
        self.smallest = torch.zeros(())
        self.calls = 0
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        """Leaky ReLU of a slope that depends on what was seen in earlier steps."""
        factor = self.slope * (1 + 0.1 * self.largest - 0.01 * self.smallest) / (1 + self.calls)
        if self.training:
            self.calls += 1
            self.largest = torch.maximum(self.largest, x.detach().max().to(self.largest.dtype))
            self.smallest = torch.minimum(self.smallest, x.detach().min().float())
            own = torch.empty(x.shape).uniform_(generator=self.generator)
            x = x + 0.01 * torch.randn_like(x) + 0.01 * own.to(x.dtype)
        return torch.where(x > 0, x, factor.to(x.dtype) * x)


def runs_of(configs: Sequence[RunConfig], folder: Path) -> list[Run]:
    """A run directory for each."""
    return [Run(config, folder / str(number)) for number, config in enumerate(configs)]


def whole(configs: Sequence[RunConfig], folder: Path) -> dict[str, bytes]:
    """Train undisturbed; what is in the files then."""
    train_stack(runs_of(configs, folder), load(configs[0]))
    return content(configs, folder)


def content(configs: Sequence[RunConfig], folder: Path) -> dict[str, bytes]:
    """The bytes of all files that must not depend on interruptions."""
    return {
        f"{number}/{name}": (folder / str(number) / name).read_bytes()
        for number in range(len(configs))
        for name in FILES
        if (folder / str(number) / name).exists()
    }


def stopping_at(*iterations: int, first: int = 0) -> Callable[[], bool]:
    """Say yes when this iteration has been made; asked once before each of the others."""
    asked = iter(range(first, 10**9))
    return lambda: next(asked) in iterations


def train_with_stops(
    configs: Sequence[RunConfig], folder: Path, stops: Sequence[int], **options: Any
) -> list[Outcome]:
    """Train, stop behind each of these iterations, and go on in a new setup."""
    runs, checkpoint = runs_of(configs, folder), folder / "checkpoints" / "stack-0.ckpt"
    before = 0
    for stop in stops:
        seen: list[int] = []
        train_stack(
            runs,
            load(configs[0]),
            checkpoint=checkpoint,
            stopped=stopping_at(stop, first=before),
            progress=seen.append,
            **options,
        )
        assert seen[0] == before * len(runs)
        assert seen == sorted(seen)
        before = stop
        assert checkpoint.exists()
    outcomes = train_stack(runs, load(configs[0]), checkpoint=checkpoint, **options)
    assert not checkpoint.parent.exists()
    return outcomes


# Untrained; in an epoch, on its end, beside a probe, an evaluation and a block, before the last.
STOPS = (0, 5, 6, 7, 9, 10, 49, 50, 51, 53)

KINDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "activations": (
        ("activation=rrelu",), ("activation=rrelu", "seed=1"), ("activation=prelu",),
        ("activation=swish", "seed=1"), ("activation=relu", "lr=0.2"),
    ),
    "optimizers": (
        ("optimizer=adam", "lr=0.001"), ("optimizer=adamw", "lr=0.001", "weight_decay=0.1"),
        ("optimizer=rmsprop", "lr=0.0005", "optimizer.momentum=0.5", "optimizer.centered=true"),
        ("optimizer=adagrad",), ("optimizer=sgd", "optimizer.momentum=0"),
        ("optimizer=sgd", "optimizer.nesterov=true", "schedule=cosine", "schedule.warmup=5"),
        ("schedule=step", "schedule.every=9", "seed=2"),
    ),
    "norm before": (("activation=prelu", "model.batch_norm=before"), ("model.batch_norm=before",)),
    "norm after": (("activation=rrelu", "model.batch_norm=after"), ("model.batch_norm=after",)),
    "float64": (("precision=float64", "activation=prelu"), ("precision=float64",)),
    "bfloat16": (("precision=bfloat16", "activation=prelu"), ("precision=bfloat16",)),
    "own": (OWN, (*OWN, "seed=1")),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_state_is_gone_on_from(
    configure: Configure, tmp_path: Path, kind: str
) -> None:
    configs = [configure(*SMALL, *overrides) for overrides in KINDS[kind]]
    torch.manual_seed(7)  # what came before in the process decides nothing
    undisturbed = whole(configs, tmp_path / "whole")
    torch.manual_seed(8)
    (tmp_path / "parts").mkdir()
    outcomes = train_with_stops(configs, tmp_path / "parts", STOPS)
    assert {outcome.status for outcome in outcomes} == {"finished"}
    assert len(undisturbed) == len(FILES) * len(configs)
    assert content(configs, tmp_path / "parts") == undisturbed
    for number, outcome in enumerate(outcomes):
        there = read_status(tmp_path / "whole" / str(number))
        here = read_status(outcome.directory)
        assert there["metrics"] == here["metrics"] == outcome.metrics
        assert there["files"] == here["files"]


def test_a_divergence_before_or_behind_a_stop_changes_nothing(
    configure: Configure, tmp_path: Path
) -> None:
    calm = configure(*SMALL)
    wild = configure(*SMALL, "activation=identity", "lr=1000", "seed=1")
    configs = [calm, wild, configure(*SMALL, "activation=rrelu")]
    undisturbed = whole(configs, tmp_path / "whole")
    last = read_status(tmp_path / "whole" / "1")["iteration"]
    assert read_status(tmp_path / "whole" / "1")["status"] == "diverged"
    assert 1 < last < 50
    (tmp_path / "parts").mkdir()
    outcomes = train_with_stops(configs, tmp_path / "parts", (last - 1, last, last + 1, 50))
    assert content(configs, tmp_path / "parts") == undisturbed
    # It ended in an attempt before the last, which reports of the others.
    assert [outcome.directory.name for outcome in outcomes] == ["0", "2"]


def test_runs_that_have_ended_are_computed_and_left_alone(
    configure: Configure, tmp_path: Path
) -> None:
    configs = [configure(*SMALL, f"seed={seed}") for seed in range(3)]
    undisturbed = whole(configs, tmp_path)
    (tmp_path / "1" / "train.csv").write_bytes(undisturbed["1/train.csv"][:-3])
    untouched = [tmp_path / run / name for run in "02" for name in (*FILES, "status.json")]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in untouched]
    outcomes = train_stack(runs_of(configs, tmp_path), load(configs[0]))
    assert [outcome.directory.name for outcome in outcomes] == ["1"]
    assert content(configs, tmp_path) == undisturbed
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in untouched] == before
    assert train_stack(runs_of(configs, tmp_path), load(configs[0])) == []
    again = train_stack(runs_of(configs, tmp_path), load(configs[0]), anew=True)
    assert [outcome.status for outcome in again] == ["finished"] * 3


@pytest.mark.parametrize("own", [False, True])
def test_a_checkpoint_outlasts_an_error_but_for_that_of_a_users_module(
    configure: Configure, tmp_path: Path, *, own: bool
) -> None:
    """A mended module is to be trained from the beginning; another run goes on."""
    config = configure(*SMALL, *(OWN if own else ()))
    (run,), checkpoint = runs_of([config], tmp_path), tmp_path / "checkpoints" / "stack-0.ckpt"
    train_stack([run], load(config), checkpoint=checkpoint, stopped=stopping_at(9))

    def fail(iterations: int) -> None:
        if iterations > 9:
            raise ZeroDivisionError

    (outcome,) = train_stack([run], load(config), checkpoint=checkpoint, progress=fail)
    assert outcome.status == "failed"
    assert checkpoint.exists() != own


def test_the_halves_of_a_stack_go_on_as_halves(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU whose memory holds two runs, in both attempts."""
    configs = [configure(*SMALL, f"seed={seed}") for seed in range(4)]
    undisturbed: dict[str, bytes] = {}
    for number in (0, 2):
        found = whole(configs[number : number + 2], tmp_path / f"whole{number}")
        undisturbed |= {f"{int(key[0]) + number}{key[1:]}": found[key] for key in found}
    tried: list[int] = []
    forward = Stack.forward

    def limited(stack: Stack, *arguments: Any, **options: Any) -> Tensor:
        tried.append(stack.runs)
        if stack.runs > 2:
            raise torch.OutOfMemoryError("no room for more than two")
        return forward(stack, *arguments, **options)

    monkeypatch.setattr(Stack, "forward", limited)
    folder, checkpoint = tmp_path / "parts", tmp_path / "parts" / "c" / "stack-3.ckpt"
    folder.mkdir()
    runs, data = runs_of(configs, folder), load(configs[0])
    asked = iter(range(10**6))
    train_stack(runs, data, checkpoint=checkpoint, stopped=lambda: next(asked) >= 70)
    assert list(dict.fromkeys(tried)) == [4, 2]
    # The first half had ended; the second was stopped.
    assert [path.name for path in checkpoint.parent.iterdir()] == ["stack-3.1.ckpt"]
    tried.clear()
    seen: list[int] = []
    train_stack(runs, data, checkpoint=checkpoint, progress=seen.append)
    assert set(tried) == {2}
    assert seen == sorted(seen)
    assert seen[-1] == 4 * 54
    assert content(configs, folder) == undisturbed
    assert not checkpoint.parent.exists()


# --- damage ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stopped:
    """A stack of two runs that was stopped at iteration 10 and then at 20."""

    configs: Sequence[RunConfig]
    folder: Path
    undisturbed: dict[str, bytes]

    @property
    def checkpoint(self) -> Path:
        """The newest; the one before is of iteration 10."""
        return self.folder / "checkpoints" / "stack-0.ckpt"


@pytest.fixture(scope="module")
def stopped_once(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """Trained once for all tests; never changed."""
    folder = tmp_path_factory.mktemp("stopped")
    configs = [configure(*SMALL), configure(*SMALL, "activation=prelu", "seed=1")]
    stack = Stopped(configs, folder / "parts", whole(configs, folder / "whole"))
    stack.folder.mkdir()
    runs = runs_of(configs, stack.folder)
    for before, stop in ((0, 10), (10, 20)):
        stopped = stopping_at(stop, first=before)
        train_stack(runs, load(configs[0]), checkpoint=stack.checkpoint, stopped=stopped)
    return stack


@pytest.fixture
def stopped(stopped_once: Stopped, tmp_path: Path) -> Stopped:
    """A copy to damage."""
    shutil.copytree(stopped_once.folder, tmp_path / "copy")
    return replace(stopped_once, folder=tmp_path / "copy")


def go_on(configs: Sequence[RunConfig], folder: Path) -> int:
    """Train to the end; where it went on."""
    seen: list[int] = []
    runs, checkpoint = runs_of(configs, folder), folder / "checkpoints" / "stack-0.ckpt"
    outcomes = train_stack(runs, load(configs[0]), checkpoint=checkpoint, progress=seen.append)
    assert {outcome.status for outcome in outcomes} == {"finished"}
    return seen[0] // len(runs)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1000),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello\n" * 100),
}


def reason_for_the_one_before(stopped: Stopped, capsys: pytest.CaptureFixture[str]) -> str:
    """Go on from the checkpoint before; return why the newest is not used, as the line says it."""
    assert go_on(stopped.configs, stopped.folder) == 10
    (line,) = capsys.readouterr().err.splitlines()
    before, _, reason = line.partition(f"{stopped.checkpoint}: ")
    assert before == ""
    assert line.endswith("; it is not used.")
    assert content(stopped.configs, stopped.folder) == stopped.undisturbed
    return reason.removesuffix("; it is not used.")


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    stopped: Stopped, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGE[kind](stopped.checkpoint)
    assert reason_for_the_one_before(stopped, capsys).startswith("is ")


def test_a_kill_between_two_renames_leaves_the_one_before(
    stopped: Stopped, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped.checkpoint.unlink()
    assert go_on(stopped.configs, stopped.folder) == 10
    assert capsys.readouterr().err == ""
    assert content(stopped.configs, stopped.folder) == stopped.undisturbed


def test_without_a_usable_checkpoint_training_begins_anew(
    stopped: Stopped, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(stopped.checkpoint)
    flip(stopped.checkpoint.with_name("stack-0.previous.ckpt"))
    assert go_on(stopped.configs, stopped.folder) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in lines[:2]] == [
        "its checksum differs; it is not used."
    ] * 2
    assert lines[2:] == ["The stack is trained from the beginning."]
    assert content(stopped.configs, stopped.folder) == stopped.undisturbed


def forged(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], object]) -> None:
    """Change what a checkpoint holds, with its checksum."""
    state = read_checkpoint(path)
    facts, tensors = dict(state.facts), dict(state.tensors)
    change(facts, tensors)
    CheckpointFile(path).write(StoredState(facts, tensors), sync=False)


FORGED: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], object]] = {
    "no recording": lambda facts, _: facts.pop("recording"),
    "no runs": lambda facts, _: facts["recording"].update(runs=[]),
    "iteration as text": lambda facts, _: facts["recording"].update(iteration="20"),
    "too far": lambda facts, _: facts["recording"].update(iteration=1000),
    "no mark of a table": lambda facts, _: facts["recording"]["runs"][0]["records"].update(
        tables={}
    ),
    "more bytes than there are": lambda facts, _: facts["recording"]["runs"][1]["records"][
        "tables"
    ].update(train=[20, 2**62, "0"]),
    "a tensor less": lambda _, tensors: tensors.pop("stack.parameters"),
    "another shape": lambda _, tensors: tensors.update({"stack.parameters": torch.zeros(3)}),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_checkpoint_falls_back_to_the_one_before(
    stopped: Stopped, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checksum is right; what it holds is not."""
    forged(stopped.checkpoint, FORGED[kind])
    assert reason_for_the_one_before(stopped, capsys)


def test_what_is_gone_on_from_is_on_the_disk(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut would find neither it nor the one before: a killed process synced neither."""
    configs = [configure(*SMALL, "checkpoint.every=10", f"seed={seed}") for seed in (0, 1)]
    runs, checkpoint = runs_of(configs, tmp_path), tmp_path / "checkpoints" / "stack-0.ckpt"

    def broken_off(iteration: int) -> Callable[[], bool]:
        asked = iter(range(10**9))

        def stopped() -> bool:
            if next(asked) == iteration:
                raise OSError("broken off")
            return False

        return stopped

    synced = watch_syncs(monkeypatch)
    for iteration in (20, 0):
        synced.clear()
        train_stack(runs, load(configs[0]), checkpoint=checkpoint, stopped=broken_off(iteration))
    needed = [checkpoint, *(run.directory / name for run in runs for name in FILES[:3])]
    assert {path.read_bytes() for path in needed} <= synced
    assert go_on(configs, tmp_path) > 0


def test_the_checkpoint_of_another_stack_is_not_used(
    stopped: Stopped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = [stopped.configs[0], stopped.configs[1].model_copy(update={"lr": 0.02})]
    shutil.copytree(stopped.checkpoint.parent, tmp_path / "checkpoints")
    assert go_on(configs, tmp_path) == 0
    assert "is of other runs, other data or another device" in capsys.readouterr().err


ROWS: dict[str, tuple[Callable[[Path], object], int]] = {
    "torn": (lambda path: path.open("ab").write(b"21,3,0.01,2.2"), 20),
    "behind": (lambda path: path.open("ab").write(b"21,3,0.01,2.2,0.5,1.0\n\0\0\0"), 20),
    "lost": (lambda path: os.truncate(path, path.stat().st_size - 200), 10),
    "changed": (lambda path: path.write_bytes(path.read_bytes().replace(b"\n3,", b"\n4,")), 0),
    "gone": (lambda path: path.unlink(), 0),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_are_as_they_were_at_the_checkpoint(stopped: Stopped, kind: str) -> None:
    """What was written behind it is cut off; without the rows before it, it is of no use."""
    damage, place = ROWS[kind]
    damage(stopped.folder / "1" / "train.csv")
    assert go_on(stopped.configs, stopped.folder) == place
    assert content(stopped.configs, stopped.folder) == stopped.undisturbed


# --- surroundings ---------------------------------------------------------------------------------

PROGRAM = """
import pickle, sys
from pathlib import Path
from tests.conftest import load
from tests.training.test_resume import runs_of
from lenet_bench.training.loop import train_stack

folder = Path(sys.argv[1])
configs = pickle.loads((folder / "configs").read_bytes())
train_stack(runs_of(configs, folder), load(configs[0]), checkpoint=folder / "c" / "stack-0.ckpt")
"""


def test_a_killed_stack_goes_on(configure: Configure, tmp_path: Path) -> None:
    many = ("iterations=500", "checkpoint.every=20", "evaluate.every=100", "probe.every=50")
    configs = [
        configure(*SMALL, *many, *overrides)
        for overrides in (("activation=rrelu",), ("activation=prelu", "optimizer=adam"))
    ]
    undisturbed = whole(configs, tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    (folder / "configs").write_bytes(pickle.dumps(configs))
    checkpoint = folder / "c" / "stack-0.ckpt"
    for _ in range(2):
        before = _iteration(checkpoint)
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)])
        while _iteration(checkpoint) <= before:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert _iteration(checkpoint) > 0
    seen: list[int] = []
    train_stack(
        runs_of(configs, folder), load(configs[0]), checkpoint=checkpoint, progress=seen.append
    )
    assert seen[0] > 0
    assert content(configs, folder) == undisturbed
    assert sorted(path.name for path in (folder / "0").iterdir()) == sorted(
        [*FILES, "config.json", "status.json"]
    )


def _iteration(checkpoint: Path) -> int:
    """Where a stack would go on."""
    try:
        return int(read_checkpoint(checkpoint).facts["recording"]["iteration"])
    except FileNotFoundError:
        return 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_a_full_disk_loses_no_row_and_no_checkpoint(configure: Configure, tmp_path: Path) -> None:
    configs = [configure(*SMALL, "iterations=200", f"seed={seed}") for seed in (0, 1)]
    undisturbed = whole(configs, tmp_path / "whole")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=90k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        runs, checkpoint = runs_of(configs, folder), folder / "checkpoints" / "stack-0.ckpt"
        outcomes = train_stack(runs, load(configs[0]), checkpoint=checkpoint)
        assert {outcome.status for outcome in outcomes} == {"failed"}
        for outcome in outcomes:
            assert outcome.error is not None
            assert outcome.error.startswith(str(folder))
            assert outcome.error.endswith(": No space left on device")
            for name in ("train.csv", "evaluation.csv", "layers.csv"):
                found = (outcome.directory / name).read_bytes()
                assert found.endswith(b"\n")
                assert undisturbed[f"{outcome.directory.name}/{name}"].startswith(found)
        assert not list(folder.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
        assert go_on(configs, folder) >= 0
        assert content(configs, folder) == undisturbed
    finally:
        subprocess.run(["umount", folder], check=True)
