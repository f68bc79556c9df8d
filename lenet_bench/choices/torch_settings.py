"""What a user's code may change of torch as a whole, and how it is undone.

In: a stretch of foreign code. Out: the settings that it changed, as they were before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

Getter = Callable[[], Any]
Setter = Callable[[Any], object]


@contextlib.contextmanager
def settings_put_back() -> Iterator[Callable[[], list[str]]]:
    """Undo what a user's code does to torch as a whole.

    Yields:
        A function that names the settings that differ by now.
    """
    settings = _settings()
    before = {name: get() for name, (get, _) in settings.items()}

    def changed() -> list[str]:
        return [name for name, (get, _) in settings.items() if get() != before[name]]

    try:
        yield changed
    finally:
        for name in changed():
            settings[name][1](before[name])


def _settings() -> dict[str, tuple[Getter, Setter]]:
    """How to ask for each setting, and how to make it."""
    return {
        "default device": (torch.get_default_device, torch.set_default_device),
        "number of threads": (torch.get_num_threads, torch.set_num_threads),
        "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
        "search for anomalies": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        "deterministic algorithms": (_determinism, _set_determinism),
        "matmul precision": (
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        "use of oneDNN": _flag(torch.backends.mkldnn, "enabled"),
        "use of cuDNN": _flag(torch.backends.cudnn, "enabled"),
        "choice of cuDNN's algorithms": _flag(torch.backends.cudnn, "benchmark"),
        "determinism of cuDNN": _flag(torch.backends.cudnn, "deterministic"),
        "rounding of very small numbers": (_flushes, torch.set_flush_denormal),
    }


def _flag(module: object, name: str) -> tuple[Getter, Setter]:
    return lambda: getattr(module, name), lambda value: setattr(module, name, value)


def _determinism() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_determinism(wanted: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(wanted[0], warn_only=wanted[1])


def _flushes() -> bool:
    """Whether numbers below the normal ones become 0; torch does not tell."""
    return bool(torch.tensor([1e-38], dtype=torch.float32, device="cpu").mul(1e-3).eq(0).item())
