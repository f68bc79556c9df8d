"""What a user's own module remembers from one step to the next, besides its parameters.

In: a module. Out: its buffers, plain tensors, generators of random numbers, numbers and words, by
name; later they are put back in place. Other attributes (lists, objects of its own) are not known
and begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Value = bool | int | float | str

_BUFFER, _ATTRIBUTE, _GENERATOR = "buffer", "attribute", "generator"


def tensors_of_module(module: nn.Module) -> dict[str, Tensor]:
    """The buffers, the tensors that are attributes, and the states of generators that are."""
    found = {}
    for path, part in module.named_modules():
        for name, buffer in part.named_buffers(recurse=False):
            found[f"{path}:{_BUFFER}:{name}"] = buffer
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                found[f"{path}:{_ATTRIBUTE}:{name}"] = value
            elif isinstance(value, torch.Generator):
                found[f"{path}:{_GENERATOR}:{name}"] = value.get_state()
    return found


def values_of_module(module: nn.Module) -> dict[str, Value]:
    """The numbers and words that are attributes, of the module and of those inside."""
    return {
        f"{path}:{name}": value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, Value) and name != "training"
    }


@torch.no_grad()
def restore_module(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Value],
    device: torch.device,
) -> None:
    """Give a new module what another of its kind remembered."""
    here = tensors_of_module(module)
    for key, stored in tensors.items():
        path, kind, name = key.split(":")
        part = module.get_submodule(path)
        if kind == _GENERATOR:
            generator = vars(part).get(name)
            if not isinstance(generator, torch.Generator):
                generator = torch.Generator(device)
                setattr(part, name, generator)
            generator.set_state(stored.cpu())
        elif key in here and here[key].shape == stored.shape:
            here[key].copy_(stored)
        elif kind == _BUFFER and name not in dict(part.named_buffers(recurse=False)):
            part.register_buffer(name, stored.to(device))
        else:
            setattr(part, name, stored.to(here[key].device if key in here else device))
    for key, value in values.items():
        path, name = key.split(":")
        setattr(module.get_submodule(path), name, value)
