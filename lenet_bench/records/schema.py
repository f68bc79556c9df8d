"""The columns of every CSV: name, dtype, meaning and unit of measure, each written down once.

In: nothing; this file holds the facts. Out: headers for writers, dtypes for readers, tables for the
documentation, rows for tests that make up run directories.

The three CSVs of a run have a row type each, a NamedTuple: what the training loop writes is what
the reader expects. The CSVs of a sweep are frames, so their columns are plain `Column`s; keys of
the configuration that vary stand in front of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

Dtype = Literal["int64", "float64", "str", "bool", "boolean"]
"""Of pandas; all but `int64` and `bool` can be missing."""

Dtypes = Mapping[str, Dtype]


@dataclass(frozen=True)
class Meaning:
    """What the values of a column say, and in which unit."""

    words: str
    unit: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a CSV; `optional` says that its cells may be empty."""

    name: str
    dtype: Dtype
    meaning: str
    unit: str = ""
    optional: bool = False


# --- the CSVs of a run ------------------------------------------------------------------------


class TrainRow(NamedTuple):
    """A row of `train.csv`: one iteration."""

    iteration: Annotated[int, Meaning("the mini-batch update; the first is 1")]
    epoch: Annotated[int, Meaning("which time through the training images, from 1")]
    lr: Annotated[float, Meaning("the learning rate of this update, as the schedule sets it")]
    loss: Annotated[
        float, Meaning("mean cross-entropy of the mini-batch before the update", "nats")
    ]
    accuracy: Annotated[float, Meaning("fraction of the mini-batch classified correctly before it")]
    grad_norm: Annotated[float, Meaning("Euclidean norm of the gradient of all parameters")]


class EvaluationRow(NamedTuple):
    """A row of `evaluation.csv`: one evaluation of one split."""

    iteration: Annotated[int, Meaning("updates made before it; 0 is the untrained network")]
    epoch: Annotated[
        int, Meaning("which time through the training images, from 1; 0 before training")
    ]
    split: Annotated[str, Meaning("train (a fixed sample), validation, or test (once, at the end)")]
    loss: Annotated[float, Meaning("mean cross-entropy", "nats")]
    accuracy: Annotated[float, Meaning("fraction of images classified correctly")]


class LayerRow(NamedTuple):
    """A row of `layers.csv`: one probe of one layer; the logits have norms only."""

    iteration: Annotated[int, Meaning("updates made before it; 0 is the untrained network")]
    layer: Annotated[str, Meaning("conv1, conv2, fc1, fc2, ..., logits")]
    units: Annotated[int, Meaning("feature maps or neurons of a hidden layer; 0 for the logits")]
    dead_fraction: Annotated[
        float | None,
        Meaning(
            "fraction of units with f'(z) = 0 at every input: no gradient reaches their weights"
        ),
    ]
    dormant_fraction: Annotated[
        float | None,
        Meaning(
            "fraction of units whose mean |f(z)| is at most `probe.tau` times the mean of the layer"
        ),
    ]
    saturated_fraction: Annotated[
        float | None,
        Meaning(
            "fraction of pairs of unit and input with |f'(z)| below `probe.saturation` of its "
            "maximum; empty where no maximum is known"
        ),
    ]
    zero_fraction: Annotated[
        float | None, Meaning("fraction of pairs of unit and input with f(z) = 0")
    ]
    died: Annotated[int | None, Meaning("units dead now and not at the previous probe")]
    revived: Annotated[int | None, Meaning("units dead at the previous probe and not now")]
    activation_mean: Annotated[float | None, Meaning("mean of f(z) over units and inputs")]
    activation_std: Annotated[
        float | None, Meaning("standard deviation of f(z) over units and inputs")
    ]
    preactivation_mean: Annotated[float | None, Meaning("mean of z over units and inputs")]
    preactivation_std: Annotated[
        float | None, Meaning("standard deviation of z over units and inputs")
    ]
    weight_norm: Annotated[float, Meaning("Euclidean norm of the layer's weight")]
    gradient_norm: Annotated[
        float,
        Meaning("Euclidean norm of the weight's gradient on the probe set's first mini-batch"),
    ]


def _columns(row: type[Any]) -> tuple[Column, ...]:
    """The columns that a row type's fields declare."""
    columns = []
    for name, hint in get_type_hints(row, include_extras=True).items():
        kind, meaning = get_args(hint)
        optional = type(None) in get_args(kind)
        columns.append(Column(name, _dtype(kind), meaning.words, meaning.unit, optional))
    return tuple(columns)


def _dtype(kind: Any) -> Dtype:
    """Of a field's type; integers that can be missing are read as floats."""
    kinds = set(get_args(kind)) if get_origin(kind) is not None else {kind}
    if kind is str:
        return "str"
    return "int64" if kinds == {int} else "float64"


RUN_TABLES: Mapping[str, tuple[Column, ...]] = MappingProxyType(
    {
        "train": _columns(TrainRow),
        "evaluation": _columns(EvaluationRow),
        "layers": _columns(LayerRow),
    }
)
"""The CSVs of a run directory, by name without `.csv`."""

# --- the CSVs of a sweep ----------------------------------------------------------------------

METRICS = (
    Column("train_loss", "float64", "last evaluation of the training sample", "nats"),
    Column("train_accuracy", "float64", "last evaluation of the training sample"),
    Column("validation_loss", "float64", "last evaluation of the validation split", "nats"),
    Column("validation_accuracy", "float64", "last evaluation of the validation split"),
    Column("test_loss", "float64", "of the test split, after the last update", "nats"),
    Column("test_accuracy", "float64", "of the test split, after the last update"),
    Column("best_validation_accuracy", "float64", "highest validation accuracy of the run"),
    Column("best_validation_iteration", "float64", "the iteration of its first occurrence"),
)
"""The section `metrics` of `status.json`."""

SUMMARY = (
    Column("status", "str", "running, finished, diverged, interrupted or failed"),
    Column("error", "str", "what went wrong, of a run that diverged or failed"),
    Column("iteration", "float64", "last iteration recorded"),
    Column("budget", "float64", "iterations that the run was to have"),
    Column("seconds", "float64", "the run's part of its stack's wall time", "s"),
    Column("classes", "float64", "classes of the data set"),
    Column("final_train_loss", "float64", "mean over the last 25 iterations", "nats"),
    Column("mean_train_loss", "float64", "mean over all iterations", "nats"),
    Column("target_loss", "float64", "training loss that counts as the target", "nats"),
    Column(
        "iterations_to_target",
        "float64",
        "first iteration at which the mean of the last 25 losses is at or below the target",
    ),
    Column("target_reached", "boolean", "empty where the record cannot tell"),
    Column("seconds_to_target", "float64", "the run's seconds by that iteration", "s"),
    Column("target_accuracy", "float64", "half-way between chance and 1"),
    Column(
        "iterations_to_accuracy",
        "float64",
        "first evaluation whose validation accuracy is at or above it",
    ),
    Column("accuracy_reached", "boolean", "empty where the record cannot tell"),
    Column("seconds_to_accuracy", "float64", "the run's seconds by that iteration", "s"),
    Column("evaluated_train_loss", "float64", "last evaluation of the training sample", "nats"),
    Column("evaluated_train_accuracy", "float64", "last evaluation of the training sample"),
    Column("final_validation_loss", "float64", "last evaluation of the validation split", "nats"),
    Column("final_validation_accuracy", "float64", "last evaluation of the validation split"),
    Column("best_validation_accuracy", "float64", "highest validation accuracy of the run"),
    Column("best_validation_iteration", "float64", "the iteration of its first occurrence"),
    Column("test_loss", "float64", "of the test split, after the last update", "nats"),
    Column("test_accuracy", "float64", "of the test split, after the last update"),
    Column("trained_on", "str", "the device"),
    Column("commit", "str", "git commit of the source, `+` where files differed from it"),
    Column("started", "str", "UTC"),
    Column("ended", "str", "UTC"),
    Column("directory", "str", "the run directory, from the folder of `summary.csv`"),
)
"""Of `summary.csv`, a row per run, behind `run`, `sweep` and the configuration."""

COMPARISONS = (
    Column("quantity", "str", "what is compared"),
    Column("a", "str", "label of one line"),
    Column("b", "str", "label of the other"),
    Column("seeds", "int64", "pairs that have a value"),
    Column("mean_a", "float64", "mean over these seeds"),
    Column("mean_b", "float64", "mean over these seeds"),
    Column("difference", "float64", "mean of a - b"),
    Column("low", "float64", "lower end of its 95 % bootstrap interval"),
    Column("high", "float64", "upper end"),
    Column("p_value", "float64", "of the two-sided paired t test"),
    Column("p_holm", "float64", "after Holm's correction over the pairs of quantity and panel"),
    Column("effect_size", "float64", "mean in standard deviations of the differences (Hedges)"),
    Column("probability", "float64", "fraction of pairs with a > b; ties count half"),
    Column("never_a", "int64", "runs of a that never reached the target"),
    Column("never_b", "int64", "runs of b that never reached the target"),
    Column("verdict", "str", "in words"),
)
"""Of `comparisons.csv`, a row per pair of lines and quantity, behind the panel's keys."""

TUNED_QUANTITIES = (
    *("mean_train_loss", "final_train_loss", "validation_loss", "test_accuracy"),
    "iterations_to_target",
)
"""What is reported at the shared and at the tuned rate."""

SETTINGS = ("shared", "tuned")
"""A line's learning rate: one for all lines of a panel, or its own best."""

TUNED = (
    Column("rates", "str", "the learning rates that were tried"),
    Column("tuned_lr", "float64", "the line's best learning rate"),
    Column(
        "on_edge",
        "str",
        "`lowest` or `highest` if the best learning rate is at an end of the tried ones, "
        "else `none`",
    ),
    Column("choosing_seeds", "str", "the seeds that chose the learning rates"),
    Column("reporting_seeds", "str", "the seeds that the numbers are of"),
    Column("shared_lr", "float64", "the best learning rate for all lines of the panel together"),
    *(
        Column(f"{quantity}_{setting}_{part}", "float64", f"{words} at the {setting} learning rate")
        for quantity in TUNED_QUANTITIES
        for setting in SETTINGS
        for part, words in (
            ("mean", "mean"),
            ("low", "lower end of its 95 % interval"),
            ("high", "upper end"),
        )
    ),
    *(
        Column(f"{outcome}_{setting}", "int64", f"{words} at the {setting} learning rate")
        for outcome, words in (
            ("never", "runs that never reached the target"),
            ("diverged", "runs that diverged"),
        )
        for setting in SETTINGS
    ),
)
"""Of `tuned.csv`, a row per panel and line, behind their keys."""

CLAIMS = (
    Column("claim", "str", "its identifier"),
    Column("statement", "str", "in plain words"),
    Column("verdict", "str", "supported, refuted or inconclusive"),
    Column(
        "effect",
        "float64",
        "of the comparison that decides, in the unit of measure that the note says",
    ),
    Column("low", "float64", "lower end of its 95 % interval"),
    Column("high", "float64", "upper end"),
    Column("p_value", "float64", "after Holm's correction"),
    Column("seeds", "int64", "how many the verdict rests on"),
    Column("preset", "str", "whose runs decide it; `exact` is computed, `activation_cost` timed"),
    Column("note", "str", "how the verdict came about"),
    Column("dataset", "str", "of these runs"),
)
"""Of `claims.csv`, a row per claim and data set."""

FRACTIONS = (
    Column(
        "dead_fraction",
        "float64",
        "fraction of all hidden units that are dead at the last probe in training",
    ),
    Column("dormant_fraction", "float64", "fraction of them that are dormant at the same probe"),
    Column("zero_fraction", "float64", "fraction of zero activations at the same probe"),
)
"""Of `evidence.csv`: the hidden layers at the end of a run."""

SEEN = (
    Column(
        "deaths",
        "float64",
        "number of deaths; a unit that is dead at iteration 0 counts too; a unit can die several "
        "times",
    ),
    Column("revived", "float64", "number of times that a dead unit came back to life"),
    Column("largest_dead_fraction", "float64", "of a hidden layer at any probe"),
    Column("largest_gradient_norm", "float64", "of a hidden layer at any probe"),
)
"""Of `evidence.csv`: what any probe saw, that of the untrained network included."""

GRADIENT_RATIOS = (
    Column(
        "gradient_ratio", "float64", "gradient norm of fc2 over the last hidden layer's, untrained"
    ),
    Column("gradient_ratio_per_layer", "float64", "the same for each layer between them"),
)
"""Of `evidence.csv`: how gradients change towards the input."""

EVIDENCE = (
    Column("run", "str", "name of the run directory"),
    Column("activation", "str", "its activation; other keys that vary follow"),
    Column("seed", "int64", "its seed"),
    Column("status", "str", "how it ended: finished, diverged, interrupted or failed"),
    Column("never", "bool", "the target was not reached"),
    Column("mean_train_loss", "float64", "mean over all iterations", "nats"),
    Column("final_validation_loss", "float64", "last evaluation", "nats"),
    Column("test_accuracy", "float64", "after the last update"),
    Column("gap", "float64", "test loss - training loss", "nats"),
    *FRACTIONS[:2],
    Column("iterations_to_target", "float64", "the budget where the target was never reached"),
    *GRADIENT_RATIOS,
    *FRACTIONS[2:],
    *SEEN,
)
"""Of `evidence.csv`, a row per run that claims are decided on; empty columns are left out."""

COST_ROUNDS = (
    Column("activation", "str", "what is timed"),
    Column("where", "str", "element: alone; lenet: inside a stack of LeNets"),
    Column("pass", "str", "forward or forward_backward"),
    Column("implementation", "str", "torch or lenet_bench"),
    Column("round", "int64", "from 1; every round measures everything once"),
    Column("nanoseconds", "float64", "per element, or per image and run", "ns"),
    Column("relu_nanoseconds", "float64", "ReLU beside it in the same round", "ns"),
    Column("relative", "float64", "one over the other"),
)
"""Of `activation_cost_rounds.csv`, a row per measurement and round."""

SWEEP_TABLES: Mapping[str, tuple[Column, ...]] = MappingProxyType(
    {
        "summary": SUMMARY,
        "comparisons": COMPARISONS,
        "tuned": TUNED,
        "claims": CLAIMS,
        "evidence": EVIDENCE,
        "activation_cost_rounds": COST_ROUNDS,
    }
)
"""The CSVs beside the run directories, by name without `.csv`."""

# --- what follows from columns ----------------------------------------------------------------


def names(columns: Iterable[Column]) -> tuple[str, ...]:
    """The header of a CSV, or a part of it."""
    return tuple(column.name for column in columns)


def dtypes(columns: Iterable[Column]) -> Dtypes:
    """Of each column, what pandas is to read it as."""
    return MappingProxyType({column.name: column.dtype for column in columns})


def pick(columns: Iterable[Column], chosen: Iterable[str]) -> tuple[Column, ...]:
    """The columns of these names.

    Raises:
        KeyError: There is no such column.
    """
    by_name = {column.name: column for column in columns}
    return tuple(by_name[name] for name in chosen)


def as_markdown(columns: Iterable[Column]) -> str:
    """A table for the documentation: a row per column, with unit and meaning."""
    rows = [
        f"| `{column.name}` | {column.unit} | {column.meaning.replace('|', chr(92) + '|')} |"
        for column in columns
    ]
    return "\n".join(["| column | measured in | meaning |", "| --- | --- | --- |", *rows]) + "\n"
