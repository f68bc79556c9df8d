"""What the command answers: every mistake in a line, at once, without torch, without a trace.

Most command lines are given to one process that has loaded the program and forks for each of them:
the same code, the same answers, but some hundred of them in seconds.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import lenet_bench
from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.config.errors import ConfigError

SERVER = """
import json, os, sys
from lenet_bench import __main__ as entry
from lenet_bench.execution import sweep

def answer(arguments, folder, environment):
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["lenet-bench", *arguments]
    def runs(configs, *_):  # instead of training
        print("RUNS", *(directory.name for directory in configs))
        return {directory: None for directory in configs}
    sweep.train = runs
    code = 0
    try:
        entry.main()
    except SystemExit as exit_:
        code = exit_.code
    print("CODE", code, "TORCH", "torch" in sys.modules)

for line in sys.stdin:
    read, write = os.pipe()
    process = os.fork()
    if not process:
        os.dup2(write, 1)
        os.dup2(write, 2)
        try:
            answer(*json.loads(line))
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.close(write)
    text = open(read).read()
    os.waitpid(process, 0)
    print(json.dumps(text), flush=True)
"""


@dataclass(frozen=True)
class Answer:
    """What a command line led to."""

    text: str
    folder: Path

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self.text.rpartition("CODE ")[2].split()[0])

    @property
    def imported_torch(self) -> bool:
        """Whether torch was loaded."""
        return self.text.rstrip().endswith("TORCH True")

    @property
    def runs(self) -> list[str]:
        """The names of the runs that it would have trained, in order."""
        lines = [line.split()[1:] for line in self.text.splitlines() if line.startswith("RUNS")]
        return [name for line in lines for name in line]

    @property
    def problems(self) -> list[str]:
        """The lines of mistakes."""
        return [line.strip() for line in self.text.splitlines() if line.startswith("  ")]

    def is_refusal(self) -> None:
        """A mistake: said in words, exit code 1, nothing left, nothing heavy loaded."""
        assert "Traceback" not in self.text, self.text
        assert "CODE 1 TORCH False" in self.text, self.text
        assert self.text.startswith("lenet-bench: "), self.text
        assert list(self.folder.iterdir()) == [], self.text


class Command:
    """`command("lr=-1")`: the answer to a command line, given in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *arguments: str, **environment: str) -> Answer:
        """Ask."""
        self.number += 1
        folder = self.folder / str(self.number)
        folder.mkdir()
        return self.within(folder, *arguments, **environment)

    def within(self, folder: Path, *arguments: str, **environment: str) -> Answer:
        """Ask from a folder that is not empty."""
        assert self.process.stdin
        assert self.process.stdout
        print(
            json.dumps([arguments, str(folder), environment]), file=self.process.stdin, flush=True
        )
        return Answer(json.loads(self.process.stdout.readline()), folder)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The forking process."""
    asked = Command(tmp_path_factory.mktemp("commands"))
    yield asked
    assert asked.process.stdin
    asked.process.stdin.close()
    asked.process.wait(10)


# --- mistakes -------------------------------------------------------------------------------------

CHOICES = {
    "activation": [*ACTIVATIONS, "custom"],
    "init": [*SCHEMES],
    "optimizer": [*OPTIMIZERS],
    "schedule": [*SCHEDULES],
    "dataset": ["digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "image_folder", "fake"],
    "model": ["lenet5", "lenet_caffe"],
    "experiment": [
        *("all_activations", "batch_norm_order", "depth", "dying_relu", "init_scheme"),
        *("learning_rate", "leaky_slope", "optimizer", "relu_family", "sigmoid_tanh_relu"),
        *("smoke", "smooth_family", "sparsity"),
    ],
    "hydra/launcher": ["stacked", "basic"],
}
MISSPELT = {
    "activation": ("rleu", "relu"),
    "init": ("xavier_unifrom", "xavier_uniform"),
    "optimizer": ("Adam", "adam"),
    "schedule": ("cosin", "cosine"),
    "dataset": ("cifar", "cifar10"),
    "model": ("lenet", "lenet5"),
    "experiment": ("sigmoid_relu", "sigmoid_tanh_relu"),
    "hydra/launcher": ("staked", "stacked"),
}


@pytest.mark.parametrize("group", CHOICES)
def test_an_unknown_choice_is_answered_with_the_nearest_and_all(
    command: Command, group: str
) -> None:
    """In every group."""
    wrong, right = MISSPELT[group]
    answer = command(f"{group}={wrong}")
    answer.is_refusal()
    (problem,) = answer.problems
    assert problem.startswith(f"{group}={wrong}: there is no such {group.split('/')[-1]}; ")
    assert f"did you mean {right}? " in problem
    allowed = problem.partition("allowed: ")[2].split(", ")
    assert set(CHOICES[group]) <= set(allowed)


# command line, then what its only line of mistake must hold
MISTAKES: list[tuple[str, tuple[str, ...]]] = [
    ("lr=", ("lr=: must be", "number")),
    ("lr=-1", ("lr=-1: must be greater than 0",)),
    ("lr=nan", ("lr=nan: must be a finite number",)),
    ("lr=1e400", ("lr=1e400: must be a finite number greater than 0",)),
    ("lr=fast", ("lr=fast: must be", "number")),
    ("lr=true", ("lr=true: must be", "number")),
    ("lr={a:1}", ("lr=", "number")),
    ("lr=a b", ("lr=a b: must be", "number")),
    ("lr=${nope}", ("nope",)),
    ("lr=${nope:1}", ("nope",)),
    ("lr=" + "9" * 400, ("lr=99999", "number")),
    ("lr=" + "x" * 20_000, ("lr=xxxx", "number")),
    ("~lr", ("lr: must be given",)),
    ("seed=-1", ("seed=-1: must be greater than or equal to 0",)),
    ("seed=1.5", ("seed=1.5: must be", "integer")),
    ("seed=9223372036854775808", ("seed=9223372036854775808: must be less than",)),
    ("seed=0,1,-3", ("seed=-3: must be",)),
    ("seed=choice(0,x)", ("seed=x: must be", "integer")),
    ("seed=range(-1,2)", ("seed=-1: must be",)),
    ("seed=range(0)", ("seed=range(0): holds no values", "seed=A,B")),
    ("seed=range(5,0)", ("seed=range(5,0): holds no values",)),
    ("seed=range(0,1e9)", ("seed=range(0,1e9): holds more than 10,000 values",)),
    ("lr=interval(0.1,1)", ("lr=interval(0.1,1): an interval needs", "lr=A,B")),
    # syntax
    ("lr", ("lr: cannot be read as KEY=VALUE",)),
    ("=3", ("=3: cannot be read as KEY=VALUE",)),
    ("lr=[0.1", ("lr=[0.1: cannot be read as KEY=VALUE",)),
    ("lr={a:1", ("lr={a:1: cannot be read as KEY=VALUE",)),
    ("lr=${", ("lr=${: cannot be read as KEY=VALUE",)),
    ("lr=foo(1)", ("lr=foo(1): cannot be read", "Unknown function 'foo'")),
    ("activation=relü", ("activation=relü: cannot be read as KEY=VALUE", "quotes")),
    ("äöü=1", ("äöü=1: cannot be read as KEY=VALUE",)),
    ("activation=relu lr=0.1", ("activation=relu lr=0.1: cannot be read as KEY=VALUE",)),
    ("", ("cannot be read as KEY=VALUE",)),
    # keys
    ("foo=1", ("foo=1: the configuration has no such key", "activation", "lr", "probe")),
    ("+foo=1", ("foo=1: the configuration has no such key",)),
    ("++foo=2", ("foo=2: the configuration has no such key",)),
    ("foo.bar=1", ("foo.bar=1: the configuration has no such key",)),
    ("optimzer=adam", ("optimzer=adam: ", "did you mean optimizer?")),
    ("momentum=0.5", ("momentum=0.5: ", "did you mean optimizer.momentum?")),
    ("probe.evry=1", ("probe.evry=1: ", "did you mean probe.every?", "probe.images")),
    ("probe.every.x=1", ("probe.every.x=1: probe.every holds a value",)),
    ("lr.x=1", ("lr.x=1: lr holds a value",)),
    ("name=3", ("name=3: the configuration has no such key; it has activation",)),
    ("+lr=3", ("+lr=3: lr is there already; leave out the +",)),
    ("+probe.every=3", ("+probe.every=3: probe.every is there already; leave out the +",)),
    ("+hydra.sweep.dir=a", ("+hydra.sweep.dir=a: hydra.sweep.dir is there already",)),
    ("probe=1", ("probe=1: must be set key by key, as in probe.KEY=VALUE",)),
    ("probe=null", ("probe=null: must be set key by key",)),
    ("activation.negative_slope=0.1", ("activation=relu has no such key; it has none",)),
    ("optimizer.beta1=0.5", ("optimizer=sgd has no such key", "optimizer.momentum")),
    ("dataset.size=64", ("dataset=digits has no such key", "dataset.train_size")),
    # groups
    ("activation=", ("activation=: there is no such activation", "relu")),
    ("activation=null", ("activation=null: there is no such activation",)),
    ("~activation", ("activation=null: there is no such activation",)),
    ("activation=[relu,tanh]", ("there is no such activation", "relu")),
    ("activation=relu,tahn", ("activation=tahn: there is no such activation", "tanh?")),
    ("activation@x=relu", ("activation@x=relu: must be activation=CHOICE, without + and @",)),
    ("+activation@x=relu", ("+activation@x=relu: must be activation=CHOICE",)),
    ("+activation=tanh", ("+activation=tanh: must be activation=CHOICE",)),
    ("++activation=tanh", ("++activation=tanh: must be activation=CHOICE",)),
    ("activation=glob(*)", ("activation.path: must be given",)),  # custom is one of them
    ("activation=glob(nothing*)", ("activation=glob(nothing*): holds no values",)),
    ("activation.name=foo", ("activation.name=foo: use activation=CHOICE; allowed: ", "tanh")),
    ("activation.name=tanh", ("activation.name=tanh: use activation=tanh",)),
    ("activation.name=tanh,elu", ("activation.name=tanh,elu: use activation=tanh,elu",)),
    ("init.name=zeros", ("init.name=zeros: use init=zeros",)),
    ("~model.name", ("~model.name: use model=CHOICE",)),
    ("activation=relu,", ("activation=relu,: cannot be read as KEY=VALUE (a trailing comma)",)),
    ("hydra/launcher=ray", ("no such launcher; pip install hydra-ray-launcher brings it",)),
    ("hydra/launcher=submitit_slurm", ("pip install hydra-submitit-launcher brings it",)),
    ("experiment=a,b", ("experiment=a,b: takes one preset at a time",)),
    ("experiment=null", ("experiment=null: there is no such experiment",)),
    ("experiment=", ("experiment=: there is no such experiment",)),
    # sections
    ("model.hidden=[0]", ("model.hidden=[0]: ", "greater than or equal to 1")),
    ("model.hidden=[a]", ("model.hidden=[a]: ", "integer")),
    ("init.gain=0", ("init.gain=0: must be 'auto' or a number greater than 0",)),
    ("lr=abc", ("lr=abc: must be a number greater than 0",)),
    ("model.hidden=120", ("model.hidden=120: must be a list, each item an integer",)),
    ("model.hidden=[120],[0]", ("model.hidden=", "greater than or equal to 1")),
    ("model.channels=[6]", ("model.channels=[6]: must have at least 2 items",)),
    ("device=gpu", ("device=gpu: must be auto, cpu, mps, cuda or cuda:K",)),
    ("precision=float16", ("precision=float16: must be 'float32', 'float64' or 'bfloat16'",)),
    # the launcher and Hydra's own
    ("hydra.launcher.engine=ray", ("hydra.launcher.engine=ray: must be local",)),
    ("hydra.launcher.workers=0", ("hydra.launcher.workers=0: must be auto or an integer >= 1",)),
    ("hydra.launcher.workers=two", ("hydra.launcher.workers=two: must be auto or an integer",)),
    ("hydra.launcher.workers=1.5", ("hydra.launcher.workers=1.5: must be auto or an integer",)),
    ("hydra.launcher.stack_size=-1", ("hydra.launcher.stack_size=-1: must be auto or",)),
    ("hydra.launcher.skip_finished=x", ("hydra.launcher.skip_finished=x: ",)),
    ("hydra.launcher.foo=1", ("hydra.launcher.foo=1: ", "hydra.launcher.workers")),
    ("hydra.launcher.workers=1,2", ("hydra.launcher.workers=1,2: Hydra's own settings take one",)),
    ("hydra/launcher=stacked,basic", ("hydra/launcher=stacked,basic: Hydra's own",)),
    ("hydra.nope=1", ("hydra.nope=1: hydra has no such key",)),
    ("hydra=1", ("hydra=1: there is no such hydra",)),
    ("hydra.sweeper=1", ("hydra.sweeper=1: must be settings",)),
    ("hydra.mode=NOPE", ("hydra.mode=NOPE: ", "RUN, MULTIRUN")),
    ("hydra.searchpath=5", ("hydra.searchpath=5: ", "list")),
    ("+hydra.sweeper.params.lr=-1", ("+hydra.sweeper.params.lr=-1: ",)),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES, ids=[text[:40] for text, _ in MISTAKES])
def test_a_mistake_is_answered_in_one_line(
    command: Command, text: str, says: tuple[str, ...]
) -> None:
    """Key, value, what is allowed; exit code 1; nothing left behind; torch not loaded."""
    answer = command(text)
    answer.is_refusal()
    (problem,) = answer.problems
    for part in says:
        assert part in problem


# several arguments, then what each line of mistake begins with
COMBINED: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("dataset=image_folder",), ("dataset.root: must be given, as in dataset.root=VALUE",)),
    (
        ("dataset=image_folder", "dataset.root=null"),
        ("dataset.root=null: must be given, as in dataset.root=FOLDER",),
    ),
    (
        ("+lr=3", "seed=-1", "activation=sigmiod", "activation.name=tanh"),
        ("+lr=3: lr is there", "seed=-1: must be", "activation=sigmiod: there is no such",
         "activation.name=tanh: use activation=tanh"),
    ),
    (("dataset=image_folder", "dataset.root=~"), ("dataset.root=~: cannot be read",)),
    (
        ("dataset=image_folder", "dataset.root=/no/such/folder"),
        ("dataset.root=/no/such/folder: there is no such folder",),
    ),
    (
        ("dataset=image_folder", "dataset.root='/no/Bücher und mehr'"),
        ("dataset.root=/no/Bücher und mehr: there is no such folder",),
    ),
    (
        ("dataset=fake", "dataset.size=8"),
        ("dataset.size=8: must be an integer greater than or equal to 16",),
    ),
    (("activation=custom",), ("activation.path: must be given",)),
    (("activation=custom", "lr=0.1"), ("activation.path: must be given",)),
    (("activation=relu,custom",), ("activation.path: must be given",)),
    (("dataset=fake,image_folder",), ("dataset.root: must be given",)),
    (
        ("activation=custom", "activation.path=foo"),
        ("activation.path=foo: is not of the form package.module:Class",),
    ),
    (
        ("activation=custom", "activation.path=no_such_module:Wave"),
        ("activation.path=no_such_module:Wave: no module 'no_such_module'",),
    ),
    (
        ("activation=leaky_relu", "activation.negative_slop=1"),
        ("activation.negative_slop=1: activation=leaky_relu has no such key; did you mean activ",),
    ),
    (
        ("activation=leaky_rulu", "activation.negative_slope=0.1"),  # no guess at what is meant
        ("activation=leaky_rulu: there is no such activation; did you mean leaky_relu?",),
    ),
    (
        ("activation=relu,leaky_relu", "activation.negative_slope=0.1,-1"),
        (
            "activation.negative_slope=0.1: activation=relu has no such key",
            "activation.negative_slope=-1: must be a number >= 0",
        ),
    ),
    (("optimizer=sgd,adam", "optimizer.eps=1"), ("optimizer.eps=1: optimizer=sgd has no such",)),
    (
        ("activation=rrelu", "activation.lower=0.5", "activation.upper=0.1"),
        ("activation=rrelu: lower must not exceed upper (lower=0.5, upper=0.1)",),
    ),
    (
        ("optimizer.momentum=0", "optimizer.nesterov=true"),
        ("optimizer.nesterov=true: needs optimizer.momentum > 0",),
    ),
    (
        ("optimizer.momentum=0,0.9", "optimizer.nesterov=true"),
        ("optimizer.nesterov=true: needs optimizer.momentum > 0",),
    ),
    (("schedule.warmup=2000",), ("schedule.warmup=2000: must be less than the budget",)),
    (
        ("iterations=100,200", "schedule.warmup=50,150"),
        ("schedule.warmup=150: must be less than the budget, iterations=100",),
    ),
    (("dataset.train_size=20",), ("batch_size=128: must not exceed dataset.train_size=20",)),
    (
        ("device=cuda", "lr=0", "batch_size=100000"),
        ("lr=0: must be", "batch_size=100000: must not exceed the 1,297 training images"),
    ),
    (("dataset=mnist,digits", "batch_size=5000"), ("batch_size=5000: must not exceed the 1,297",)),
    (
        ("schedule.warmup=300", "epochs=2", "dataset.train_size=300"),
        ("schedule.warmup=300: must be less than the budget, the 4 iterations of epochs=2",),
    ),
    (("dataset=fake", "dataset.images=5"), ("dataset.images=5: must be at least 2 for each of",)),
    (
        ("activation=custom", "activation.path=torch.nn:Nope"),
        ("activation.path=torch.nn:Nope: torch.nn has no class 'Nope'",),
    ),
    (
        ("dataset.train_size=20,200", "batch_size=16,64"),
        ("batch_size=64: must not exceed dataset.train_size=20",),
    ),
    (
        ("experiment=sigmoid_tanh_relu", "activation.negative_slope=0.1"),
        tuple(
            f"activation.negative_slope=0.1: activation={name} has no such key"
            for name in ("sigmoid", "tanh", "relu")
        ),
    ),
    (("experiment=sigmoid_tanh_relu", "seed=-1"), ("seed=-1: must be greater than or equal to",)),
    (("-m", "lr=-1"), ("lr=-1: must be",)),
    (("--run", "lr=-1"), ("lr=-1: must be",)),
    (("--cfg", "job", "lr=-1"), ("lr=-1: must be",)),
    (("--config-name", "nope"), ("Cannot find primary config 'nope'",)),
    (("--config-dir", "/no/such/folder"), ("--config-dir=/no/such/folder: there is no such",)),
    (("--resolve",), ("--resolve: goes with --cfg",)),
    (
        ("lr=-1", "optimizer.momentum=0", "optimizer.nesterov=true"),  # contradictions besides
        ("lr=-1: must be", "optimizer.nesterov=true: needs"),
    ),
    (
        (
            "seed", "activation=relo", "init=nope", "optimizer=nope", "schedule=nope", "model=nope",
            "dataset=nope", "lr=-1,0.1,nan", "foo=1", "probe.tau=7", "hydra.nope=3",
            "hydra.launcher.workers=0", "hydra.launcher.engine=ray",
        ),
        (
            "seed: cannot be read", "activation=relo: ", "init=nope: ", "optimizer=nope: ",
            "schedule=nope: ", "model=nope: ", "dataset=nope: ", "lr=-1: ", "lr=nan: ", "foo=1: ",
            "probe.tau=7: ", "hydra.nope=3: ", "hydra.launcher.workers=0: ",
            "hydra.launcher.engine=ray: ",
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "begins"), COMBINED, ids=[" ".join(a) for a, _ in COMBINED])
def test_mistakes_are_reported_together_and_nothing_else(
    command: Command, arguments: tuple[str, ...], begins: tuple[str, ...]
) -> None:
    """Exactly the expected lines, in any order."""
    answer = command(*arguments)
    answer.is_refusal()
    assert len(answer.problems) == len(begins), answer.text
    for begin in begins:
        assert any(problem.startswith(begin) for problem in answer.problems), answer.text
    count = "1 mistake" if len(begins) == 1 else f"{len(begins)} mistakes"
    assert f"{count} in the configuration:" in answer.text


# the files of an image folder, then what its only line of mistake must hold
FOLDERS: list[tuple[tuple[str, ...], str]] = [
    (("train/",), "train: no class folder in it"),
    (("train/cat/1.png",), "train: only one class, 'cat'; at least two are needed"),
    (("train/cat/1.png", "train/dog/"), "train/dog: no image in this class folder"),
    (("train/cat/1.png", "train/dog/1.txt"), "train/dog: no image in this class folder"),
    (
        ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"),
        "test/dog: missing class folder; train has 'dog' that test lacks",
    ),
    (
        ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/"),
        "test/dog: no image in this class folder",
    ),
]


@pytest.mark.parametrize(("files", "says"), FOLDERS, ids=[says for _, says in FOLDERS])
def test_an_image_folder_is_looked_into(
    command: Command, tmp_path: Path, files: tuple[str, ...], says: str
) -> None:
    """Before torch is loaded, and together with other mistakes."""
    for file in files:
        path = tmp_path / file
        (path if file.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not file.endswith("/"):
            path.touch()
    answer = command("dataset=image_folder", f"dataset.root={tmp_path}", "lr=-1")
    answer.is_refusal()
    folder, lr = sorted(answer.problems)
    assert folder.startswith(f"{tmp_path}/{says}")
    assert lr.startswith("lr=-1: must be")


PRESETS = {
    "key": ("lerning_rate: 1", "lerning_rate=1: there is no such key"),
    "value": ("lr: -1", "lr=-1: must be greater than 0"),
    "swept_value": ("hydra: {sweeper: {params: {lr: '0.1,-2'}}}", "lr=-2: must be"),
    "swept_choice": (
        "hydra: {sweeper: {params: {activation: 'relu,tahn'}}}",
        "activation=tahn (in the preset): there is no such activation; did you mean tanh?",
    ),
    "swept_key": (
        "hydra: {sweeper: {params: {foo: '1,2'}}}",
        "foo=1 (in the preset): the configuration has no such key",
    ),
    "swept_syntax": ("hydra: {sweeper: {params: {lr: '[0.1'}}}", "lr=[0.1 (in the preset): cannot"),
    "plan": ("plan: 1", "plan=1: must be true or false"),
    "swept_plan": (
        "hydra: {sweeper: {params: {plan: 'true,false'}}}",
        "plan=true,false (in the preset): must be true or false, and cannot be swept",
    ),
    "launcher": ("hydra: {launcher: {workers: 0}}", "hydra.launcher.workers=0: must be auto or"),
    "contradiction": ("schedule: {warmup: 9999}", "schedule.warmup=9999: must be less than"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_mistakes_in_a_users_own_preset_are_found(
    command: Command, name: str, tmp_path: Path
) -> None:
    """A folder of one's own, with --config-dir."""
    content, begins = PRESETS[name]
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\n{content}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    answer = command("--config-dir", str(tmp_path), "experiment=mine")
    answer.is_refusal()
    (problem,) = answer.problems
    assert problem.startswith(begins)


def test_a_preset_that_is_no_yaml_is_refused(command: Command, tmp_path: Path) -> None:
    """Whatever the parser says about it."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("lr: [0.1\n  a: {", encoding="utf-8")
    command("--config-dir", str(tmp_path), "experiment=mine").is_refusal()


def test_the_command_line_wins_over_the_preset(command: Command, tmp_path: Path) -> None:
    """Also over what the preset sweeps, and over its mistakes."""
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nlr: -1\nhydra: {sweeper: {params: {seed: 'range(-5,5)'}}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    answer = command("--config-dir", str(tmp_path), "experiment=mine", "lr=0.5", "seed=3,4")
    assert [name[:-9] for name in answer.runs] == [
        "relu-xavier_uniform-lr0.5-seed3",
        "relu-xavier_uniform-lr0.5-seed4",
    ]


@pytest.mark.parametrize("flag", ["--nope", "-x", "--cfg", "--cfg=nope", "--info=nope"])
def test_an_unknown_flag_is_answered_with_the_usage(command: Command, flag: str) -> None:
    """By the argument parser, exit code 2."""
    answer = command(flag)
    assert "Traceback" not in answer.text
    assert answer.text.startswith("usage: lenet-bench")
    assert answer.code == 2
    assert not answer.imported_torch


@pytest.mark.parametrize(
    "arguments", [("-sc",), ("--experimental-rerun", "nope"), ("--package", "x", "--cfg", "job")]
)
def test_hydras_rarer_flags_give_no_traceback(command: Command, arguments: tuple[str, ...]) -> None:
    """Used wrongly, each is answered in words."""
    answer = command(*arguments)
    assert "Traceback" not in answer.text
    assert answer.code == 1


def test_a_folder_that_cannot_be_made_is_named(command: Command) -> None:
    """Hydra would warn and go on."""
    answer = command("hydra.sweep.dir=/proc/nope/runs")
    answer.is_refusal()
    assert "hydra.sweep.dir=/proc/nope/runs: cannot be made" in answer.text


def test_a_wish_for_a_traceback_is_granted(command: Command) -> None:
    """HYDRA_FULL_ERROR=1 is Hydra's own way to ask."""
    assert "Traceback" in command("-sc", HYDRA_FULL_ERROR="1").text


# --- what is allowed ------------------------------------------------------------------------------

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
    (("lr=0.1", "lr=0.2"), 1),
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


# --- the real process -----------------------------------------------------------------------------


def real(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command itself."""
    return subprocess.run(
        [sys.executable, "-m", "lenet_bench", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [("--help",), ("activation=rleu", "lr=-1", "seed=x")])
def test_an_answer_takes_less_than_two_seconds(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The one place where time is the criterion; the median of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = real(*arguments, folder=tmp_path)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == (0 if arguments == ("--help",) else 1)
    assert statistics.median(seconds) < 2


@pytest.mark.parametrize("arguments", ["--help", "--hydra-help", "-sc install=zsh"])
def test_a_reader_may_leave(arguments: str, tmp_path: Path) -> None:
    """As `head` does: no traceback, and the exit code of a broken pipe."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "lenet_bench", *arguments.split()],
            cwd=tmp_path, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 141


def test_ctrl_c_while_importing_is_no_traceback(tmp_path: Path) -> None:
    """What comes first is imported by a file that presses it."""
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    done = real("--help", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_version_is_lenet_benchs(tmp_path: Path) -> None:
    """Hydra's besides, as it reads the command line."""
    done = real("--version", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"lenet-bench {lenet_bench.__version__} (Hydra 1.")
    assert done.stderr == ""


def test_a_mistake_goes_to_standard_error(tmp_path: Path) -> None:
    """Standard output stays empty; the real process, from start to exit code."""
    done = real("activation=rleu", "seed=x", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lenet-bench: 2 mistakes in the configuration:")
    assert list(tmp_path.iterdir()) == []


def test_an_own_activation_that_is_none_is_refused(tmp_path: Path) -> None:
    """Found only when it is imported; then before anything is trained, and without a trace."""
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            def wave(x):
                return x
            """
        ),
        encoding="utf-8",
    )
    done = real(
        "dataset=fake", "dataset.images=150", "iterations=1", "batch_size=8",
        "activation=custom", "activation.path=mine:wave", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "mine:wave" in done.stderr


def test_mistakes_can_be_caught_in_python() -> None:
    """`ConfigError` lists them."""
    error = ConfigError(["a", "b", "a"])
    assert error.problems == ["a", "b"]
    assert str(error).splitlines()[0] == "2 mistakes in the configuration:"
