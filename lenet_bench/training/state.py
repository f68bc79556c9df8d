"""The state of a stack: all that the iterations to come depend on, apart from its configuration.

In: a `Setup`. Out: its state as named tensors and values; later, a new `Setup` brought to that
state. Tensors are overwritten in place: views of them stay views, and a captured CUDA graph keeps
its addresses. The order of the batches is not part of it, because it can be drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lenet_bench.model.module_state import restore_module, tensors_of_module, values_of_module
from lenet_bench.training.setup import Setup

State = dict[str, Tensor]


def _in_place(setup: Setup) -> State:
    """The tensors that are there from the first iteration to the last."""
    return {
        **{f"stack.{name}": tensor for name, tensor in setup.stack.state.items()},
        **{f"optimizer.{name}": tensor for name, tensor in setup.optimizer.state.items()},
    }


def tensors_of(setup: Setup) -> State:
    """Copy the tensors of the state to the CPU; on the CPU they are the tensors themselves."""
    activations = setup.stack.activations
    state = {
        **_in_place(setup),
        **{
            f"noise.{number}": generator.get_state()
            for number, generator in enumerate(activations.generators)
        },
        **{
            f"module.{place}/{name}": tensor
            for place, module in activations.modules.items()
            for name, tensor in tensors_of_module(module).items()
        },
    }
    if setup.probe is not None:
        dead = setup.probe.dead_before
        state |= {f"dead.{layer}": units for layer, units in dead.items()}
    if activations.hold_foreign_code:
        state["global.cpu"] = torch.get_rng_state()
        if setup.device.type == "cuda":
            state["global.cuda"] = torch.cuda.get_rng_state(setup.device)
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def values_of(setup: Setup) -> dict[str, Any]:
    """The part of the state that is no tensors: what a user's own modules count."""
    modules = setup.stack.activations.modules
    return {place: values_of_module(module) for place, module in modules.items()}


@torch.no_grad()
def restore(setup: Setup, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Bring what a stack trains with to a state, of the same runs on the same device.

    Raises:
        KeyError: The state lacks a part.
    """
    for name, tensor in _in_place(setup).items():
        tensor.copy_(tensors[name])
    activations = setup.stack.activations
    for number, generator in enumerate(activations.generators):
        generator.set_state(tensors[f"noise.{number}"])
    for place, module in activations.modules.items():
        own = _below(f"module.{place}/", tensors)
        restore_module(module, own, values[place], setup.device)
    if setup.probe is not None:
        for layer, units in _below("dead.", tensors).items():
            setup.probe.dead_before[layer] = units.to(setup.device)
    if activations.hold_foreign_code:
        torch.set_rng_state(tensors["global.cpu"])
        if setup.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["global.cuda"], setup.device)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> State:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
