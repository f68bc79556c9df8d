"""The plain network that a run trained, read back from its directory.

In: a run directory, perhaps from somebody else. Out: a `LeNet` in evaluation mode, on the CPU, or a
`UserError` that names the file and what is wrong with it. Reading weights executes nothing. The one
code that a run directory can name is a user's own activation, `activation.path`: it is imported, as
when the run was trained.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenet_bench.common.errors import UserError
from lenet_bench.common.regular_files import read_regular
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets.shape import ImageShape
from lenet_bench.model.lenet import LeNet
from lenet_bench.records.configuration import read_run_configuration
from lenet_bench.records.damage import DamageError, shown
from lenet_bench.records.file_facts import WEIGHTS, damage
from lenet_bench.records.stored_status import STATUS, read_stored_status
from lenet_bench.training.build import parameter_shapes, plain_model

_LARGEST = 1 << 30  # bytes of a weights.pt; LeNet's take 250,000


def load_model(run: str | Path) -> LeNet:
    """The plain LeNet that a run trained, in evaluation mode, on the CPU.

    Its inputs are images (B, C, H, W) scaled to [0, 1] and standardised by the `mean` and `std` in
    the run's `status.json`.

    Raises:
        UserError: The directory does not hold a run with weights, or they are not those of the run.
    """
    directory = Path(run)
    try:
        config = read_run_configuration(directory)
        status = read_stored_status(directory)
        shape = _image_shape(directory / STATUS, status)
        state = _read_weights(directory, status)
        _check(directory / WEIGHTS, state, config, shape)
    except DamageError as error:
        raise UserError(f"{directory} is not a run with weights: {error}") from None
    model = plain_model(config, shape)
    try:
        model.load_state_dict(state)
    except RuntimeError:  # a user's own activation has changed
        raise UserError(
            f"{directory / WEIGHTS}: does not fit the activation {config.activation.name} as it is "
            "now"
        ) from None
    return model.eval()


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a `weights.pt`, whatever else may have been put there.

    Raises:
        DamageError: It cannot be read, or is none.
    """
    return _state(path, _read(path))


def _image_shape(path: Path, status: Mapping[str, Any]) -> ImageShape:
    facts = status.get("dataset") or {}
    numbers = []
    for name in ("channels", "size", "classes"):
        value = facts.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**24:
            raise DamageError(path, f"dataset.{name} is {shown(value)}; it must be a whole number")
        numbers.append(value)
    return ImageShape(*numbers)


def _read_weights(directory: Path, status: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict in `weights.pt`, if it is the one that the status knows."""
    path = directory / WEIGHTS
    content = _read(path)
    facts = (status.get("files") or {}).get(WEIGHTS)
    if facts is not None and (
        problem := damage(directory, {"files": {WEIGHTS: facts}}, lambda _: content)
    ):
        raise DamageError(path, problem.removeprefix(f"{WEIGHTS} "))
    return _state(path, content)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _LARGEST)
    except FileNotFoundError:
        raise DamageError(path, "is missing") from None
    except OSError as error:
        raise DamageError(path, error.strerror or "cannot be read") from None


def _state(path: Path, content: bytes) -> dict[str, Tensor]:
    _check_archive(path, content)
    try:
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception:  # torch has many, and their advice is to load what is in there all the same
        raise DamageError(path, "holds something other than numbers; it is not loaded") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise DamageError(path, "is not the state of a network")
    return state


def _check_archive(path: Path, content: bytes) -> None:
    """Refuse what `torch.save` does not write: other formats, and parts that unfold when read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError):
        raise DamageError(path, "is damaged, or was not written by torch.save") from None
    packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
    if packed or sum(part.file_size for part in parts) > len(content):
        raise DamageError(path, "unfolds into more than it holds; it is not loaded")


def _check(path: Path, state: Mapping[str, Tensor], config: RunConfig, shape: ImageShape) -> None:
    """Compare the state with the network of the run, before any of that is allocated."""
    try:
        wanted = parameter_shapes(config, shape)
    except (ValueError, RuntimeError):
        raise DamageError(path.with_name(STATUS), "dataset: no network has these sizes") from None
    for name, size in wanted.items():
        if name not in state:
            raise DamageError(path, f"lacks {name}")
        if state[name].shape != size:
            found = tuple(state[name].shape)
            raise DamageError(path, f"{name} has the shape {found}; the run's has {tuple(size)}")
    for name, value in state.items():
        if name not in wanted and not name.startswith("activations."):
            raise DamageError(path, f"holds {shown(name)}, which the run's network does not have")
        if not _is_plain(value):
            raise DamageError(path, f"{name} is no plain array of numbers")
        if not bool(value.isfinite().all()):
            raise DamageError(path, f"{name} holds values that are not finite")


def _is_plain(value: Tensor) -> bool:
    """Whether every number of a tensor is there: a stride of 0 makes any size out of one number."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_complex():
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
