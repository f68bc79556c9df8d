"""Keys that only some choices of a swept group have: each choice gets its own, others none.

The oracle is the command line of a choice alone: the same name, fingerprint and bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_bench.commands.claims import _check as check_claims
from lenet_bench.hydra_app.composer import Composer
from lenet_bench.hydra_app.swept_groups import SweptGroups
from lenet_bench.records.run_directory import read_status
from tests.conftest import Lenet
from tests.hydra_app.conftest import Command

WAVE = "import torch\n\nclass Wave(torch.nn.Module):\n    def forward(self, x): return x.sin()\n"
TINY = (
    "dataset=fake", "dataset.images=150", "batch_size=16", "iterations=4", "probe.every=2",
    "probe.images=16", "device=cpu",
)  # fmt: skip

# A sweep, and command lines that ask for each of its different runs alone.
SWEEPS: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
    (
        ("activation=relu,custom", "activation.path=my_waves:Wave"),
        [("activation=relu",), ("activation=custom", "activation.path=my_waves:Wave")],
    ),
    (
        ("optimizer=sgd,adam", "optimizer.momentum=0.5"),
        [("optimizer=sgd", "optimizer.momentum=0.5"), ("optimizer=adam",)],
    ),
    (
        ("optimizer=sgd,adam", "optimizer.momentum=0.5", "optimizer.beta1=0.8"),
        [("optimizer=sgd", "optimizer.momentum=0.5"), ("optimizer=adam", "optimizer.beta1=0.8")],
    ),
    (
        ("activation=relu,leaky_relu", "activation.negative_slope=0.01,0.1"),
        [
            ("activation=relu",),
            ("activation=leaky_relu",),
            ("activation=leaky_relu", "activation.negative_slope=0.1"),
        ],
    ),
    (
        ("schedule=constant,step", "++schedule.gamma=0.5", "init=normal,uniform", "init.std=0.1"),
        [
            ("init=normal", "init.std=0.1"),
            ("init=uniform",),
            ("schedule=step", "schedule.gamma=0.5", "init=normal", "init.std=0.1"),
            ("schedule=step", "schedule.gamma=0.5", "init=uniform"),
        ],
    ),
    (
        ("dataset=digits,fake", "dataset.images=500"),
        [("dataset=digits",), ("dataset=fake", "dataset.images=500")],
    ),
    (
        ("activation=leaky_relu,relu", "activation.negative_slope=0.1", "seed=0,1"),
        [
            (*activation, f"seed={seed}")
            for activation in (
                ("activation=leaky_relu", "activation.negative_slope=0.1"),
                ("activation=relu",),
            )
            for seed in (0, 1)
        ],
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an activation of the user's own."""
    (tmp_path / "my_waves.py").write_text(WAVE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("launcher", ["stacked", "basic"])
@pytest.mark.parametrize(("sweep", "alone"), SWEEPS, ids=[" ".join(sweep) for sweep, _ in SWEEPS])
def test_each_choice_is_the_run_that_it_is_alone(
    command: Command,
    folder: Path,
    launcher: str,
    sweep: tuple[str, ...],
    alone: list[tuple[str, ...]],
) -> None:
    """By its fingerprint, which holds the whole configuration."""
    answer = command.within(folder, *sweep, f"hydra/launcher={launcher}")
    assert answer.code == 0, answer.text
    expected = [command.within(folder, *arguments).runs[0][-8:] for arguments in alone]
    assert {name[-8:] for name in answer.runs} == set(expected)
    if launcher == "stacked":
        assert len(answer.runs) == len(expected)


def test_a_name_holds_a_parameter_only_where_the_choice_has_it(command: Command) -> None:
    answer = command("activation=relu,leaky_relu", "activation.negative_slope=0.01,0.1")
    assert sorted(name[:-9] for name in answer.runs) == [
        "leaky_relu-xavier_uniform-negative_slope0.01-lr0.01-seed0",
        "leaky_relu-xavier_uniform-negative_slope0.1-lr0.01-seed0",
        "relu-xavier_uniform-lr0.01-seed0",
    ]


def test_jobs_that_become_the_same_run_are_mentioned_in_a_line(command: Command) -> None:
    """By the command and by its plan; a sweep without repetitions says nothing."""
    swept = ("activation=relu,leaky_relu", "activation.negative_slope=0.01,0.1")
    says = "4 combinations are 3 different runs; each is trained once."
    assert command(*swept).text.count(says) == 1
    assert command(*swept, "plan=true").text.count(says) == 1
    assert "different runs" not in command(*swept[:1]).text


def test_a_plan_shows_the_runs(command: Command, folder: Path) -> None:
    answer = command.within(
        folder, "activation=relu,custom", "activation.path=my_waves:Wave", *TINY, "plan=true"
    )
    assert "2 runs in 2 stacks" in answer.text, answer.text


def test_keys_of_choices_that_a_preset_sweeps(command: Command) -> None:
    """`relu_family` sweeps relu, leaky_relu and others."""
    answer = command("experiment=relu_family", "activation.negative_slope=0.2", "seed=0", "lr=0.1")
    assert answer.code == 0, answer.text
    kinds = [name.partition("-")[0] for name in answer.runs]
    assert sorted(kinds) == sorted(
        ["relu", "leaky_relu", "prelu", "rrelu", "relu6", "leaky_relu6", "elu", "selu"]
    )


def test_a_preset_may_sweep_such_keys(command: Command, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: "
        "{optimizer: 'sgd,adam', optimizer.momentum: '0.5', optimizer.beta2: '0.9,0.99'}}}\n",
        encoding="utf-8",
    )
    answer = command("--config-dir", str(tmp_path), "experiment=mine")
    assert answer.code == 0, answer.text
    assert sorted(name[:-9] for name in answer.runs) == [
        "relu-xavier_uniform-adam-beta20.9-lr0.01-seed0",
        "relu-xavier_uniform-adam-beta20.99-lr0.01-seed0",
        "relu-xavier_uniform-sgd-lr0.01-seed0",
    ]


@pytest.mark.parametrize(
    ("arguments", "activation"),
    [
        (("experiment=relu_family", "activation.negative_slope=0.2"), {"name": "relu"}),
        (("activation=leaky_relu", "activation.negative_slope=0.2"),
         {"name": "leaky_relu", "negative_slope": 0.2}),
        (("activation=custom", "activation.path=my_waves:Wave"),
         {"name": "custom", "path": "my_waves:Wave"}),
    ],
)  # fmt: skip
def test_the_configuration_that_is_shown_has_only_keys_of_its_choice(
    command: Command, folder: Path, arguments: tuple[str, ...], activation: dict[str, object]
) -> None:
    """`--cfg job` shows the configuration without any sweep."""
    answer = command.within(folder, "--cfg", "job", *arguments)
    assert answer.code == 0, answer.text
    content = yaml.safe_load(answer.text.partition("CODE")[0])
    assert content["activation"] == activation


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_a_choice_without_the_key_is_trained_to_the_same_bytes(
    lenet: Lenet, folder: Path, launcher: str
) -> None:
    """Its tables, and Hydra's record of what it was given."""
    into = (f"hydra/launcher={launcher}", "hydra.launcher.workers=1")[: 1 + (launcher == "stacked")]
    given = ("activation=relu,custom", "activation.path=my_waves:Wave", *TINY, *into)
    both = lenet(*given, "hydra.sweep.dir=runs/both")
    assert both.code == 0
    assert sys.argv[1:] == [*given, "hydra.sweep.dir=runs/both"]
    runs = {name.partition("-")[0]: path for name, path in both.runs.items()}
    assert {read_status(path)["status"] for path in runs.values()} == {"finished"}
    recorded = yaml.safe_load((folder / "runs/both/multirun.yaml").read_text(encoding="utf-8"))
    assert recorded["hydra"]["overrides"]["task"] == [*given[:2], *TINY]
    typed = [text.replace(r"\:", ":") for text in _overrides(runs["custom"])]  # as Hydra quotes it
    assert typed == ["activation=custom", "activation.path=my_waves:Wave", *TINY]

    lenet("activation=relu", *TINY, *into, "hydra.sweep.dir=runs/alone")
    (alone,) = (path.parent for path in (folder / "runs/alone").glob("*/status.json"))
    assert alone.name == runs["relu"].name
    for file in (
        "train.csv", "evaluation.csv", "layers.csv", ".hydra/config.yaml", ".hydra/overrides.yaml",
    ):  # fmt: skip
        assert (runs["relu"] / file).read_bytes() == (alone / file).read_bytes(), file


def _overrides(directory: Path) -> list[str]:
    text = (directory / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")
    content: list[str] = yaml.safe_load(text)
    return content


def test_overrides_of_the_claims_command_may_be_such_keys() -> None:
    """They go to every preset."""
    check_claims(["sigmoid_tanh_relu"], ["optimizer=sgd,adam", "optimizer.momentum=0.5"])


# --- which keys belong to a choice ----------------------------------------------------------------


def groups(repository: ConfigRepository, *texts: str) -> SweptGroups:
    """What these overrides of a sweep vary."""
    return SweptGroups.of(OverridesParser.create().parse_overrides(list(texts)), repository)


def kept(swept: SweptGroups, *texts: str) -> list[str | None]:
    """Those of a job's overrides that are for its choices."""
    overrides = OverridesParser.create().parse_overrides(list(texts))
    return [override.input_line for override in swept.applicable(overrides)]


def test_only_keys_of_another_swept_choice_are_left_out() -> None:
    """Everything else is Hydra's to accept or refuse."""
    repository = Composer("config", []).loader.repository
    swept = groups(repository, "activation=relu,leaky_relu", "optimizer=sgd", "lr=1,2")
    assert set(swept.keys) == {"activation"}
    job = ("activation=relu", "activation.negative_slope=1", "~activation.negative_slope", "lr=1")
    assert kept(swept, *job) == ["activation=relu", "lr=1"]
    for text in (
        "activation.alpha=1",
        "activation.name=x",
        "optimizer.beta1=1",
        "activation={a: 1}",
    ):
        assert kept(swept, "activation=relu", text) == ["activation=relu", text]
    assert kept(swept, "activation.negative_slope=1") == ["activation.negative_slope=1"]


def test_the_last_override_of_a_group_decides_what_is_swept() -> None:
    repository = Composer("config", []).loader.repository
    assert groups(repository, "optimizer=sgd,adam", "optimizer=sgd").keys == {}


def test_the_keys_of_a_file_that_builds_on_others_are_left_to_hydra(tmp_path: Path) -> None:
    """A user's own choice with a defaults list."""
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("defaults: [sgd]\nnesterov: true\n")
    repository = Composer("config", [str(tmp_path)]).loader.repository
    swept = groups(repository, "optimizer=mine,sgd,adam")
    assert kept(swept, "optimizer=mine", "optimizer.momentum=0") == [
        "optimizer=mine", "optimizer.momentum=0",
    ]  # fmt: skip
    assert kept(swept, "optimizer=adam", "optimizer.momentum=0") == ["optimizer=adam"]
