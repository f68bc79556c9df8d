"""`conf/` says what the tables of choices say, and every choice and preset composes and parses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.config.parse import parse
from lenet_bench.hydra_app import conf_files
from lenet_bench.hydra_app.check import check
from lenet_bench.hydra_app.conf_files import out_of_date
from lenet_bench.hydra_app.groups import CONF
from lenet_bench.hydra_app.names import register_resolvers
from tests.config.composed import composed

TABLES: Mapping[str, Mapping[str, Any]] = {
    "activation": ACTIVATIONS,
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


@pytest.mark.parametrize("group", TABLES)
def test_a_group_has_a_file_for_each_entry_of_its_table(group: str) -> None:
    """Names, keys and defaults of the files are those of the table."""
    found = files(group)
    by_hand = {"custom"} if group == "activation" else set()
    assert set(found) == {*TABLES[group], *by_hand}
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


def test_the_files_are_those_that_the_tables_give() -> None:
    """What `make lint` checks: `make conf` would change nothing."""
    assert list(out_of_date(CONF)) == []


def test_an_activations_file_opens_with_its_formula_and_names_its_paper() -> None:
    for name, entry in ACTIVATIONS.items():
        lines = (CONF / "activation" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        top = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        assert top.startswith(f"f(x) = {entry.formula} {entry.reference} ")


def test_files_that_are_stale_missing_or_surplus_are_named_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` only names them; without it they are written or removed."""
    shutil.copytree(CONF, tmp_path / "conf")
    group = tmp_path / "conf" / "activation"
    with (group / "elu.yaml").open("a", encoding="utf-8") as file:
        file.write("beta: 1.0\n")
    (group / "tanh.yaml").unlink()
    (group / "gone.yaml").write_text("name: gone\n", encoding="utf-8")
    wrong = [(group / "elu.yaml", "stale"), (group / "tanh.yaml", "missing")]
    wrong = sorted([*wrong, (group / "gone.yaml", "surplus")])
    arguments = ["--folder", str(tmp_path / "conf")]

    assert conf_files.main([*arguments, "--check"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert sorted(told) == [f"{path}: {problem}; run make conf" for path, problem in wrong]
    assert sorted(out_of_date(tmp_path / "conf")) == wrong

    assert conf_files.main(arguments) == 0
    assert conf_files.main([*arguments, "--check"]) == 0
    for path in CONF.rglob("*.yaml"):
        copy = tmp_path / "conf" / path.relative_to(CONF)
        assert copy.read_bytes() == path.read_bytes()
    assert not (group / "gone.yaml").exists()


def choices() -> Iterator[str]:
    """Every choice of every group."""
    for group in GROUPS:
        yield from (f"{group}={name}" for name in files(group))


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
    register_resolvers()
    check([f"experiment={path.stem}"])
    assert "params" in yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["sweeper"]
