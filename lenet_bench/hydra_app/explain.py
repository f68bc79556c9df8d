"""Errors that Hydra raises, in a line for the user."""

from __future__ import annotations

from omegaconf.errors import OmegaConfBaseException

from lenet_bench.common.errors import UserError


def explain(error: BaseException) -> str:
    """An error of Hydra's in one line: the user's mistake behind it, where there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    source = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    lines = [line.strip() for line in str(source).splitlines()]
    noise = ("full_key:", "object_type=", "provider=")
    kept = [line for line in lines if line and not line.startswith(noise) and line[-1] != ":"]
    return "; ".join(line.removesuffix(".") for line in kept[:2]) or type(error).__name__
