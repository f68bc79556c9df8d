"""N LeNets as one, against N plain ones: logits, gradients, what observers see, and walls."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets.shape import ImageShape
from lenet_bench.model.convolutional import Batch
from lenet_bench.model.groups import Group, RunActivation, join_small_groups
from lenet_bench.model.lenet import LeNet
from lenet_bench.model.loss import cross_entropy
from lenet_bench.model.stack import Stack
from lenet_bench.training import build
from tests.conftest import Configure

CPU = torch.device("cpu")
SHAPE = ImageShape(channels=3, size=20, classes=4)
SMALL = ("precision=float64", "model.channels=[4,8]", "model.hidden=[12,8]")
# Noise has a test of its own.
NAMES = [name for name, entry in ACTIVATIONS.items() if not entry.noisy]
ARCHITECTURES = {
    "plain": (),
    "avg": ("model.pool=avg",),
    "before": ("model.batch_norm=before",),
    "after": ("model.batch_norm=after",),
    "avg-after": ("model.pool=avg", "model.batch_norm=after"),
    "deep": ("model.hidden=[9,7,5,8]",),
    "shallow": ("model.hidden=[]",),
    "one-wide": ("model.channels=[1,1]", "model.hidden=[1]"),
}


class Scaled(nn.Module):
    """A user's own activation with a scalar parameter, one it does not use, and a buffer."""

    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.idle = nn.Parameter(torch.ones(3))
        self.register_buffer("shift", torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        """scale * tanh(x + shift)."""
        return self.scale * (x + self.shift).tanh()


def configs_of(configure: Configure, names: Sequence[str], *overrides: str) -> list[RunConfig]:
    """A run for each name, every one with other initial weights."""
    path = ("activation.path=tests.model.test_stack:Scaled",)
    return [
        configure(
            *SMALL,
            *overrides,
            activation=configure(
                f"activation={name}", *(path if name == "custom" else ())
            ).activation,
            seed=number,
        )
        for number, name in enumerate(names)
    ]


def images(number: int = 0, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(count, SHAPE.channels, SHAPE.size, SHAPE.size, generator=generator)
    return x.double().to(memory_format=torch.channels_last)


def labels(runs: int, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randint(SHAPE.classes, (runs, count), generator=generator)


def models_of(configs: Sequence[RunConfig]) -> list[LeNet]:
    models = [build.initial_model(config, SHAPE, images()) for config in configs]
    with torch.no_grad():
        for number, model in enumerate(models):
            generator = torch.Generator().manual_seed(number)
            for parameter in model.parameters():  # biases, norms and slopes unlike each other too
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.add_(0.1 * noise)
    return models


def stack_of(configs: Sequence[RunConfig], models: Sequence[LeNet]) -> Stack:
    activations = [build.run_activation(config, CPU) for config in configs]
    return Stack(copy.deepcopy(list(models)), activations, device=CPU, compute=torch.float64)


def shared(x: Tensor, runs: int) -> list[Batch]:
    return [Batch(x, range(runs))]


def named_gradients(stack: Stack, models: Sequence[LeNet]) -> list[dict[str, Tensor]]:
    """The rows of `gradients` under the names of the plain parameters."""
    # `state_dict` reads `parameters`; for a moment it holds the gradients.
    values = stack.parameters.clone()
    stack.parameters.copy_(stack.gradients)
    actual = [
        {name: stack.state_dict(run)[name] for name, _ in model.named_parameters()}
        for run, model in enumerate(models)
    ]
    stack.parameters.copy_(values)
    return actual


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_and_gradients_are_those_of_plain_models(
    configure: Configure, architecture: str
) -> None:
    # Neighbours that are alike and neighbours that are not; an own module twice.
    names = [*NAMES, "custom", "custom", "prelu", "prelu", "relu"]
    configs = configs_of(configure, names, *ARCHITECTURES[architecture])
    models = models_of(configs)
    stack = stack_of(configs, models)
    x, y = images(), labels(len(models))
    logits = stack.forward(shared(x, len(models)), training=True)
    losses = cross_entropy(logits, y)
    stack.backward(losses)
    for run, (model, gradients) in enumerate(
        zip(models, named_gradients(stack, models), strict=True)
    ):
        plain = model.train()(x)
        loss = F.cross_entropy(plain, y[run])
        loss.backward()
        torch.testing.assert_close(logits[run], plain, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(losses[run], loss, rtol=1e-10, atol=1e-12)
        for name, parameter in model.named_parameters():
            wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            scale = float(wanted.abs().max())
            torch.testing.assert_close(
                gradients[name],
                wanted,
                rtol=0,
                atol=1e-10 * scale + 1e-13,
                msg=f"{name} of {run}",
            )
        for name, value in model.state_dict().items():  # running statistics, among others
            torch.testing.assert_close(stack.state_dict(run)[name], value)
    plain_logits = torch.stack([model.eval()(x) for model in models])
    evaluated = stack.forward(shared(x, len(models)), training=False)
    torch.testing.assert_close(evaluated, plain_logits, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", [[[0, 1, 2, 3, 4]], [[0, 1], [2], [3, 4]], [[0, 3], [1, 2, 4]]])
def test_runs_see_the_images_of_their_own_batch(
    configure: Configure, order: list[list[int]]
) -> None:
    configs = configs_of(configure, ["relu", "tanh", "tanh", "prelu", "gelu"])
    models = models_of(configs)
    stack = stack_of(configs, models)
    batches = [Batch(images(number), runs) for number, runs in enumerate(order)]
    logits = stack.forward(batches, training=True)
    for number, runs in enumerate(order):
        for run in runs:
            torch.testing.assert_close(logits[run], models[run](images(number)), rtol=1e-10, atol=0)


@pytest.mark.parametrize("architecture", ["plain", "before", "after"])
def test_an_observer_sees_the_plain_intermediates_and_changes_nothing(
    configure: Configure, architecture: str
) -> None:
    names = ["relu", "relu", "rrelu", "custom", "prelu", "square"]
    configs = configs_of(configure, names, *ARCHITECTURES[architecture])
    models = models_of(configs)
    stack, twin = stack_of(configs, models), stack_of(configs, models)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def observe(layer: str, group: Group, preactivation: Tensor, activation: Tensor) -> None:
        seen.setdefault(layer, []).append((preactivation, activation))

    x, n = images(), len(models)
    stack.observe([x], observe)
    assert tuple(seen) == models[0].hidden_layers
    for run, model in enumerate(models):
        model.train().activations.eval()  # no noise
        _, expected = model.forward_with_intermediates(x)
        for layer, (z, h) in expected.items():
            whole = [
                torch.cat(each, int(layer.startswith("conv")))
                for each in zip(*seen[layer], strict=True)
            ]
            for actual, value in zip(whole, (z, h), strict=True):
                if layer.startswith("conv"):
                    units = stack.units[layer]
                    part = actual[:, run * units : (run + 1) * units]
                else:
                    part = actual[run]
                torch.testing.assert_close(part, value, rtol=1e-10, atol=1e-12)
    # Afterwards the next step is the one it would have been: noise, statistics and all.
    for run in range(n):
        for name, value in twin.state_dict(run).items():
            assert torch.equal(stack.state_dict(run)[name], value)
    after, without = (s.forward(shared(x, n), training=True) for s in (stack, twin))
    assert torch.equal(after, without)


@pytest.mark.parametrize("architecture", ["plain", "avg", "before", "after", "deep"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e300])
def test_no_poison_crosses_to_a_neighbour(
    configure: Configure, architecture: str, poison: float
) -> None:
    names = ["relu", "relu", "gelu", "prelu", "prelu", "rrelu", "rrelu", "custom", "relu6"]
    configs = configs_of(configure, names, *ARCHITECTURES[architecture])
    models = models_of(configs)
    n = len(models)
    batches = [Batch(images(0), range(4)), Batch(images(1), range(4, n))]

    def outcome(stack: Stack) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
        logits = stack.forward(batches, training=True)
        stack.backward(cross_entropy(logits, labels(n)))
        return logits.detach(), stack.gradients, [stack.state_dict(run) for run in range(n)]

    logits, gradients, states = outcome(stack_of(configs, models))
    for victim in (1, 4, 6, 7):
        stack = stack_of(configs, models)
        stack.parameters[victim] = poison
        actual = outcome(stack)
        assert not (actual[0][victim].isfinite().all() and actual[1][victim].isfinite().all())
        for run in range(n):
            if run != victim:
                assert torch.equal(actual[0][run], logits[run])
                assert torch.equal(actual[1][run], gradients[run])
                for name, value in states[run].items():
                    assert torch.equal(actual[2][run][name], value)


def test_state_dicts_come_out_as_they_went_in(configure: Configure) -> None:
    names = ["prelu", "custom", "relu"]
    configs = configs_of(configure, names, "model.batch_norm=before")
    models = models_of(configs)
    with torch.no_grad():
        dict(models[1].named_buffers())["norms.fc1.running_mean"] += 3
        dict(models[1].named_buffers())["activations.fc1.shift"] += 2
    stack = stack_of(configs, models)
    for run, model in enumerate(models):
        state = stack.state_dict(run)
        assert state.keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            assert torch.equal(state[name], value)
    stack.state_dict(0)["conv1.weight"].zero_()  # a copy
    assert torch.equal(stack.state_dict(0)["conv1.weight"], models[0].conv1.weight)


def test_weight_decay_spares_what_activations_learn_and_nothing_else(configure: Configure) -> None:
    configs = configs_of(configure, ["relu", "prelu", "custom"], "model.batch_norm=after")
    models = models_of(configs)
    stack = stack_of(configs, models)
    stack.parameters.copy_(stack.decay_mask)
    for run in range(3):
        for name in dict(models[run].named_parameters()):
            expected = 0.0 if name.startswith("activations.") else 1.0
            assert (stack.state_dict(run)[name] == expected).all(), name


@pytest.mark.parametrize("per_unit", ["true", "false"])
def test_prelus_of_both_kinds_learn_side_by_side(configure: Configure, per_unit: str) -> None:
    configs = [
        configure("activation=prelu", f"activation.per_unit={value}", *SMALL)
        for value in (per_unit, "true", "false", "false")
    ]
    models = models_of(configs)
    stack = stack_of(configs, models)
    x, y = images(), labels(4)
    stack.backward(cross_entropy(stack.forward(shared(x, 4), training=True), y))
    for run, gradients in enumerate(named_gradients(stack, models)):
        F.cross_entropy(models[run](x), y[run]).backward()
        for name, parameter in models[run].named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-13)


def test_noise_is_uniform_new_each_time_and_of_the_run_alone(configure: Configure) -> None:
    """A network that computes nothing but the noise: its logits are the slopes themselves."""
    base = configure(
        "activation=rrelu", "activation.lower=0.2", "activation.upper=0.6", "precision=float64",
        "model.channels=[1,1]", "model.hidden=[4]",
    )  # fmt: skip
    configs = [base.model_copy(update={"seed": seed}) for seed in (3, 4, 3)]
    models = [build.initial_model(config, SHAPE, images()) for config in configs]
    for model in models:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            dict(model.named_parameters())["fc1.bias"].fill_(-1.0)  # rrelu(-1) = -slope
            model.logits.weight.copy_(-torch.eye(4))
    stack = stack_of(configs, models)
    x = images(count=500)
    first, second = (stack.forward(shared(x, 3), training=True) for _ in range(2))
    assert torch.equal(first[0], first[2])  # one seed, one noise
    assert not torch.isclose(first[0], first[1]).any()
    assert not torch.isclose(first, second).any()
    slopes = first[0].detach().flatten().sort().values
    assert slopes.min() >= 0.2
    assert slopes.max() <= 0.6
    # Kolmogorov's distance to the uniform law; 1.95 / sqrt(n) is passed once in a thousand.
    ranks = torch.linspace(0, 1, len(slopes), dtype=torch.float64)
    assert ((slopes - 0.2) / 0.4 - ranks).abs().max() < 1.95 / len(slopes) ** 0.5
    still = stack.forward(shared(x, 3), training=False)
    torch.testing.assert_close(still, torch.full_like(still, 0.4))


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ([1], [1]),
        ([4, 4, 4], [4, 4, 4]),
        ([1] * 5, [5]),
        ([1] * 9, [4, 5]),
        ([3, 9, 2], [14]),
        ([16, 1], [17]),
        ([2, 2, 6, 1, 3], [4, 6, 4]),
    ],
)
def test_few_runs_are_never_convolved_alone(sizes: list[int], runs: list[int]) -> None:
    """Unless the stack has no more."""
    starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    groups = [
        Group(start, stop, RunActivation("relu")) for start, stop in itertools.pairwise(starts)
    ]
    convolved = [groups[some] for some in join_small_groups(groups)]
    assert [group for each in convolved for group in each] == groups
    assert [each[-1].stop - each[0].start for each in convolved] == runs
