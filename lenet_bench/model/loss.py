"""The loss that every run minimises.

In: logits and labels of N runs. Out: a loss for each of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each run in nats.

    Args:
        logits: (N, B, classes).
        labels: (N, B).

    Returns:
        (N,).
    """
    # bfloat16 has too few digits for a logarithm of a sum; float64 must not lose its own.
    wide = logits.float() if logits.dtype == torch.bfloat16 else logits
    each = F.cross_entropy(wide.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(1)
