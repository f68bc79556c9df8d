"""What `device=` means on a machine."""

from __future__ import annotations

import pytest
import torch

from lenet_bench.training.devices import find_device
from tests.conftest import Configure


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("reproducible", [False, True])
def test_auto_is_a_gpu_unless_the_run_is_to_be_reproducible(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, gpu: bool, reproducible: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = configure("device=auto", reproducible=reproducible)
    assert find_device(config).type == ("cuda" if gpu and not reproducible else "cpu")
