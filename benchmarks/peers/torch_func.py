"""Several models at once by torch.func, as PyTorch's tutorial on model ensembling does it.

In: all images as one float32 tensor. Out: trained models, one per seed, that share their batches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F

from benchmarks.pace import Pacer
from benchmarks.peers.network import make_net
from benchmarks.workload import Workload
from lenet_bench.common.machine import available_cores


def train(workload: Workload, pacer: Pacer, *, models: int, loaders: int, seed: int) -> None:
    """Train a stack of models with a thread per core."""
    torch.set_num_threads(len(available_cores()))
    images = torch.from_numpy(workload.standardised()).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(workload.labels())
    nets = [make_net(workload, seed + number) for number in range(models)]
    stacked, _ = stack_module_state(nets)
    parameters = {name: value.detach() for name, value in stacked.items()}  # (models, ...)
    optimizer = torch.optim.SGD(parameters.values(), lr=workload.lr, momentum=workload.momentum)
    base = nets[0]

    def loss_of(one: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(base, one, (x,)), y)

    step = vmap(grad_and_value(loss_of), in_dims=(0, None, None))
    while True:
        order = torch.randperm(len(labels))
        for chosen in order[: workload.per_epoch * workload.batch].split(workload.batch):
            gradients, losses = step(parameters, images[chosen], labels[chosen])
            for name, parameter in parameters.items():
                parameter.grad = gradients[name]
            optimizer.step()
            pacer.tick(losses)
