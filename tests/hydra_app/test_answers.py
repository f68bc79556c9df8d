"""What is allowed is not refused; questions (`--help`, `--cfg`, `plan=true`) are answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hydra_app.conftest import Command
from tests.hydra_app.groups import CHOICES

ALLOWED: list[tuple[tuple[str, ...], int]] = [
    ((), 1),
    (("++lr=2",), 1),
    (("lr=float(1)",), 1),
    (("seed=9223372036854775807",), 1),
    (("seed=choice(1,1)",), 1),  # the same run twice
    (("seed=sort(3,1,2)",), 3),
    (("lr=tag(t,choice(0.1,0.2))",), 2),
    (("seed=range(3)", "lr=0.1,0.2"), 6),
    (("activation=glob(*elu)",), 8),
    (("experiment=sigmoid_tanh_relu", "seed=0"), 3),
    (("model=lenet5,lenet_caffe", "model.hidden=[10]"), 2),
    (("model.hidden=[120,84],[50]",), 2),
    (("model.hidden=[]",), 1),
    # each alone would contradict the defaults
    (("activation=rrelu", "activation.lower=0.4", "activation.upper=0.6"), 1),
    (("schedule.warmup=3000", "iterations=5000"), 1),
    (("schedule.warmup=3000", "epochs=500"), 1),
    (("dataset.train_size=20", "batch_size=10"), 1),
    (("activation=custom", "activation.path=torch.nn:SiLU", "lr=0.1"), 1),
    (("activation=prelu", "activation.init=0", "activation.per_unit=false"), 1),
    (("hydra/launcher=basic", "seed=1,2"), 2),
    (("hydra.mode=RUN",), 1),
    (("hydra.launcher.workers=3", "hydra.launcher.stack_size=2"), 1),
    (("-m", "seed=0,1"), 2),
    (("lr=0.1", "lr=0.1"), 1),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "runs"), ALLOWED, ids=[" ".join(a) for a, _ in ALLOWED])
def test_what_is_allowed_is_not_refused(
    command: Command, arguments: tuple[str, ...], runs: int
) -> None:
    """The check must not be stricter than the program."""
    answer = command(*arguments)
    assert answer.code == 0, answer.text
    assert len(answer.runs) == runs, answer.text


# --- asking ---------------------------------------------------------------------------------------


def test_help_is_worth_reading(command: Command) -> None:
    """Groups with their choices, keys with their values, five examples."""
    answer = command("--help")
    assert answer.code == 0
    assert not answer.imported_torch
    for group in ("activation", "init", "optimizer", "schedule", "dataset", "model", "experiment"):
        line = next(line for line in answer.text.splitlines() if line.startswith(f"{group}: "))
        assert set(CHOICES[group]) == set(line.partition(": ")[2].split(", "))
    for key in (
        "lr: 0.01",
        "batch_size: 128",
        "iterations: 2000",
        "momentum: 0.9",
        "seed: 0",
        "plan: false",
    ):
        assert key in answer.text
    examples = answer.text.partition("== Examples ==")[2].partition("==")[0]
    assert sum(line.startswith("lenet-bench ") for line in examples.splitlines()) == 5
    assert "lenet-bench-report" in answer.text
    assert "lenet-bench-claims" in answer.text
    assert list(answer.folder.iterdir()) == []


def test_the_examples_of_help_are_accepted(command: Command) -> None:
    """As they stand there, in a folder that holds what they name."""
    import shlex

    text = command("--help").text
    examples = text.partition("== Examples ==")[2].partition("==")[0]
    for line in examples.splitlines():
        if line.startswith("lenet-bench "):
            folder = command.folder / f"example-{hash(line)}"
            for name in ("cat", "dog"):
                (folder / "photos" / "train" / name).mkdir(parents=True)
                (folder / "photos" / "train" / name / "1.png").touch()
            (folder / "mine.py").write_text("class Wave: pass", encoding="utf-8")
            # Many runs take their time to be composed; one seed shows as much.
            arguments = [re.sub(r"range\(\d+\)", "1", item) for item in shlex.split(line)[1:]]
            answer = command.within(folder, *arguments)
            assert answer.code == 0, answer.text
            assert answer.runs or "nothing was trained" in answer.text


def test_the_configuration_can_be_shown(command: Command) -> None:
    """`--cfg job` prints what would be trained, and trains nothing."""
    import yaml

    answer = command("--cfg", "job", "activation=elu", "lr=0.5")
    assert answer.code == 0
    assert not answer.imported_torch
    content = yaml.safe_load(answer.text.partition("CODE")[0])
    assert content["activation"] == {"name": "elu", "alpha": 1.0}
    assert content["lr"] == 0.5
    assert list(answer.folder.iterdir()) == []


# --- the plan -------------------------------------------------------------------------------------

SMALL = ("dataset=fake", "device=cpu", "iterations=10")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "1 run in 1 stack, 1 worker; nothing was trained."),
        (("-m", "seed=0,1"), "2 runs in 2 stacks, 2 workers; nothing was trained."),
        (("seed=0,1", "hydra/launcher=basic"), "2 runs in 2 stacks, 1 worker;"),
        (("hydra.mode=RUN",), "1 run in 1 stack, 1 worker; nothing was trained."),
        (("experiment=sigmoid_tanh_relu",), "15 runs in 2 stacks, 2 workers;"),
        (("seed=1,1",), "1 run in 1 stack"),
        (("hydra.sweep.dir=elsewhere",), "0 runs are finished and not in the time."),
    ],
    ids=" ".join,
)
def test_a_plan_is_shown_and_nothing_else_happens(
    command: Command, arguments: tuple[str, ...], says: str
) -> None:
    """Whatever trains otherwise: nothing does, and no folder is made."""
    stacked = [] if "hydra/launcher=basic" in arguments else ["hydra.launcher.workers=2"]
    answer = command(*arguments, *SMALL, *stacked, "plan=true")
    assert answer.code == 0, answer.text
    assert says in answer.text
    assert "estimated time" in answer.text
    assert "estimated peak memory" in answer.text
    assert answer.runs == []
    assert list(answer.folder.iterdir()) == []
    assert ("one after another" in answer.text) == (not stacked)


def test_a_plan_is_a_table(command: Command) -> None:
    """A row per stack: runs, activations, seeds, iterations."""
    answer = command(
        *SMALL, "activation=gelu,relu,rrelu", "seed=0,1,2,7", "plan=true",
        "hydra.launcher.workers=1", COLUMNS="120",
    )  # fmt: skip
    rows = [re.split(r"  +", line.strip()) for line in answer.text.splitlines()]
    assert rows[0] == ["stack", "runs", "activations", "seeds", "iterations", "time", "memory"]
    assert rows[1][:5] == ["0", "8", "relu, gelu", "0-2, 7", "10"]
    assert rows[2][:5] == ["1", "4", "rrelu", "0-2, 7", "10"]


def test_a_preset_may_ask_for_the_plan(command: Command, tmp_path: Path) -> None:
    """And the command line may train after all."""
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nplan: true\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    given = ("--config-dir", str(tmp_path), "experiment=mine", *SMALL)
    assert "nothing was trained" in command(*given).text
    assert command(*given, "plan=false").runs


def test_planning_leaves_no_trace_in_names(command: Command) -> None:
    """Planned or not, with any launcher."""
    for launcher in ("stacked", "basic"):
        plain, told = (
            command(*SMALL, "seed=0,1", f"hydra/launcher={launcher}", *more).runs
            for more in ((), ("plan=false",))
        )
        assert plain == told
        assert len(plain) == 2


@pytest.mark.parametrize("value", ["maybe", "1", "true,false", "null"])
def test_a_plan_is_wanted_or_not(command: Command, value: str) -> None:
    """Nothing between."""
    answer = command(f"plan={value}")
    answer.is_refusal()
    assert answer.problems[0].startswith(f"plan={value}: must be true or false")


def test_hydras_information_works(command: Command) -> None:
    """`--info` and `--hydra-help`."""
    text = command("--info").text
    assert "StackedLauncher" in text
    assert "Traceback" not in text
    assert "--shell-completion" in command("--hydra-help").text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lenet-bench activation=le", {"activation=leaky_relu", "activation=leaky_relu6"}),
        (
            "lenet-bench optimizer=ada",
            {f"optimizer={name}" for name in ("adagrad", "adam", "adamw")},
        ),
        ("lenet-bench dataset=image", {"dataset=image_folder"}),
        ("lenet-bench experiment=sig", {"experiment=sigmoid_tanh_relu"}),
        ("lenet-bench probe.ev", {"probe.every="}),
        ("lenet-bench activation=leaky_relu activation.neg", {"activation.negative_slope="}),
    ],
)
def test_shell_completion(command: Command, line: str, expected: set[str]) -> None:
    """As Hydra's bash script asks for it."""
    answer = command("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert set(answer.text.partition("CODE")[0].split()) == expected


def test_completion_can_be_installed(command: Command) -> None:
    """The script names the command."""
    assert "lenet-bench" in command("-sc", "install=bash").text
