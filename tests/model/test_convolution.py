"""The fused convolution and pooling, against plain torch: conv2d, then f, then max_pool2d."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.model import convolution
from lenet_bench.model.autograd import elementwise
from lenet_bench.model.convolution import NARROW, Part, convolve_and_pool

Function = Callable[[Tensor], Tensor]

# Noise differs within a window, so a stack does not pool before a noisy activation.
POOLED_FIRST = [name for name, entry in ACTIVATIONS.items() if not entry.noisy]
FALLING = [name for name in POOLED_FIRST if not ACTIVATIONS[name].non_decreasing]
ALL_AT_ONCE = 1 << 30


class Case(NamedTuple):
    """A convolution with its activations: channels of a part, its function, whether it falls."""

    inputs: list[Tensor]
    weight: Tensor
    bias: Tensor
    groups: int
    functions: list[tuple[int, Function, bool]]

    @property
    def leaves(self) -> list[Tensor]:
        """What gradients are taken by."""
        return [*self.inputs, self.weight, self.bias]

    @property
    def parts(self) -> list[Part]:
        """As the fused operation takes them."""
        return [Part(count, f if falls else None) for count, f, falls in self.functions]

    def pooled(self) -> tuple[Tensor, ...]:
        """What the fused operation returns."""
        return convolve_and_pool(self.inputs, self.weight, self.bias, self.groups, self.parts)

    def fused(self) -> Tensor:
        """The activations of what the fused operation returns."""
        pooled = self.pooled()
        each = [f(z) for (_, f, _), z in zip(self.functions, pooled, strict=True)]
        return torch.cat(each, 1)

    def plain(self) -> Tensor:
        """The same in plain torch: convolve, activate, pool."""
        z = F.conv2d(torch.cat(self.inputs, 1), self.weight, self.bias, groups=self.groups)
        sections = z.split([count for count, _, _ in self.functions], 1)
        each = [f(part) for (_, f, _), part in zip(self.functions, sections, strict=True)]
        return F.max_pool2d(torch.cat(each, 1), 2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values


def case(
    *,
    functions: Sequence[tuple[int, Function, bool]] = ((8, F.relu, False), (4, F.silu, True)),
    groups: int = 1,
    channels: int = 3,
    height: int = 12,
    width: int = 12,
    images: int = 5,
    kernel: int = 5,
    inputs: int = 1,
) -> Case:
    """Random values that learn; `inputs` tensors hold the `channels` of all groups."""
    total = groups * channels
    sizes = [total // inputs] * (inputs - 1)
    sizes.append(total - sum(sizes))
    count = sum(part for part, _, _ in functions)
    return Case(
        [
            normal(images, size, height, width, seed=number).requires_grad_()
            for number, size in enumerate(sizes, 1)
        ],
        normal(count, channels, kernel, kernel, seed=10).requires_grad_(),
        normal(count, seed=11).requires_grad_(),
        groups,
        list(functions),
    )


def assert_as_in_plain_torch(one: Case) -> None:
    """Values, and gradients by weight, bias and every input."""
    fused, plain = one.fused(), one.plain()
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-12)
    upstream = normal(*plain.shape, seed=12)
    for ours, theirs in zip(
        torch.autograd.grad(fused, one.leaves, upstream),
        torch.autograd.grad(plain, one.leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


# --- values and gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize(
    "most", [1, 1 << 9, 1 << 12, ALL_AT_ONCE]
)  # an image at a time, a few, all
def test_whatever_the_groups_the_inputs_and_the_chunks(
    monkeypatch: pytest.MonkeyPatch, groups: int, inputs: int, most: int
) -> None:
    monkeypatch.setattr(convolution, "CACHED_ELEMENTS", most)
    assert_as_in_plain_torch(case(groups=groups, inputs=inputs, images=7))


@pytest.mark.parametrize("channels", [1, 3, NARROW - 1, NARROW, NARROW + 3])
@pytest.mark.parametrize("height", [10, 11, 12, 13])  # rows in pairs, and one that is left over
@pytest.mark.parametrize("width", [9, 12])
def test_whatever_the_size_below_and_above_the_width_that_pairs_rows(
    channels: int, height: int, width: int
) -> None:
    one = case(channels=channels, height=height, width=width, groups=2)
    pairs = convolution._paired_kernels(one.weight, one.groups, one.inputs[0])
    assert (pairs is not None) == (channels < NARROW and height % 2 == 0)
    assert_as_in_plain_torch(one)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_whatever_the_kernel(kernel: int) -> None:
    assert_as_in_plain_torch(case(kernel=kernel))


@pytest.mark.parametrize("images", [1, 2, 9])
def test_chunks_of_unequal_length(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    monkeypatch.setattr(convolution, "CACHED_ELEMENTS", 4 * 12 * 8 * 8)
    one = case(images=images)
    chunks = convolution._chunks(one.inputs[0], (12, 8, 8))
    assert [n for rows in chunks for n in range(images)[rows]] == list(range(images))
    assert max(len(range(images)[rows]) for rows in chunks) <= 4
    assert_as_in_plain_torch(one)


@pytest.mark.parametrize("name", POOLED_FIRST)
def test_whatever_the_activation(name: str) -> None:
    """Alone, and between two others that never decrease."""
    entry = ACTIVATIONS[name]
    arguments = entry.arguments()

    def f(z: Tensor) -> Tensor:
        return elementwise(z, entry, arguments)

    falls = not entry.non_decreasing
    assert_as_in_plain_torch(case(functions=[(6, f, falls)]))
    functions: list[tuple[int, Function, bool]] = [
        *((2, F.relu, False), (3, f, falls), (1, F.softsign, False)),
    ]
    assert_as_in_plain_torch(case(functions=functions, groups=2))


@pytest.mark.parametrize("name", FALLING)
def test_a_function_that_falls_is_pooled_at_either_end_of_a_window(name: str) -> None:
    """Windows of four known numbers; where f is larger at the smallest, that one is kept."""
    entry = ACTIVATIONS[name]
    arguments = entry.arguments()
    windows = torch.tensor(
        [[-9.0, -1.5, -0.9, -0.3], [-3.0, -2.0, 0.1, 2.0], [-7.0, -6.0, -5.0, -4.0]],
        dtype=torch.float64,
    )
    images = windows.view(3, 1, 2, 2).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    part = Part(1, lambda z: entry.function(z, **arguments))
    (pooled,) = convolve_and_pool([images], weight, torch.zeros(1).double(), 1, [part])
    for kept, window in zip(pooled.flatten(), windows, strict=True):
        assert kept in (window.min(), window.max())
        largest = entry.function(window, **arguments).max()
        assert entry.function(kept, **arguments) == largest


def test_an_empty_part_has_no_channels_and_disturbs_nobody() -> None:
    functions = [(4, F.relu, False), (0, F.silu, True), (0, F.relu, False), (2, F.silu, True)]
    one = case(functions=functions)
    assert [part.shape[1] for part in one.pooled()] == [4, 0, 0, 2]
    assert_as_in_plain_torch(one)


def test_finite_differences_agree() -> None:
    one = case(functions=[(2, F.relu, False), (2, F.silu, True)], groups=2, height=8, width=7)

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        return convolve_and_pool([x], weight, bias, 2, one.parts)

    assert torch.autograd.gradcheck(function, (one.inputs[0], one.weight, one.bias))


# --- what is needed and what is not ---------------------------------------------------------------


def test_images_need_no_gradient() -> None:
    """As the first convolution's do not."""
    one = case()
    one.inputs[0].requires_grad_(False)
    leaves = [one.weight, one.bias]
    upstream = normal(*one.plain().shape, seed=12)
    for ours, theirs in zip(
        torch.autograd.grad(one.fused(), leaves, upstream),
        torch.autograd.grad(one.plain(), leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("learner", [0, 1])
def test_one_of_several_inputs_may_need_a_gradient(learner: int) -> None:
    one = case(inputs=2, groups=2, channels=3)
    one.inputs[1 - learner].requires_grad_(False)
    x = one.inputs[learner]
    (ours,), (theirs,) = (
        torch.autograd.grad(y.square().sum(), x) for y in (one.fused(), one.plain())
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_without_gradients_the_values_are_the_same() -> None:
    one = case()
    learning = one.pooled()
    with torch.no_grad():
        still = one.pooled()
    assert all(map(torch.equal, learning, still))
    assert not any(part.requires_grad for part in still)
    assert all(part.requires_grad for part in learning)


def test_results_are_channels_last_without_gaps() -> None:
    for part in case(inputs=2, groups=2).pooled():
        assert part.is_contiguous(memory_format=torch.channels_last)
        assert part.shape[2:] == (4, 4)


def test_a_second_derivative_is_refused() -> None:
    one = case()
    (by_weight,) = torch.autograd.grad(one.fused().square().sum(), one.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        by_weight.sum().backward()


# --- walls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("channels", [2, NARROW])  # with rows in pairs and without
def test_poison_in_one_group_reaches_no_other(poison: float, channels: int) -> None:
    functions = [(4, F.relu, False), (4, F.silu, True)]
    clean = case(functions=functions, groups=4, channels=channels, inputs=4)
    sick = case(functions=functions, groups=4, channels=channels, inputs=4)
    with torch.no_grad():
        sick.weight[2:4] = poison  # of the second group
        sick.inputs[3][:] = poison  # all that the last group sees
    results = []
    for one in (clean, sick):
        y = one.fused()
        results.append((y, *torch.autograd.grad(y.sum(), one.leaves)))
    for run in range(4):
        rows = slice(2 * run, 2 * run + 2)
        for number, (a, b) in enumerate(zip(*results, strict=True)):
            if number == 0:
                a, b = a[:, rows], b[:, rows]  # values
            elif number in (5, 6):
                a, b = a[rows], b[rows]  # weight and bias
            elif number != run + 1:
                continue  # another group's input
            if run in (0, 2):
                assert torch.equal(a, b)
    assert not results[1][0][:, 2:4].isfinite().all()
    assert not results[1][0][:, 6:].isfinite().all()


def test_poison_in_one_image_reaches_no_other() -> None:
    clean, sick = case(), case()
    with torch.no_grad():
        sick.inputs[0][2] = float("nan")
    values, gradients = [], []
    for one in (clean, sick):
        values.append(one.fused())
        gradients.append(torch.autograd.grad(values[-1].sum(), one.inputs[0])[0])
    for image in (0, 1, 3, 4):
        assert torch.equal(values[0][image], values[1][image])
        assert torch.equal(gradients[0][image], gradients[1][image])
    assert values[1][2].isnan().any()


# --- precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types_are_kept(dtype: torch.dtype) -> None:
    one = case(groups=2, inputs=2)
    narrow = Case(
        [x.detach().to(dtype).requires_grad_() for x in one.inputs],
        one.weight.detach().to(dtype).requires_grad_(),
        one.bias.detach().to(dtype).requires_grad_(),
        one.groups,
        one.functions,
    )
    y = narrow.fused()
    assert y.dtype == dtype
    for leaf, gradient in zip(
        narrow.leaves, torch.autograd.grad(y.sum(), narrow.leaves), strict=True
    ):
        assert gradient.dtype == dtype
        assert gradient.shape == leaf.shape


def test_a_weights_gradient_in_bfloat16_is_summed_over_chunks_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """512 images add 1 each: a sum in bfloat16, eight bits, would stop at 256."""
    monkeypatch.setattr(convolution, "CACHED_ELEMENTS", 1)
    images = torch.ones(512, 1, 6, 6, dtype=torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    weight = torch.ones(1, 1, 5, 5, dtype=torch.bfloat16, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.bfloat16)
    (pooled,) = convolve_and_pool([images], weight, bias, 1, [Part(1)])
    (gradient,) = torch.autograd.grad(pooled.sum(), weight)
    assert (gradient == 512).all()


def test_places_in_large_feature_maps_are_found() -> None:
    """Beyond 2^15 positions they no longer fit 16 bits."""
    one = case(
        functions=[(1, F.relu, False)], channels=1, height=256, width=140, images=1, kernel=3
    )
    assert_as_in_plain_torch(one)
