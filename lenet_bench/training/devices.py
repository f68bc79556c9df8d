"""Devices and number formats: what `device=` and `precision=` mean on this machine.

In: names from the configuration. Out: torch's devices and dtypes, the name of a GPU, and how much
memory a stack may take on it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from lenet_bench.common.errors import UserError
from lenet_bench.config.schema import RunConfig
from lenet_bench.records.provenance import processor

GPU_SHARE = 0.8  # of its memory; the rest is for the libraries, the data and fragments

# Parameters stay in float32 under bfloat16, as mixed precision keeps them.
PARAMETER_TYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.float32,
}
COMPUTE_TYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
}


def find_device(config: RunConfig) -> torch.device:
    """Return the device that a run is to be trained on, on this machine.

    `device=auto` is the first GPU of CUDA, if there is one and the run need not be reproducible.

    Raises:
        UserError: The machine has no such device, or the device no such precision.
    """
    name = config.device
    if name == "auto":
        on_gpu = torch.cuda.is_available() and not config.reproducible
        return torch.device("cuda" if on_gpu else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            have = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
            raise UserError(f"device={name}: this machine has {have}; use device=auto or cpu")
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(f"device={name}: this machine has no MPS; use device=auto or cpu")
        if config.precision == "float64":
            raise UserError(f"device={name}: MPS has no float64; use device=cpu")
    return device


def gpu_name(device: torch.device) -> str | None:
    """The name of a GPU as its maker calls it; None where the device is none."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor() if device.type == "mps" else None  # Apple's are one chip


def gpu_memory(devices: Iterable[torch.device]) -> int:
    """Return the bytes that a stack may take on the smallest of some GPUs: most of what it has."""
    memories = []
    for device in devices:
        if device.type == "cuda":
            memories.append(torch.cuda.get_device_properties(device).total_memory)
        elif device.type == "mps":
            memories.append(torch.mps.recommended_max_memory())
    return int(GPU_SHARE * min(memories))
