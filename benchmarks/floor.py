"""The floor: how long the arithmetic of a training step takes at the speed of matrix products.

In: the architecture. Out: the exact number of floating-point operations of a step, and a peer that
multiplies square float32 matrices (sgemm). No useful arithmetic is faster. Its rate is measured in
the same invocation as everything else.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from benchmarks.pace import Pacer
from benchmarks.workload import Workload
from lenet_bench.common.machine import available_cores

SIDE = 2048  # rows and columns of the matrices; large enough for the full rate
PRODUCT_FLOPS = 2 * SIDE**3  # of one product
KERNEL = 5
CHANNELS = (6, 16)
HIDDEN = (120, 84)


def step_flops(workload: Workload) -> int:
    """Floating-point operations of one training step of one LeNet-5.

    A multiplication and an addition count as two. A layer's forward pass costs as much as the
    gradient of its weights and that of its input; the first layer needs no gradient of its input.
    Biases, activations, pooling and the optimizer are left out: less than 3 % of the operations.
    """
    side = workload.size - KERNEL + 1
    layers = [2 * side**2 * CHANNELS[0] * workload.channels * KERNEL**2]
    side = side // 2 - KERNEL + 1
    layers.append(2 * side**2 * CHANNELS[1] * CHANNELS[0] * KERNEL**2)
    widths = (CHANNELS[1] * (side // 2) ** 2, *HIDDEN, workload.classes)
    layers += [2 * a * b for a, b in pairwise(widths)]
    return workload.batch * (3 * sum(layers) - layers[0])


def train(workload: Workload, pacer: Pacer, **_: Any) -> None:
    """Multiply matrices, with a thread per core that this process may use."""
    import torch

    torch.set_num_threads(len(available_cores()))
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    c = torch.empty(SIDE, SIDE)
    while True:
        torch.mm(a, b, out=c)
        pacer.tick(0.0)
