"""Configuration: `conf/` says what the tables say, every key is checked, names tell runs apart."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.parameters import Parameter
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.config.errors import ConfigError, nearest
from lenet_bench.config.parse import parse
from lenet_bench.config.schema import RunConfig
from lenet_bench.hydra_app.check import check
from lenet_bench.hydra_app.groups import CONF, VERSION_BASE, register_activations
from lenet_bench.hydra_app.names import register_resolvers
from lenet_bench.hydra_app.plain import plain

TABLES: Mapping[str, Mapping[str, Any]] = {
    "init": SCHEMES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
INIT_KEYS = {"gain", "logits_gain", "bias"}  # of every scheme, besides its own
GROUPS = ("activation", "init", "optimizer", "schedule", "dataset", "model")
NEEDED = {  # values without which a choice is not complete
    "activation=custom": ("activation.path=torch.nn:ReLU",),
    "dataset=image_folder": ("dataset.root={images}",),
}


def files(group: str) -> dict[str, dict[str, Any]]:
    """The YAML files of a group, by name."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((CONF / group).glob("*.yaml"))
    }


@cache
def composed(*overrides: str, config_dir: str | None = None) -> dict[str, Any]:
    """What Hydra makes of a command line, as plain containers."""
    register_activations()
    register_resolvers()
    more = [f"hydra.searchpath=[{config_dir}]"] if config_dir else []
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        return plain(compose("config", [*more, *overrides]))


def changed(key: str, value: object, *overrides: str) -> dict[str, Any]:
    """A composed configuration with one key set."""
    config = pickle.loads(pickle.dumps(composed(*overrides)))
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[part]
    node[last] = value
    return config  # type: ignore[no-any-return]


def mistakes(config: Mapping[str, Any]) -> list[str]:
    """What `parse` has to say."""
    with pytest.raises(ConfigError) as caught:
        parse(config)
    return caught.value.problems


# --- conf/ against the tables ---------------------------------------------------------------------


@pytest.mark.parametrize("group", TABLES)
def test_a_group_has_a_file_for_each_entry_of_its_table(group: str) -> None:
    """Names, keys and defaults of the files are those of the table."""
    found = files(group)
    assert set(found) == set(TABLES[group])
    for name, entry in TABLES[group].items():
        content = dict(found[name])
        assert content.pop("name") == name
        if group == "init":
            assert set(content) >= INIT_KEYS
            content = {key: value for key, value in content.items() if key not in INIT_KEYS}
        assert content == {key: item.default for key, item in entry.parameters.items()}


@pytest.mark.parametrize("group", TABLES)
def test_a_groups_files_say_what_each_key_means(group: str) -> None:
    """A file opens with a comment, and so each key but the name has its own behind it."""
    for path in (CONF / group).glob("*.yaml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        for line in lines:
            key, _, rest = line.partition(":")
            if line[0] != "#" and key != "name":
                assert rest.partition("#")[2].strip(), f"{path}: {key}"


def test_activations_are_the_zoo_and_custom() -> None:
    """The group's choices, with the zoo's defaults."""
    assert set(files("activation")) == {"custom"}
    for name, entry in ACTIVATIONS.items():
        section = composed(f"activation={name}")["activation"]
        defaults = {key: parameter.default for key, parameter in entry.parameters.items()}
        assert section == {"name": name, **defaults}


def choices() -> Iterator[str]:
    """Every choice of every group."""
    for group in GROUPS:
        names = [*files(group), *(ACTIVATIONS if group == "activation" else ())]
        yield from (f"{group}={name}" for name in names)


@pytest.mark.parametrize("choice", list(choices()))
def test_every_choice_composes_and_parses(choice: str, tmp_path: Path) -> None:
    """Also: what is parsed dumps to what was composed, so nothing is silently converted."""
    (tmp_path / "train").mkdir()
    needed = [item.format(images=tmp_path) for item in NEEDED.get(choice, ())]
    config = composed(choice, *needed)
    run = parse(config)
    parsed = run.model_dump()
    group, _, name = choice.partition("=")
    assert parsed[group]["name"] == name
    for key, value in config.items():
        if isinstance(value, dict):
            assert {k: parsed[key][k] for k in value} == value
        else:
            assert getattr(run, key) == value


def test_the_defaults_are_those_of_the_design() -> None:
    """Section 4 of the design, to the letter."""
    config = parse(composed())
    assert [getattr(config, group).name for group in GROUPS] == [
        "relu", "xavier_uniform", "sgd", "constant", "digits", "lenet5",
    ]  # fmt: skip
    assert (config.lr, config.weight_decay, config.seed) == (0.01, 0, 0)
    assert (config.batch_size, config.iterations, config.epochs) == (128, 2000, None)
    assert (config.probe.every, config.probe.images, config.probe.tau) == (200, 1024, 0.1)
    assert (config.checkpoint.every, config.precision, config.device) == (500, "float32", "auto")
    assert config.optimizer.parameters == {"momentum": 0.9, "nesterov": False}
    assert config.init.parameters["gain"] == 1


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_composes_and_opens_with_its_command(path: Path) -> None:
    """The second line is the command, behind the package directive."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# lenet-bench experiment={path.stem}")
    parse(composed(f"experiment={path.stem}"))
    register_activations()
    register_resolvers()
    check([f"experiment={path.stem}"])
    assert "params" in yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["sweeper"]


# --- single values --------------------------------------------------------------------------------

# key, refused values, what the message must say
REFUSED: list[tuple[str, tuple[object, ...], str]] = [
    ("lr", (0, 0.0, -0.1), "greater than 0"),
    ("lr", ("fast", "0.1", True, None, [0.1]), "number"),
    ("lr", (float("nan"), float("inf"), float("-inf")), "finite"),
    ("weight_decay", (-1e-9,), "greater than or equal to 0"),
    ("weight_decay", (float("nan"), float("inf")), "finite"),
    ("seed", (-1,), "greater than or equal to 0"),
    ("seed", (2**63, 10**30), "less than 9223372036854775808"),
    ("seed", (0.0, 1.5, "0", True, None), "integer"),
    ("batch_size", (0, -1), "greater than or equal to 1"),
    ("batch_size", (128.0, None, "all"), "integer"),
    ("iterations", (0,), "greater than or equal to 1"),
    ("iterations", (None, 1e3), "integer"),
    ("epochs", (0, -3), "greater than or equal to 1"),
    ("epochs", (0.5,), "integer"),
    ("probe.every", (-1,), "greater than or equal to 0"),
    ("probe.images", (0,), "greater than or equal to 1"),
    ("probe.tau", (-0.1,), "greater than or equal to 0"),
    ("probe.tau", (1.1,), "less than or equal to 1"),
    ("probe.saturation", (0,), "greater than 0"),
    ("probe.saturation", (1,), "less than 1"),
    ("probe", (None, 5, "often"), "probe.KEY=VALUE"),
    ("evaluate.every", (-1,), "greater than or equal to 0"),
    ("evaluate.every", ("never",), "auto"),
    ("evaluate.train_images", (0,), "greater than or equal to 1"),
    ("checkpoint.every", (-1,), "greater than or equal to 0"),
    ("precision", ("float16", "double", 32), "'float32', 'float64' or 'bfloat16'"),
    ("device", ("gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""), "auto, cpu, mps, cuda or cuda:K"),
    ("report.target_loss", (0, -1), "greater than 0"),
    ("init.gain", (0, -1.0), "greater than 0"),
    ("init.gain", ("Auto",), "auto"),
    ("init.logits_gain", (0,), "greater than 0"),
    ("init.bias", ("none", float("nan")), "number"),
    ("optimizer.momentum", (-0.1, 1, 1.5, "x", True, float("nan")), "a number in [0, 1)"),
    ("optimizer.nesterov", (1, 0, "yes", None), "true or false"),
    ("schedule.warmup", (-1, 0.5, True), "an integer >= 0"),
    ("model.hidden", ([0],), "greater than or equal to 1"),
    ("model.hidden", (120, "120"), "list"),
    ("model.hidden", ([1.5], ["a"]), "integer"),
    ("model.channels", ([6], []), "at least 2 items"),
    ("model.channels", ([6, 16, 32],), "at most 2 items"),
    ("model.width", (0,), "greater than 0"),
    ("model.width", (65,), "less than or equal to 64"),
    ("model.pool", ("mean", None), "'max' or 'avg'"),
    ("model.batch_norm", (True, "yes"), "'none', 'before' or 'after'"),
    ("dataset.train_size", (0, -5), "greater than or equal to 1"),
    ("dataset.validation_size", (0, 1.0, 1.5, -1), "validation_size"),
    ("dataset.split_seed", (-1,), "greater than or equal to 0"),
    ("dataset.split_seed", (2**32,), "less than 4294967296"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [(key, value, says) for key, values, says in REFUSED for value in values],
)
def test_a_refused_value_is_named_with_its_key_and_what_is_allowed(
    key: str, value: object, says: str
) -> None:
    """One line a mistake, no jargon of the checking library."""
    problems = mistakes(changed(key, value))
    shown = "null" if value is None else str(value)
    shown = shown.lower() if isinstance(value, bool) else shown
    assert len(problems) == 1, problems
    for problem in problems:
        assert problem.startswith(f"{key}=")
        assert "\n" not in problem
        for jargon in ("Input", "validation", "instance", "constrained"):
            assert jargon not in problem.replace("validation_size", "")
    if isinstance(value, list):
        shown = f"[{','.join(map(str, value))}]"
    assert problems[0].startswith(f"{key}={shown}: ")
    assert says in problems[0]


# key, values of a wrong type, what is allowed: all of it, in one line
WRONG_TYPES: list[tuple[str, tuple[object, ...], str]] = [
    ("lr", ("abc", None, True, [0.1]), "a number greater than 0"),
    ("lr", (float("inf"),), "a finite number greater than 0"),
    ("seed", ("0", 0.5, None),
     "an integer greater than or equal to 0 and less than 9223372036854775808"),
    ("init.gain", (0, -1, "automatic", None, True), "'auto' or a number greater than 0"),
    ("init.bias", ("none", True), "a number or null"),
    ("evaluate.every", (-1, "never", None, 0.5),
     "'auto' or an integer greater than or equal to 0"),
    ("dataset.validation_size", (0, 1.5, -3, "abc", None, True),
     "an integer greater than or equal to 1 or a number greater than 0 and less than 1"),
    ("dataset.train_size", (0, "all", 1.5), "an integer greater than or equal to 1 or null"),
    ("epochs", (0, "x"), "an integer greater than or equal to 1 or null"),
    ("model.hidden", ([0], ["a"], [0, -1, "b"], 120),
     "a list, each item an integer greater than or equal to 1"),
    ("report.target_loss", (0, "x"), "a number greater than 0 or null"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [(key, value, allowed) for key, values, allowed in WRONG_TYPES for value in values],
)
def test_whatever_is_wrong_with_a_value_one_line_tells_all_that_is_allowed(
    key: str, value: object, allowed: str
) -> None:
    """Not one line for each thing it might have been."""
    (problem,) = mistakes(changed(key, value))
    assert problem.partition(": ")[2] == f"must be {allowed}"


def test_a_choice_that_there_is_not_is_named_in_words() -> None:
    """As it may stand in a preset of one's own."""
    (problem,) = mistakes(changed("activation.name", "rleu"))
    assert problem.startswith("activation=rleu: there is no such activation; did you mean relu? ")
    assert problem.endswith(", swish, tanh")


def ends_of_ranges() -> Iterator[tuple[str, str, Parameter]]:
    """Every parameter of every table, with the choice it belongs to."""
    tables = {"activation": ACTIVATIONS, **TABLES}
    for group, table in tables.items():
        for name, entry in table.items():
            for key, parameter in entry.parameters.items():
                yield f"{group}={name}", f"{group}.{key}", parameter


@pytest.mark.parametrize(("choice", "key", "parameter"), list(ends_of_ranges()))
def test_each_bound_of_each_parameter_is_kept(choice: str, key: str, parameter: Parameter) -> None:
    """The table's bound itself is allowed or refused as it says; beyond it nothing is."""
    beyond = []
    if parameter.low > float("-inf"):
        beyond.append(parameter.low if parameter.low_open else parameter.low - 1)
    if parameter.high < float("inf"):
        beyond.append(parameter.high if parameter.high_open else parameter.high + 1)
    for value in [*beyond, float("nan"), float("inf"), "x", None]:
        as_kind = int(value) if parameter.kind is int and value in beyond else value
        problems = mistakes(changed(key, as_kind, choice))
        assert any(
            problem.startswith(f"{key}=") and parameter.allowed in problem for problem in problems
        ), problems


def test_allowed_bounds_are_allowed() -> None:
    """The extreme values that are not refused."""
    for key, value in [
        ("seed", 2**63 - 1), ("weight_decay", 0), ("probe.every", 0), ("probe.tau", 0),
        ("probe.tau", 1), ("evaluate.every", 0), ("checkpoint.every", 0), ("epochs", 1),
        ("iterations", 1), ("batch_size", 1), ("model.hidden", []), ("model.width", 64),
        ("dataset.split_seed", 2**32 - 1), ("device", "cuda:7"), ("optimizer.momentum", 0),
        ("init.gain", "auto"), ("init.bias", -1.0), ("lr", 5e-324), ("lr", 1),
        ("dataset.validation_size", 0.5), ("dataset.validation_size", 10),
    ]:  # fmt: skip
        parse(changed(key, value))


@pytest.mark.parametrize(
    ("key", "overrides"),
    [
        ("dataset.size", ("dataset=fake",)),
        ("dataset.size", ("dataset=image_folder", "dataset.root=.")),
    ],
)
@pytest.mark.parametrize("size", [15, 0, -1, 513, 32.0])
def test_image_sizes_are_bounded(key: str, overrides: tuple[str, ...], size: object) -> None:
    """LeNet needs 16 pixels; beyond 512 it would need a fortune."""
    problems = mistakes(changed(key, size, *overrides))
    assert problems[0].startswith(f"dataset.size={size}: must be")


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_fake_images_are_grey_or_coloured(channels: int) -> None:
    """1 or 3 channels."""
    assert "1 or 3" in mistakes(changed("dataset.channels", channels, "dataset=fake"))[0]


def test_unknown_keys_are_refused_at_every_level() -> None:
    """At the top, in a section, and where they belong to another choice."""
    for key, value in [
        ("learning_rate", 0.1),
        ("probe.often", 1),
        ("activation.negative_slope", 0.1),
        ("optimizer.beta1", 0.9),
    ]:
        assert mistakes(changed(key, value)) == [f"{key}={value}: there is no such key"]


@pytest.mark.parametrize(
    "key", ["lr", "seed", "probe", "optimizer", "model.hidden", "activation.name"]
)
def test_a_missing_key_is_asked_for(key: str) -> None:
    """As happens with `~lr`."""
    config = changed(key, None)
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[part]
    del node[last]
    group = key.removesuffix(".name")
    assert any(problem.startswith((f"{key}:", f"{group}")) for problem in mistakes(config))


@pytest.mark.parametrize(
    ("overrides", "key"),
    [(("activation=custom",), "activation.path"), (("dataset=image_folder",), "dataset.root")],
)
def test_what_has_no_default_must_be_given(overrides: tuple[str, ...], key: str) -> None:
    """`???` in the files."""
    assert mistakes(composed(*overrides)) == [f"{key}: must be given, as in {key}=VALUE"]


def test_several_mistakes_are_reported_together() -> None:
    """A line each, and their number."""
    config = changed("lr", -1)
    config["seed"] = "x"
    config["probe"]["every"] = -1
    config["optimizer"]["momentum"] = 2
    with pytest.raises(ConfigError, match="4 mistakes in the configuration") as caught:
        parse(config)
    text = str(caught.value)
    for key in ("lr=-1", "seed=x", "probe.every=-1", "optimizer.momentum=2"):
        assert f"\n  {key}: must be" in text
    assert "--help" in text


# --- values that contradict each other ------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer.momentum": 0, "optimizer.nesterov": True}, "optimizer.nesterov=true"),
        ({"schedule.warmup": 2000}, "schedule.warmup=2000: must be less than the budget"),
        ({"dataset.train_size": 127}, "batch_size=128: must not exceed dataset.train_size=127"),
        ({"batch_size": 1298}, "batch_size=1298: must not exceed the 1,297 training images of"),
        ({"dataset.train_size": 1298}, "dataset.train_size=1298: does not fit the 1,297 training"),
        ({"dataset.validation_size": 1370}, "batch_size=128: must not exceed the 127 training"),
        ({"dataset.validation_size": 1488}, "dataset.validation_size=1488: does not fit the 1,497"),
        ({"dataset.validation_size": 0.001}, "dataset.validation_size=0.001 (1 images): does not"),
        ({"schedule.warmup": 20, "epochs": 2}, "schedule.warmup=20: must be less than the budget"),
        (
            {"schedule.warmup": 4, "epochs": 2, "dataset.train_size": 300},
            "schedule.warmup=4: must be less than the budget, the 4 iterations of epochs=2",
        ),
    ],
)
def test_contradictions_are_named(changes: dict[str, object], says: str) -> None:
    """One beyond the bound is refused."""
    config = composed()
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        inner = {**config[section], name: value} if section else value
        config = {**config, section or name: inner}
    (problem,) = mistakes(config)
    assert problem.startswith(says)


@pytest.mark.parametrize(
    ("dataset", "batch_size", "images"),
    [
        ("cifar10", 45001, "45,000"), ("cifar100", 45001, "45,000"),
        ("mnist", 55001, "55,000"), ("fashion_mnist", 55001, "55,000"), ("fake", 901, "900"),
    ],
)  # fmt: skip
def test_the_number_of_training_images_is_known_beforehand(
    dataset: str, batch_size: int, images: str
) -> None:
    """As the data sets' authors give it, less the validation images."""
    (problem,) = mistakes(changed("batch_size", batch_size, f"dataset={dataset}"))
    assert f"must not exceed the {images} training images of dataset={dataset}" in problem
    parse(changed("batch_size", batch_size - 1, f"dataset={dataset}"))


def test_fake_images_need_two_of_a_class() -> None:
    """One for training, one for validation."""
    (problem,) = mistakes(composed("dataset=fake", "dataset.images=19", "batch_size=1"))
    assert problem == "dataset.images=19: must be at least 2 for each of 10 classes"


def test_near_contradictions_are_allowed() -> None:
    """At the bound itself."""
    config = composed()
    optimizer = {"name": "sgd", "momentum": 0.5, "nesterov": True}
    dataset = {**config["dataset"], "train_size": 128}
    schedule = {"name": "constant", "warmup": 1999}
    parse({**config, "optimizer": optimizer, "dataset": dataset, "schedule": schedule})
    parse({**config, "schedule": {**schedule, "warmup": 999}, "epochs": 100})  # of 10 batches
    for key, value in [
        ("batch_size", 1297), ("dataset.train_size", 1297), ("dataset.validation_size", 1369),
    ]:  # fmt: skip
        parse(changed(key, value))
    parse(
        composed("dataset=fake", "dataset.images=20", "dataset.validation_size=10", "batch_size=10")
    )


def test_rrelu_needs_lower_below_upper() -> None:
    """The activation's own contradiction."""
    config = composed("activation=rrelu")
    section = {"name": "rrelu", "lower": 0.5, "upper": 0.25}
    problem = mistakes({**config, "activation": section})[0]
    assert "lower" in problem
    assert "0.5" in problem
    assert "0.25" in problem


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("mine", "not of the form package.module:Class"),
        ("mine:", "not of the form"),
        (":Wave", "not of the form"),
        ("mine.Wave", "not of the form"),
        ("no_such_module_here:Wave", "no module 'no_such_module_here'"),
        ("torch.no_such_part:Wave", "no module 'torch.no_such_part'"),
        ("", "not of the form"),
        ("torch.nn:Nope", "torch.nn has no class 'Nope'"),
        ("torch.nn:Sigmiod", "torch.nn has no class 'Sigmiod'; did you mean Sigmoid?"),
        ("os:system", "os is Python's own"),
        ("math:sin", "math is Python's own"),
        ("yaml:safe_load", "safe_load is a function, not a torch.nn.Module class"),
        (5, "must be a valid string"),
    ],
)
def test_a_bad_path_of_an_own_activation_is_named(path: object, says: str) -> None:
    """Without importing anything."""
    (problem,) = mistakes(changed("activation.path", path, "activation=custom"))
    assert problem.startswith(f"activation.path={path}: ")
    assert says in problem
    assert problem.count("activation.path") == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\nclass Wave(torch.nn.Module): pass",
        "if True:\n    class Wave: pass",
        "from other import Wave",
        "import other as Wave",
        "Wave = 3",
        "Wave: object",
        "for Wave in (): pass",
        "@decorated\ndef Wave(): pass",
        "from torch import *",  # torch fills its own globals when it is run
        "globals()['Wave'] = 3",
        "def __getattr__(name): ...",
        "this is no Python",
    ],
)
def test_what_may_be_a_class_is_left_to_the_import(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the source must not be stricter than running it."""
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    parse(changed("activation.path", "mine:Wave", "activation=custom"))
    (tmp_path / "mine.py").write_text("def Wave(): pass", encoding="utf-8")
    os.utime(tmp_path / "mine.py", ns=(1, 1))  # a clock too coarse to tell the two apart
    (problem,) = mistakes(changed("activation.path", "mine:Wave", "activation=custom"))
    assert "Wave is a function" in problem


def test_an_own_module_may_be_called_as_one_of_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is found first."""
    (tmp_path / "wave.py").write_text("class Wave: pass", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    parse(changed("activation.path", "wave:Wave", "activation=custom"))


def test_an_image_folder_has_to_exist_and_hold_train(tmp_path: Path) -> None:
    """Both said before anything is loaded."""
    config = composed("dataset=image_folder", "dataset.root=.")
    missing = {**config["dataset"], "root": str(tmp_path / "photos")}
    assert "there is no such folder" in mistakes({**config, "dataset": missing})[0]
    empty = {**config["dataset"], "root": str(tmp_path)}
    assert "train/" in mistakes({**config, "dataset": empty})[0]
    (tmp_path / "train").mkdir()
    parse({**config, "dataset": empty})


# --- what a configuration is ----------------------------------------------------------------------


def test_fingerprints_tell_configurations_apart() -> None:
    """Every changed key changes it; reading it again does not."""
    changes = [
        ("lr", 0.02), ("seed", 1), ("probe.tau", 0.2), ("model.hidden", [120]), ("epochs", 3),
        ("dataset.split_seed", 1), ("optimizer.momentum", 0.8), ("precision", "float64"),
    ]  # fmt: skip
    prints = [parse(composed()).fingerprint]
    prints += [parse(changed(key, value)).fingerprint for key, value in changes]
    assert len(set(prints)) == len(prints)
    assert parse(composed()).fingerprint == prints[0]
    assert all(len(item) == 8 and int(item, 16) >= 0 for item in prints)


def test_a_plan_is_no_part_of_a_run() -> None:
    """Neither of its fingerprint nor of what is said about it; older runs have no such key."""
    run, planned = parse(changed("plan", False)), parse(changed("plan", True))
    assert planned.plan
    assert planned.fingerprint == run.fingerprint
    assert "plan" not in planned.model_dump()
    older = changed("plan", False)
    del older["plan"]
    assert parse(older) == run


def test_an_integer_means_the_same_as_the_float() -> None:
    """`lr=1` and `lr=1.0` are one configuration, and so are momentum=0 and momentum=0.0."""
    for key in ("lr", "optimizer.momentum"):
        value = 0 if key != "lr" else 1
        one, other = parse(changed(key, value)), parse(changed(key, float(value)))
        assert one.fingerprint == other.fingerprint


def test_configurations_travel_between_processes() -> None:
    """Workers receive them pickled."""
    config = parse(composed("activation=leaky_relu"))
    copy: RunConfig = pickle.loads(pickle.dumps(config))
    assert copy.model_dump() == config.model_dump()
    assert copy.fingerprint == config.fingerprint


def test_configurations_cannot_be_changed() -> None:
    """Frozen at every level."""
    config = parse(composed())
    with pytest.raises(ValueError, match="frozen"):
        config.lr = 1.0
    with pytest.raises(ValueError, match="frozen"):
        config.optimizer.name = "adam"


def test_the_nearest_word_is_named_only_when_it_is_near() -> None:
    """`did you mean` is worth it only then."""
    assert nearest("rleu", ["relu", "tanh"]) == "did you mean relu? "
    assert nearest("zzz", ["relu", "tanh"]) == ""
