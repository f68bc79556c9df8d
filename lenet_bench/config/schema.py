"""The typed schema of one run's configuration: every key of `conf/`, its type and its range.

In: the tables of `choices`. Out: pydantic models with `RunConfig` at the top, which `parse` uses.
Nothing here imports torch, so that a mistake is answered in about a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

import pydantic
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
)

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.custom import check_custom_path
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.parameters import Parameter
from lenet_bench.choices.schedules import SCHEDULES
from lenet_bench.config.errors import MISSING


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

    def check(value: Any) -> bool | int | float:
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
    """Iterations between checkpoints; 0 makes them only when a run is stopped."""

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
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$")]
    report: ReportConfig
    reproducible: bool = False
    # These say what the command does, nothing about the run: they are in no dump, no fingerprint.
    plan: Annotated[bool, Field(exclude=True)] = False
    resume_anyway: Annotated[bool, Field(exclude=True)] = False

    def __reduce__(self) -> tuple[Callable[..., RunConfig], tuple[dict[str, object]]]:
        """Pickle as plain values: the models of the choices are made at import."""
        return RunConfig.model_validate, (self.model_dump(),)

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked_for(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `reproducible` where it is false: then it changes nothing, no fingerprint."""
        content: dict[str, Any] = dump(self)
        if not self.reproducible:
            content.pop("reproducible", None)
        return content

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that tell this configuration from every other."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:8]
