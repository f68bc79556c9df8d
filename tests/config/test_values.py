"""Every key is checked by itself: type, range and choice, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.parameters import Parameter
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.config.errors import ConfigError
from lenet_bench.config.parse import parse
from tests.config.composed import changed, composed, mistakes

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
    hint = "; '0' stands in quotes, which make it text: leave them out" if value == "0" else ""
    assert problem.partition(": ")[2] == f"must be {allowed}{hint}"


def test_a_choice_that_there_is_not_is_named_in_words() -> None:
    """As it may stand in a preset of one's own."""
    (problem,) = mistakes(changed("activation.name", "rleu"))
    assert problem.startswith("activation=rleu: there is no such activation; did you mean relu? ")
    assert problem.endswith(", swish, tanh")


def ends_of_ranges() -> Iterator[tuple[str, str, Parameter]]:
    """Every parameter of every table, with the choice it belongs to."""
    tables: Mapping[str, Mapping[str, Any]] = {
        "activation": ACTIVATIONS,
        "init": SCHEMES,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
    }
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
