"""The stacked optimizers against torch's own, one by one, side by side and run by run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.schedules import learning_rates
from lenet_bench.common.errors import UserError
from lenet_bench.training.stacked_optimizer import (
    OptimizerSettings,
    StackedOptimizer,
    update_key,
)

TORCH: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}

CASES = [
    OptimizerSettings("sgd"),
    OptimizerSettings("sgd", 0.0, {"momentum": 0.0}),
    OptimizerSettings("adam"),
    OptimizerSettings("sgd", 0.0, {"momentum": 0.5, "nesterov": True}),
    OptimizerSettings("sgd", 0.1, {"momentum": 0.8, "nesterov": True}),
    OptimizerSettings("sgd", 0.01, {"momentum": 0.95, "nesterov": True}),
    OptimizerSettings("sgd", 0.05, {"momentum": 0.0}),
    OptimizerSettings("sgd", 0.05, {"momentum": 0.99}),
    OptimizerSettings("adagrad"),
    OptimizerSettings("adagrad", 0.1, {"eps": 1e-3}),
    OptimizerSettings("adagrad", 0.02),
    OptimizerSettings("rmsprop"),
    OptimizerSettings("rmsprop", 0.0, {"alpha": 0.9, "centered": True}),
    OptimizerSettings("rmsprop", 0.1, {"alpha": 0.8, "momentum": 0.7}),
    OptimizerSettings("rmsprop", 0.0, {"alpha": 0.95, "momentum": 0.9, "centered": True}),
    OptimizerSettings("rmsprop", 0.01, {"eps": 0.01, "momentum": 0.3, "centered": True}),
    OptimizerSettings("adamw", 0.1),
    OptimizerSettings("adam", 0.1, {"beta1": 0.5, "beta2": 0.9}),
    OptimizerSettings("adam", 0.02, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-3}),
    OptimizerSettings("adam", 0.0, {"beta1": 0.0, "beta2": 0.999}),
    OptimizerSettings("adam", 0.0, {"beta1": 0.3, "beta2": 0.0}),
    OptimizerSettings("adamw"),
    OptimizerSettings("adamw", 0.5, {"beta1": 0.8, "beta2": 0.95}),
    OptimizerSettings("adamw", 0.02, {"eps": 0.1}),
]
P = 37


def torch_twin(run: OptimizerSettings, parameters: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """What a reader of torch's documentation would build for the run."""
    arguments: dict[str, Any] = {
        name: run.value(name) for name in OPTIMIZERS[run.name].parameters if "beta" not in name
    }
    if run.name.startswith("adam"):
        arguments["betas"] = (run.value("beta1"), run.value("beta2"))
    optimizer: torch.optim.Optimizer = TORCH[run.name](parameters, lr=1.0, **arguments)
    return optimizer


def gradients_at(parameters: Tensor, iteration: int) -> Tensor:
    """Noisy gradients of a bumpy bowl, (N, P): different in scale from column to column."""
    generator = torch.Generator().manual_seed(iteration)
    noise = torch.randn(parameters.shape[-1], generator=generator, dtype=torch.float64)
    scale = torch.logspace(-3, 1, parameters.shape[-1], dtype=torch.float64)
    exact = parameters.double()
    return (scale * (exact + 2 * torch.sin(3 * exact) + noise)).to(parameters.dtype)


def start(runs: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(runs, P, generator=generator, dtype=torch.float64).to(dtype)


def rates(runs: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """(iterations, N, 1): every run its own, falling to 0 within the test."""
    columns = [
        [*learning_rates(name="cosine", lr=0.003 * (1 + run % 5), iterations=59), 0.0]
        for run in range(runs)
    ]
    return torch.tensor(columns, dtype=dtype).T.unsqueeze(2)


def trained(cases: list[OptimizerSettings], parameters: Tensor, lr: Tensor, mask: Tensor) -> Tensor:
    parameters = parameters.clone()
    optimizer = StackedOptimizer(parameters, cases, mask)
    for iteration, rate in enumerate(lr):
        optimizer.step(gradients_at(parameters, iteration), rate)
    return parameters


def trained_by_torch(run: OptimizerSettings, row: Tensor, lr: Tensor, mask: Tensor) -> Tensor:
    """One run, (P,): the decayed columns in one parameter group, the spared ones in another."""
    groups: list[dict[str, Any]] = [
        {"params": [row[mask == 1].clone().requires_grad_()], "weight_decay": run.weight_decay},
        {"params": [row[mask == 0].clone().requires_grad_()], "weight_decay": 0.0},
    ]
    decayed, spared = groups[0]["params"][0], groups[1]["params"][0]
    optimizer = torch_twin(run, groups)
    whole = torch.empty_like(row)
    for iteration, rate in enumerate(lr.tolist()):
        whole[mask == 1], whole[mask == 0] = decayed.detach(), spared.detach()
        gradient = gradients_at(whole, iteration)
        decayed.grad, spared.grad = gradient[mask == 1], gradient[mask == 0]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    whole[mask == 1], whole[mask == 0] = decayed.detach(), spared.detach()
    return whole


def sparing_mask() -> Tensor:
    """(P,): 1 except for a few columns that weight decay must leave alone."""
    mask = torch.ones(P, dtype=torch.float64)
    mask[[0, 5, 6, P - 1]] = 0
    return mask


@pytest.mark.parametrize("mask", [torch.ones(P, dtype=torch.float64), sparing_mask()])
@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_a_mixed_stack_is_torch_run_by_run(mask: Tensor, order: str) -> None:
    cases = sorted(CASES, key=update_key) if order == "sorted" else CASES
    lr = rates(len(cases))
    ours = trained(cases, start(len(cases)), lr, mask)
    theirs = torch.stack(
        [
            trained_by_torch(run, row, lr[:, index, 0], mask)
            for index, (run, row) in enumerate(zip(cases, start(len(cases)), strict=True))
        ]
    )
    assert torch.isfinite(theirs).all()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_float32_follows_torch_closely() -> None:
    mask, lr = sparing_mask().float(), rates(len(CASES), torch.float32)[:20]
    rows = start(len(CASES), torch.float32)
    ours = trained(CASES, rows, lr, mask)
    theirs = torch.stack(
        [
            trained_by_torch(run, row, lr[:, index, 0], mask)
            for index, (run, row) in enumerate(zip(CASES, rows, strict=True))
        ]
    )
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)


def test_every_kind_and_term_is_among_the_cases() -> None:
    assert {run.name for run in CASES} == set(OPTIMIZERS) == set(TORCH)
    for name, kind in OPTIMIZERS.items():
        cases = [run for run in CASES if run.name == name]
        assert {run.weight_decay > 0 for run in cases} == {True, False}
        for parameter in kind.parameters:
            assert len({run.value(parameter) for run in cases}) > 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_torchs(name: str) -> None:
    defaults = TORCH[name]([torch.zeros(1)]).defaults
    flat = dict(zip(["beta1", "beta2"], defaults.get("betas", ()), strict=False)) | defaults
    ours = {key: entry.default for key, entry in OPTIMIZERS[name].parameters.items()}
    # The one default that is the bench's own.
    expected = {key: flat[key] for key in ours} | ({"momentum": 0.9} if name == "sgd" else {})
    assert ours == expected


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_never_touches_the_spared_columns(name: str) -> None:
    cases = [OptimizerSettings(name, decay) for decay in (0.0, 0.3)]
    rows, lr, mask = start(1).expand(2, P), torch.full((30, 2, 1), 0.01), sparing_mask()
    ours = trained(cases, rows, lr.double(), mask)
    same = ours[0] == ours[1]
    assert same.tolist() == (mask == 0).tolist()


def test_each_run_may_spare_columns_of_its_own() -> None:
    case = OptimizerSettings("sgd", 0.2)
    mask = torch.ones(2, P, dtype=torch.float64)
    mask[0, 3] = 0
    lr = rates(2)
    ours = trained([case, case], start(2), lr, mask)
    for run in range(2):
        theirs = trained_by_torch(case, start(2)[run], lr[:, run, 0], mask[run])
        torch.testing.assert_close(ours[run], theirs, rtol=1e-12, atol=1e-13)


def bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int32 if tensor.dtype == torch.float32 else torch.int64)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_diverged_run_changes_no_bit_of_another(poison: float, dtype: torch.dtype) -> None:
    # Every case twice: one copy is poisoned, its neighbour of the same group must not notice.
    cases = [run for run in CASES for _ in range(2)]
    sick = slice(1, None, 2)
    outcomes: list[list[Tensor]] = []
    for value in (None, poison):
        parameters = start(len(cases), dtype)
        optimizer = StackedOptimizer(parameters, cases, sparing_mask())
        after_each_step = []
        # What the optimizers remember shows in the next step; the last one is at full rate.
        lr = torch.cat([rates(len(cases), dtype), torch.ones(1, len(cases), 1, dtype=dtype)])
        for iteration, rate in enumerate(lr):
            gradients = gradients_at(parameters, iteration)
            if value is not None and iteration >= 10:
                gradients[sick, ::3] = value
            if value is not None and iteration == 20:
                parameters[sick] = value
            optimizer.step(gradients, rate)
            after_each_step.append(parameters.clone())
        outcomes.append(after_each_step)
    assert not torch.isfinite(outcomes[1][-1][sick]).any()
    for clean, other in zip(*outcomes, strict=True):
        assert torch.equal(bits(clean[::2]), bits(other[::2]))


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_max=True)


HYPERPARAMETERS: dict[str, st.SearchStrategy[float | bool]] = {
    "momentum": st.just(0.0) | floats(0, 1),
    "nesterov": st.booleans(),
    "alpha": floats(0.5, 1),
    "eps": st.floats(1e-12, 1e-2),
    "centered": st.booleans(),
    "beta1": floats(0, 1),
    "beta2": floats(0.5, 1),
}
RUNS = st.sampled_from(list(OPTIMIZERS)).flatmap(
    lambda name: st.builds(
        OptimizerSettings,
        st.just(name),
        st.just(0.0) | st.floats(0, 1),
        st.fixed_dictionaries(
            {}, optional={key: HYPERPARAMETERS[key] for key in OPTIMIZERS[name].parameters}
        ),
    )
)


@settings(max_examples=60, deadline=None, database=None)
@given(
    cases=st.lists(RUNS, min_size=1, max_size=6),
    seed=st.integers(0, 2**31),
    double=st.booleans(),
    columns=st.integers(1, 70),
)
def test_a_stack_of_n_is_n_stacks_of_one_to_the_bit(
    cases: list[OptimizerSettings], seed: int, double: bool, columns: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    runs, dtype = len(cases), torch.float64 if double else torch.float32
    together = torch.randn(runs, columns, generator=generator, dtype=dtype)
    mask = (torch.rand(runs, columns, generator=generator) < 0.9).to(dtype)
    alone = [row.clone().unsqueeze(0) for row in together]
    stack = StackedOptimizer(together, cases, mask)
    stacks = [
        StackedOptimizer(row, [run], mask[index : index + 1])
        for index, (row, run) in enumerate(zip(alone, cases, strict=True))
    ]
    for _ in range(8):
        gradients = torch.randn(runs, columns, generator=generator, dtype=dtype)
        gradients[torch.rand(runs, columns, generator=generator) < 0.1] = 0
        lr = torch.rand(runs, 1, generator=generator, dtype=dtype)
        stack.step(gradients, lr)
        for index, single in enumerate(stacks):
            single.step(gradients[index : index + 1], lr[index : index + 1])
    assert torch.equal(bits(together), bits(torch.cat(alone)))


def test_gradients_are_left_as_they_were() -> None:
    parameters = start(len(CASES))
    optimizer = StackedOptimizer(parameters, CASES, sparing_mask())
    gradients = gradients_at(parameters, 0)
    before = gradients.clone()
    optimizer.step(gradients, rates(len(CASES))[0])
    assert torch.equal(gradients, before)


class Operations(TorchDispatchMode):
    """Notes what runs: the operations' names, and where their large results lie."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.places: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        if isinstance(result, Tensor) and result.numel() > len(CASES):
            self.places.add(result.untyped_storage().data_ptr())
        return result


def test_a_step_waits_for_nothing_and_takes_no_new_memory() -> None:
    # What a CUDA graph needs: no value read back, and the same addresses at every step.
    parameters, lr = start(len(CASES)), rates(len(CASES))
    optimizer = StackedOptimizer(parameters, CASES, sparing_mask())
    gradients = gradients_at(parameters, 0)
    places = []
    for iteration in range(3):
        with Operations() as seen:
            optimizer.step(gradients, lr[iteration])
        assert not [name for name in seen.names if "scalar_dense" in name or "nonzero" in name]
        places.append(seen.places)
    assert len(places[0]) > 1
    assert places[0] == places[1] == places[2]


def test_columns_without_gradient_stay_put() -> None:
    # Padding, and the weights of dead units, whatever the rule: no 0 / 0.
    cases = [run for run in CASES if run.weight_decay == 0]
    parameters = start(len(cases), torch.float32)
    before = parameters.clone()
    optimizer = StackedOptimizer(parameters, cases, torch.ones(P))
    for _ in range(5):
        optimizer.step(torch.zeros_like(parameters), torch.ones(len(cases), 1))
    assert torch.equal(parameters, before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sdg",), ["optimizer=sdg", "adagrad"]),
        (("sgd", -0.1), ["weight_decay=-0.1", ">= 0"]),
        (("sgd", 0.0, {"beta1": 0.9}), ["optimizer.beta1=0.9", "momentum", "nesterov"]),
        (("sgd", 0.0, {"momentum": 1.0}), ["optimizer.momentum=1.0", "[0, 1)"]),
        (("sgd", 0.0, {"nesterov": 1}), ["optimizer.nesterov=1", "true or false"]),
        (("adam", 0.0, {"eps": 0.0}), ["optimizer.eps=0.0", "1e-30"]),
        (("adam", 0.0, {"beta2": math.nan}), ["optimizer.beta2=nan", "[0, 1)"]),
    ],
)
def test_mistakes_are_named(arguments: tuple[Any, ...], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        OptimizerSettings(*arguments)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_one_setting_per_run_is_asked_for() -> None:
    with pytest.raises(ValueError, match="1 optimizer settings for 2 runs"):
        StackedOptimizer(torch.zeros(2, P), CASES[:1], torch.ones(P))
