"""Mistakes in a command line: each in a line, all at once, without torch, without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hydra_app.conftest import Command
from tests.hydra_app.groups import CHOICES

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
    # Hydra's own launchers and those of installed plugins are allowed too.
    others = set(allowed) - set(CHOICES[group])
    assert set(CHOICES[group]) <= set(allowed)
    assert not others or group == "hydra/launcher"


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
    ("lr=${nope}", ("lr: Interpolation key 'nope' not found",)),
    ("lr=${nope:1}", ("lr: Unsupported interpolation type nope",)),
    ("lr=${lr}", ("lr: Recursive interpolation detected",)),
    ("lr=" + "9" * 400, ("lr=99999", "number")),
    ("lr=" + "x" * 20_000, ("lr=xxxx", "number")),
    ("~lr", ("lr: must be given",)),
    ('lr="0.01"', ("lr=0.01: must be a number greater than 0; '0.01' stands in quotes, which",)),
    ('seed="1"', ("seed=1: must be an integer", "'1' stands in quotes, which make it text")),
    ('probe.every="null"', ("'null' stands in quotes, which make it text: leave them out",)),
    ('lr="fast"', ("lr=fast: must be a number greater than 0",)),
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
    ("device=cuda:99999999999999999999", ("must be auto, cpu, mps, cuda or cuda:K",)),
    ("device=cuda:²", ("device=cuda:²: cannot be read",)),
    ("precision=float16", ("precision=float16: must be 'float32', 'float64' or 'bfloat16'",)),
    # more than a disk or a memory holds
    (
        "iterations=2000000000",
        ("iterations=2000000000: a run has at most 10,000,000 iterations; the train.csv of this "
         "one would take about 140 GB",),
    ),
    ("iterations=1" + "0" * 400, ("a run has at most 10,000,000 iterations",)),
    ("epochs=100000000", ("the 1,000,000,000 iterations of epochs=100000000: a run has at most",)),
    (
        "model.hidden=[1000000000]",
        ("model.channels=[6,16] model.hidden=[1000000000]: a run needs about 6,576 GB of memory; "
         "this machine has ",),
    ),
    ("model.hidden=[1" + "0" * 400 + "]", ("no machine has the memory for this network",)),
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
]  # fmt: skip


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
        ("activation.negative_slope=-1: must be a number >= 0",),
    ),
    (
        ("optimizer=sgd,adam", "optimizer.alpha=1"),
        ("optimizer.alpha=1: optimizer=sgd has", "optimizer.alpha=1: optimizer=adam has"),
    ),
    (("optimizer=sgd", "optimizer.eps=1"), ("optimizer.eps=1: optimizer=sgd has no such",)),
    (
        ("activation=relu,leaky_relu", "+activation.negative_slope=0.1"),
        ("+activation.negative_slope=0.1: activation.negative_slope is there already",),
    ),
    (
        ("experiment=relu_family", "hydra.mode=RUN", "activation.negative_slope=0.1"),
        ("activation.negative_slope=0.1: activation=relu has no such key",),
    ),
    (
        ("activation=relu,custom", "activation.path=no_such_module:Wave"),
        ("activation.path=no_such_module:Wave: no module 'no_such_module'",),
    ),
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
        ("dataset=fake", "dataset.images=1000000000000"),
        ("dataset.images=1000000000000: a run needs about 3,686,400 GB of memory; this machine",),
    ),
    (
        ("model.hidden=[120],[1000000000]", "precision=float32,float64"),
        ("model.channels=[6,16] model.hidden=[1000000000]: a run needs about 6,576 GB of memory",
         "model.channels=[6,16] model.hidden=[1000000000]: a run needs about 13,152 GB of memory"),
    ),
    (
        ("batch_size=1", "model.batch_norm=before"),
        ("batch_size=1: model.batch_norm=before needs at least 2 images in a batch",),
    ),
    (
        ("batch_size=1,2", "model.batch_norm=none,after"),
        ("batch_size=1: model.batch_norm=after needs at least 2 images in a batch",),
    ),
    (
        ("probe.images=1", "model.batch_norm=before"),
        ("probe.images=1: model.batch_norm=before needs at least 2 images",),
    ),
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
