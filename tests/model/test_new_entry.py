"""What one more entry of the zoo gets without another line of code: networks that train.

The entries here are unlike any that the zoo has: they learn two arguments, or draw noise, and
torch.nn has no module for them.
"""

from __future__ import annotations

import math
from types import MappingProxyType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.entry import Activation
from lenet_bench.choices.parameters import Parameter
from lenet_bench.model import groups, lenet
from lenet_bench.model.convolutional import Batch
from lenet_bench.model.groups import RunActivation
from lenet_bench.model.lenet import LeNet, activation_module
from lenet_bench.model.loss import cross_entropy
from lenet_bench.model.stack import Stack

LEARNED_TANH = Activation(
    name="learned_tanh",
    formula="height tanh(slope x), both learned",
    function=lambda x, height, slope: height * (slope * x).tanh(),
    derivative=lambda x, height, slope: height * slope * (1 - (slope * x).tanh() ** 2),
    family="sigmoidal",
    output_range=lambda height, slope: (-abs(height), abs(height)),
    gain=lambda height, slope: 1.0,
    max_slope=lambda height, slope: abs(height * slope),
    reference="made up for this test",
    non_decreasing=False,
    can_die=lambda height, slope: height * slope == 0,
    parameters={
        "height": Parameter(1.5, "initial height"),
        "slope": Parameter(0.5, "initial slope at 0"),
        "per_unit": Parameter(True, "one of each per unit, or one per layer"),
    },
    to_arguments=lambda height, slope, per_unit: {"height": height, "slope": slope},
    argument_derivatives={
        "height": lambda x, height, slope: (slope * x).tanh(),
        "slope": lambda x, height, slope: height * x * (1 - (slope * x).tanh() ** 2),
    },
    learned_values=lambda units, per_unit, **_: units if per_unit else 1,
)
NOISY_LINE = Activation(
    name="noisy_line",
    formula="x + shift, shift uniform in [-spread, spread] in training",
    function=lambda x, shift: x + shift,
    derivative=lambda x, shift: x.new_ones(()).expand_as(x),
    family="linear",
    output_range=lambda shift: (-math.inf, math.inf),
    gain=lambda shift: 1.0,
    max_slope=lambda shift: 1.0,
    reference="made up for this test",
    non_decreasing=False,
    parameters={"spread": Parameter(0.25, "largest shift", low=0)},
    to_arguments=lambda spread: {"shift": 0.0},
    noise={"shift": lambda spread: (-spread, spread)},
)


class LearnedTanh(nn.Module):
    """The same in plain torch, differentiated by autograd."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.full((values,), 1.5))
        self.slope = nn.Parameter(torch.full((values,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """height * tanh(slope * x)."""
        shape = (-1, 1, 1) if x.dim() == 4 else (-1,)
        return self.height.view(shape) * (self.slope.view(shape) * x).tanh()


@pytest.fixture(autouse=True)
def _entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo, with the new entries."""
    new = {entry.name: entry for entry in (LEARNED_TANH, NOISY_LINE)}
    for module in (groups, lenet):
        monkeypatch.setattr(module, "ACTIVATIONS", MappingProxyType({**ACTIVATIONS, **new}))


def plain(name: str, seed: int, **parameters: float) -> LeNet:
    torch.manual_seed(seed)
    values = 1 if parameters.get("per_unit") == 0 else None
    model = LeNet(
        in_channels=1,
        image_size=16,
        classes=3,
        channels=(2, 3),
        hidden=(4,),
        activation=lambda units: (
            LearnedTanh(values or units)
            if name == "by hand"
            else activation_module(name, units, parameters)
        ),
    )
    return model.double()


def stacked(names: list[str], models: list[LeNet], **parameters: float) -> Stack:
    activations = [
        RunActivation(name, parameters, torch.Generator().manual_seed(seed))
        for seed, name in enumerate(names)
    ]
    return Stack(models, activations, device=torch.device("cpu"), compute=torch.float64)


def images(count: int = 5) -> Tensor:
    x = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    return x.double().contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("per_unit", [True, False])
def test_two_learned_arguments_train_as_in_plain_torch(per_unit: bool) -> None:
    names = ["learned_tanh", "learned_tanh", "relu"]
    by_hand = [plain("by hand", seed, per_unit=per_unit) for seed in (0, 1)]
    models = [plain("learned_tanh", seed, per_unit=per_unit) for seed in (0, 1)]
    models.append(plain("relu", 2))
    with torch.no_grad():
        for model, other in zip(models, by_hand, strict=False):
            for name, value in other.named_parameters():
                if name.startswith("activations."):
                    value.add_(0.3 * torch.randn_like(value))
            model.load_state_dict(other.state_dict())
    settings = {"per_unit": per_unit}
    activations = [RunActivation(name, settings if "tanh" in name else {}) for name in names]
    stack = Stack(models, activations, device=torch.device("cpu"), compute=torch.float64)
    assert [len(group.runs) for group in stack.activations.groups] == [2, 1]

    x, labels = images(), torch.tensor([0, 1, 2, 1, 0])
    logits = stack.forward([Batch(x, range(3))], training=True)
    stack.backward(cross_entropy(logits, labels.expand(3, -1)))
    stack.parameters.copy_(stack.gradients)  # so that they are found by name
    for run, model in enumerate(by_hand):
        torch.testing.assert_close(logits[run], model(x), rtol=1e-10, atol=1e-12)
        F.cross_entropy(model(x), labels).backward()
        gradients = stack.state_dict(run)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-12)


def test_the_largest_slope_follows_what_was_learned() -> None:
    model = plain("learned_tanh", 0)
    with torch.no_grad():
        learned = dict(model.named_parameters())
        learned["activations.conv1.height"].copy_(torch.tensor([1.0, -4.0]))
        learned["activations.conv1.slope"].copy_(torch.tensor([-0.5, 0.25]))
    stack = stacked(["learned_tanh"], [model])
    # Of any height with any slope that there is.
    assert stack.activations.max_slope("conv1", 0) == 4 * 0.5
    assert stack.activations.max_slope("fc1", 0) == 1.5 * 0.5


def test_each_unit_can_die_by_what_it_has_learned() -> None:
    models = [plain("learned_tanh", 0), plain("learned_tanh", 1, per_unit=0), plain("relu", 2)]
    with torch.no_grad():
        dict(models[0].named_parameters())["activations.conv2.height"][1] = 0
        dict(models[1].named_parameters())["activations.conv2.slope"][:] = 0
    activations = [
        RunActivation("learned_tanh"),
        RunActivation("learned_tanh", {"per_unit": 0}),
        RunActivation("relu"),
    ]
    stack = Stack(models, activations, device=torch.device("cpu"), compute=torch.float64)
    assert stack.activations.can_die("conv2").tolist() == [
        [False, True, False],
        [True, True, True],
        [True, True, True],
    ]
    assert stack.activations.can_die("conv1").tolist() == [[False] * 2, [False] * 2, [True] * 2]


def test_noise_is_drawn_in_training_alone_and_is_each_runs_own() -> None:
    names = ["noisy_line", "noisy_line"]
    models = [plain("noisy_line", 0) for _ in names]
    stack = stacked(names, models)
    batches = [Batch(images(), range(2))]
    still = stack.forward(batches, training=False)
    torch.testing.assert_close(still[0], models[0].eval()(images()))
    assert torch.equal(still, stack.forward(batches, training=False))
    first, second = (stack.forward(batches, training=True) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])  # two generators


def test_the_plain_module_draws_the_noise_too() -> None:
    module = activation_module("noisy_line", 3, {"spread": 0.5})
    x = torch.zeros(200, 3)
    torch.manual_seed(0)
    shifts = module.train()(x)
    assert -0.5 <= shifts.min() < -0.4
    assert 0.4 < shifts.max() <= 0.5
    assert torch.equal(module.eval()(x), x)
