"""The typed schema of one run's configuration: every key of `conf/`, its type and its range.

In: the mapping that Hydra composed. Out: a frozen `RunConfig`, or a `ConfigError` that lists every
mistake at once. Nothing here imports torch, so that a mistake is answered in about a second.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

import pydantic
from pydantic import BaseModel, ConfigDict, Field, create_model

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.custom import check_custom_path
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.parameters import Parameter
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.choices.split_sizes import KNOWN, Facts, check_train_size, validation_images
from lenet_bench.common.errors import DatasetError, UserError
from lenet_bench.config.budget import warmup_problem

MISSING = "???"  # OmegaConf's mark for a value that the user has to give


class ConfigError(UserError):
    """One or several mistakes in the configuration; `problems` holds a line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        count = len(self.problems)
        head = "1 mistake" if count == 1 else f"{count} mistakes"
        super().__init__(
            "\n".join(
                [
                    f"{head} in the configuration:",
                    *(f"  {problem}" for problem in self.problems),
                    "See lenet-bench --help for the groups and the keys.",
                ]
            )
        )


class Section(BaseModel):
    """A part of the configuration: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Choice(Section):
    """The chosen member of a group (activation, init, optimizer, schedule) and its parameters."""

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the name: the keyword arguments of the chosen member."""
        return self.model_dump(exclude={"name"})


def _field(parameter: Parameter) -> Any:
    """The pydantic type of a table's `Parameter`; its range is checked by the table itself."""

    def check(value: Any) -> Any:
        problem = parameter.problem(value)
        if problem:
            raise ValueError(problem)
        return parameter.kind(value)

    return Annotated[Any, pydantic.AfterValidator(check)]


def _one_of(table: Mapping[str, Mapping[str, Any]], *extra: type[Choice]) -> Any:
    """A union of one model per table entry, told apart by `name`."""
    models: list[type[Choice]] = [
        create_model(
            f"{name}_choice",
            __base__=Choice,
            name=(Literal[name], ...),  # type: ignore[call-overload]
            **{
                key: (_field(kind) if isinstance(kind, Parameter) else kind, ...)
                for key, kind in parameters.items()
            },
        )
        for name, parameters in table.items()
    ]
    return Annotated[Union[(*models, *extra)], Field(discriminator="name")]


def _given(value: str) -> str:
    if value == MISSING:
        raise ValueError("must be given")
    return value


def _importable(path: str) -> str:
    problem = check_custom_path(path)
    if problem:
        raise ValueError(problem.removeprefix(f"activation.path={path!r}").lstrip(": "))
    return path


class CustomActivation(Choice):
    """The user's own `torch.nn.Module`, named by its import path `package.module:Class`."""

    name: Literal["custom"]
    path: Annotated[str, pydantic.AfterValidator(_importable)]


if TYPE_CHECKING:
    ActivationChoice: TypeAlias = Choice
    InitChoice: TypeAlias = Choice
    OptimizerChoice: TypeAlias = Choice
    ScheduleChoice: TypeAlias = Choice
else:
    ActivationChoice = _one_of(
        {name: entry.parameters for name, entry in ACTIVATIONS.items()}, CustomActivation
    )
    _GAIN = Annotated[float, Field(gt=0)]
    InitChoice = _one_of(
        {
            name: {
                **scheme.parameters,
                "gain": Literal["auto"] | _GAIN,
                "logits_gain": _GAIN,
                "bias": float | None,
            }
            for name, scheme in SCHEMES.items()
        }
    )
    OptimizerChoice = _one_of({name: kind.parameters for name, kind in OPTIMIZERS.items()})
    ScheduleChoice = _one_of({name: kind.parameters for name, kind in SCHEDULES.items()})

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class DatasetConfig(Section):
    """Which images, and how they are split."""

    name: Literal["digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "image_folder", "fake"]
    root: Annotated[str, pydantic.AfterValidator(_given)] | None = None
    size: Annotated[int, Field(ge=16, le=512)] | None = None
    images: Count | None = None
    classes: Annotated[int, Field(ge=2)] | None = None
    channels: Literal[1, 3] | None = None
    train_size: Count | None
    validation_size: Count | Share
    split_seed: Annotated[int, Field(ge=0, lt=2**32)]


class ModelConfig(Section):
    """The LeNet's shape; `width` multiplies `channels` and `hidden`."""

    name: Literal["lenet5", "lenet_caffe"]
    channels: Annotated[list[Count], Field(min_length=2, max_length=2)]
    hidden: Annotated[list[Count], Field(max_length=64)]
    width: Annotated[float, Field(gt=0, le=64)]
    pool: Literal["max", "avg"]
    batch_norm: Literal["none", "before", "after"]

    def scaled(self, units: int) -> int:
        """`units` times `width`, rounded, at least 1."""
        return max(1, round(units * self.width))


class ProbeConfig(Section):
    """When and on what the layers are probed, and from where on a unit counts as what."""

    every: CountOrZero
    images: Count
    tau: Annotated[float, Field(ge=0, le=1)]
    saturation: Share


class EvaluateConfig(Section):
    """When the splits are evaluated; `train_images` bounds the sample of the training split."""

    every: Literal["auto"] | CountOrZero
    train_images: Count | None


class CheckpointConfig(Section):
    """Iterations between checkpoints of `weights.pt`; 0 keeps only the last."""

    every: CountOrZero


class ReportConfig(Section):
    """What the report compares; `target_loss` null is half of chance, ln(classes) / 2 nats."""

    target_loss: Annotated[float, Field(gt=0)] | None


class RunConfig(Section):
    """The whole configuration of one run."""

    activation: ActivationChoice
    init: InitChoice
    optimizer: OptimizerChoice
    schedule: ScheduleChoice
    dataset: DatasetConfig
    model: ModelConfig
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    batch_size: Count
    iterations: Count
    epochs: Count | None
    probe: ProbeConfig
    evaluate: EvaluateConfig
    checkpoint: CheckpointConfig
    precision: Literal["float32", "float64", "bfloat16"]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    report: ReportConfig
    # Says what the command does, nothing about the run; so it is in no dump and no fingerprint.
    plan: Annotated[bool, Field(exclude=True)] = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as plain values: the models of the choices are made at import."""
        return RunConfig.model_validate, (self.model_dump(),)

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that tell this configuration from every other."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def validate(composed: Mapping[str, Any]) -> RunConfig:
    """Check every value of a composed configuration by itself: a part of `parse`."""
    try:
        return RunConfig.model_validate(dict(composed))
    except pydantic.ValidationError as error:
        raise ConfigError(_describe(item, composed) for item in error.errors()) from None


def parse(composed: Mapping[str, Any]) -> RunConfig:
    """Check a composed configuration (a plain mapping without the `hydra` node).

    Raises:
        ConfigError: Lists every mistake: the key, the value given, and what is allowed.
    """
    config = validate(composed)
    problems = list(_contradictions(config))
    if problems:
        raise ConfigError(problems)
    return config


def nearest(word: str, allowed: Iterable[str], prefix: str = "") -> str:
    """`did you mean X? ` for the closest allowed word, or nothing where none is close."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"did you mean {prefix}{close[0]}? " if close else ""


def as_typed(value: Any) -> str:
    """A value as one types it on the command line: null, true, [120,84]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return str(value)


def _describe(error: Any, composed: Mapping[str, Any]) -> str:
    """One mistake found by pydantic, as `key=value: what is allowed`.

    Pydantic reports a value once for each branch of its type and each item of a list; said of the
    whole value, these are the same line, which `ConfigError` holds once.
    """
    names, schema = _key_and_schema(error["loc"])
    key, value, kind = ".".join(names), error["input"], error["type"]
    if value == MISSING or kind == "missing":
        return f"{key}: must be given, as in {key}=VALUE"
    if kind == "extra_forbidden":
        return f"{'.'.join([*names, str(error['loc'][-1])])}={value}: there is no such key"
    if kind == "union_tag_invalid":
        allowed = list(schema["discriminator"]["mapping"])
        near = nearest(str(value["name"]), allowed)
        return f"{key}={value['name']}: there is no such {key}; {near}allowed: {', '.join(allowed)}"
    value = _value_at(composed, names)
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if kind == "model_type":
        message = f"must be set key by key, as in {key}.KEY=VALUE"
    elif kind in ("too_short", "too_long"):
        message = message.replace("List should", "must").split(" after")[0]
    elif "pattern" in schema:
        message = "must be auto, cpu, mps, cuda or cuda:K"
    elif "anyOf" in schema or "items" in schema:
        message = f"must be {_in_words(schema)}"
    elif schema.get("type") in _NOUNS and kind not in _BEYOND_A_BOUND:
        message = f"must be {_in_words(schema)}"
        if kind == "finite_number":
            message = message.replace("a number", "a finite number")
    return f"{key}={as_typed(value)}: {message}"


_BEYOND_A_BOUND = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_NOUNS = {"integer": "an integer", "number": "a number", "boolean": "true or false"}
_BOUNDS = {
    "exclusiveMinimum": "greater than",
    "minimum": "greater than or equal to",
    "exclusiveMaximum": "less than",
    "maximum": "less than or equal to",
}


@cache
def _schema() -> dict[str, Any]:
    return RunConfig.model_json_schema()


def _key_and_schema(location: Sequence[str | int]) -> tuple[list[str], dict[str, Any]]:
    """The key that a location of pydantic's lies in, and the JSON schema of its values."""
    schema, names = _schema(), []
    for part in location:
        if "discriminator" in schema:  # the part is the choice, which is no part of the key
            schema = _followed(schema["discriminator"]["mapping"][part])
        elif part in schema.get("properties", {}):
            names.append(str(part))
            schema = schema["properties"][part]
            schema = _followed(schema["$ref"]) if "$ref" in schema else schema
        else:  # an item of a list, or a branch of a union
            break
    return names, schema


def _followed(reference: str) -> dict[str, Any]:
    found: dict[str, Any] = _schema()["$defs"][reference.rpartition("/")[2]]
    return found


def _in_words(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows: "'auto' or an integer greater than or equal to 0"."""
    if "anyOf" in schema:
        return " or ".join(_in_words(branch) for branch in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"a list, each item {_in_words(schema['items'])}"
    noun = _NOUNS.get(schema["type"]) or {"string": "a text"}.get(schema["type"], schema["type"])
    bounds = [f"{words} {schema[key]}" for key, words in _BOUNDS.items() if key in schema]
    return f"{noun} {' and '.join(bounds)}" if bounds else noun


def _value_at(composed: Mapping[str, Any], names: Iterable[str]) -> Any:
    value: Any = composed
    for name in names:
        value = value[name]
    return value


# Keys, or beginnings of keys, whose values `_contradictions` holds against others.
INTERPLAY = (
    "activation.", "optimizer.", "schedule.", "dataset.", "batch_size", "iterations", "epochs",
)  # fmt: skip


def _contradictions(config: RunConfig) -> Iterable[str]:
    """What no single key can show: values that are each allowed but not together."""
    optimizer = config.optimizer.parameters
    if optimizer.get("nesterov") and not optimizer["momentum"]:
        yield "optimizer.nesterov=true: needs optimizer.momentum > 0"
    if config.activation.name != "custom":
        entry = ACTIVATIONS[config.activation.name]
        if conflict := entry.conflict(**config.activation.parameters):
            yield f"activation={entry.name}: {conflict}"
    images, problems = _training_images(config)
    yield from problems
    if problem := warmup_problem(config, images):
        yield problem
    dataset = config.dataset
    if dataset.name == "image_folder" and dataset.root is None:
        yield "dataset.root=null: must be given, as in dataset.root=FOLDER"
    elif dataset.name == "image_folder":
        folder = Path(str(dataset.root)).expanduser()
        if not folder.is_dir():
            yield f"dataset.root={dataset.root}: there is no such folder"
        elif not (folder / "train").is_dir():
            yield (
                f"dataset.root={dataset.root}: the folder holds no train/ folder; "
                "it must hold train/<class>/<images>"
            )


def _training_images(config: RunConfig) -> tuple[int | None, list[str]]:
    """How many images will be trained on, None where only reading the data would tell.

    Returns:
        The number, and what is wrong with the sizes of splits and batch.
    """
    dataset = config.dataset
    known = KNOWN.get(dataset.name)
    if dataset.name == "fake":
        images, classes = dataset.images or 1000, dataset.classes or 10
        known = Facts(images, images // 5, classes, dataset.channels or 3)
        if images < 2 * classes:
            return None, [
                f"dataset.images={images}: must be at least 2 for each of {classes} classes"
            ]
    training, problems = dataset.train_size, []
    if known is not None:
        available, classes = known.train, known.classes
        try:
            available -= validation_images(dataset.validation_size, available, classes)
            if dataset.train_size is not None:
                check_train_size(dataset.train_size, available, classes)
            training = training or available
        except DatasetError as error:
            problems.append(str(error))
    if training is not None and training < config.batch_size:
        most = (
            f"dataset.train_size={training}"
            if dataset.train_size is not None
            else f"the {training:,} training images of dataset={dataset.name}"
        )
        problems.append(f"batch_size={config.batch_size}: must not exceed {most}")
    return training, problems
