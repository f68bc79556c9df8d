"""The trial of a user's own activation module: whether it maps every element by itself.

In: the class. Out: nothing, or an error that says what it does wrong. The engine needs this: it
applies an activation to parts of a batch, and behind a pooling instead of before it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lenet_bench.common.errors import UserError, in_one_line

_same = partial(torch.allclose, rtol=1e-4, atol=1e-6, equal_nan=True)
_STEPS = 3  # of learning, between two looks at a module


def try_out(module_class: type[nn.Module], path: str) -> None:
    """Build a module, as it is at first and once it has learned, and look at what it does.

    Args:
        module_class: The class.
        path: How the user named it.

    Raises:
        UserError: It cannot serve as an activation.
    """
    try:
        module = module_class()
    except Exception as error:
        raise UserError(
            f"activation.path={path!r} cannot be built without arguments ({in_one_line(error)}); "
            "give every argument of its __init__ a default"
        ) from error
    trial = _Trial(module, path)
    for _ in range(2):
        for training in (False, True):
            module.train(training)
            trial.check_elements()
        trial.check_gradients()
        trial.learn()


def kind(value: object) -> str:
    """What a value is, for an error: `the class Plain`, `a function`."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


class _Trial:
    """A module on trial.

    Args:
        module: The module, in the mode and state in which it is looked at.
        path: How the user named it.
    """

    def __init__(self, module: nn.Module, path: str) -> None:
        self._module = module
        self._named = f"activation.path={path!r}"

    def check_elements(self) -> None:
        """Check that a result depends on nothing but its own element, in the present state."""
        maps = _normal(2, 3, 4, 4)  # (B, C, H, W)
        result = self._call(maps)
        if not _same(result, self._call(maps)):
            raise self._refusal(
                "gives other results for the same values in the same state: it may draw only from "
                "torch's generator or one of its own, and count only what belongs to the instance"
            )
        if not _same(result.flatten(), self._call(maps.reshape(16, 6)).flatten()):
            raise self._mixes("the same values arranged in another shape give other results")
        # Noise is drawn in the order of the elements, and by some for negative ones only. So the
        # neighbours of an element keep their signs where there is any.
        noisy = self._draws(maps)
        for start in (0, 1):
            others = maps.clone()
            neighbours = others.view(-1)[start::2]
            neighbours.copy_(neighbours * 1.5 if noisy else 3 * _normal(len(neighbours), seed=1))
            kept = slice(1 - start, None, 2)
            if not _same(result.flatten()[kept], self._call(others).flatten()[kept]):
                raise self._mixes("a result depends on other elements")
        if noisy:
            return
        order = torch.randperm(maps.numel(), generator=_generator(2), device="cpu")
        elsewhere = self._call(maps.flatten()[order].view_as(maps))
        if not _same(result.flatten()[order], elsewhere.flatten()):
            raise self._mixes("a result depends on where its element stands")
        if not _same(result[:1], self._call(maps[:1])):
            raise self._mixes("a result depends on how many elements there are")

    def check_gradients(self) -> None:
        """Check the same of the gradients, in training."""
        x = _normal(16, 6)
        weights = _normal(16, 6, seed=1)
        others = weights.clone()
        others.view(-1)[::2] *= -3
        first, second = (self._gradient(x, each) for each in (weights, others))
        if first is None or second is None:
            return
        if not _same(first.flatten()[1::2], second.flatten()[1::2]):
            raise self._mixes("a gradient depends on other elements")

    def learn(self) -> None:
        """Let the module take a few steps, so that what it learns is not what it began with."""
        for step in range(_STEPS):
            x, weights = _normal(2, 16, 6, seed=step)
            try:
                with torch.random.fork_rng(devices=[]), torch.enable_grad():
                    y = self._module(x.requires_grad_() * 1)
                    if not y.requires_grad:
                        return
                    self._module.zero_grad()
                    (y * weights).sum().backward()
            except Exception as error:
                raise self._failed_in_training(error) from error
            with torch.no_grad():
                for parameter in self._module.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(0.01 * parameter.grad.sign())

    def _call(self, x: Tensor) -> Tensor:
        """Call a copy of the module, with the same noise each time."""
        given = x.clone()
        try:
            with torch.no_grad(), _fixed_noise():
                y = self._copy()(given)
        except Exception as error:
            raise UserError(
                f"{self._named} failed on an input of shape {tuple(x.shape)}: {in_one_line(error)}"
            ) from error
        self._check_untouched(given, x)
        if not isinstance(y, Tensor):
            raise UserError(f"{self._named} returns {kind(y)}, not a tensor")
        if y.shape != x.shape or y.dtype != x.dtype:
            raise UserError(
                f"{self._named} turns shape {tuple(x.shape)} and {x.dtype} into "
                f"{tuple(y.shape)} and {y.dtype}; an activation keeps both"
            )
        if y.device != x.device:
            raise UserError(f"{self._named} moves its input from {x.device} to {y.device}")
        return y.detach()

    def _gradient(self, x: Tensor, weights: Tensor) -> Tensor | None:
        """The gradient of a weighted sum of the results; None if they have none."""
        leaf = x.clone().requires_grad_()
        try:
            with torch.enable_grad(), _fixed_noise():
                given = leaf * 1
                y = self._copy()(given)
                self._check_untouched(given.detach(), x)
                if not y.requires_grad:
                    return None
                (gradient,) = torch.autograd.grad((y * weights).sum(), leaf, allow_unused=True)
        except UserError:
            raise
        except Exception as error:
            raise self._failed_in_training(error) from error
        return gradient

    def _draws(self, x: Tensor) -> bool:
        """Whether the module's results depend on the state of a random number generator."""
        module = self._copy()
        own = _generators(module)
        before = [generator.get_state() for generator in own]
        with torch.no_grad(), _fixed_noise():
            state = torch.get_rng_state()
            module(x.clone())
            if not torch.equal(torch.get_rng_state(), state):
                return True
        return any(
            not torch.equal(generator.get_state(), state)
            for generator, state in zip(own, before, strict=True)
        )

    def _copy(self) -> nn.Module:
        """A copy of the module in its present state, generators included."""
        # Tensors that were computed with a gradient, such as a result that is kept for a look at
        # it, cannot be copied otherwise.
        known: dict[int, Any] = {
            id(value): value.detach().clone()
            for value in _attributes(self._module)
            if isinstance(value, Tensor) and not value.is_leaf
        }
        try:
            return copy.deepcopy(self._module, known)
        except Exception as error:
            raise UserError(
                f"{self._named} holds what cannot be copied, so that it cannot be tried out: "
                f"{in_one_line(error)}"
            ) from error

    def _check_untouched(self, given: Tensor, x: Tensor) -> None:
        if not torch.equal(given, x):
            raise UserError(
                f"{self._named} changes its input in place, which training needs again; "
                "return a new tensor, as in x.clamp(min=0) instead of x.clamp_(min=0)"
            )

    def _failed_in_training(self, error: Exception) -> UserError:
        return UserError(f"{self._named} failed in a step of training: {in_one_line(error)}")

    def _mixes(self, how: str) -> UserError:
        return self._refusal(f"does not map each element by itself: {how}")

    def _refusal(self, what: str) -> UserError:
        where = " while it trains" if self._module.training else ""
        return UserError(f"{self._named}{where} {what}")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    """Numbers that neither a default device nor a default dtype of the user's changes."""
    return torch.randn(*shape, generator=_generator(seed), dtype=torch.float32, device="cpu")


def _attributes(module: nn.Module) -> Iterator[object]:
    for part in module.modules():
        yield from vars(part).values()
        yield from part.buffers(recurse=False)


def _generators(module: nn.Module) -> list[torch.Generator]:
    return [value for value in _attributes(module) if isinstance(value, torch.Generator)]


@contextlib.contextmanager
def _fixed_noise() -> Iterator[None]:
    """Let torch draw the same numbers each time, and go on afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
