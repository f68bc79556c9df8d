"""One model on tensors in memory, standardised once: what a careful user writes.

In: all images as one float32 tensor. Out: a trained model. It runs as one process with a
thread for each core, or as one pinned process for each core, each with its own model.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from benchmarks.pace import Pacer
from benchmarks.peers.network import make_net
from benchmarks.workload import Workload
from lenet_bench.common.machine import available_cores


def train(workload: Workload, pacer: Pacer, *, models: int, loaders: int, seed: int) -> None:
    """Train one model with a thread per core that this process may use."""
    torch.set_num_threads(len(available_cores()))
    images = torch.from_numpy(workload.standardised()).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(workload.labels())
    net = make_net(workload, seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=workload.lr, momentum=workload.momentum)
    while True:
        order = torch.randperm(len(labels))
        for chosen in order[: workload.per_epoch * workload.batch].split(workload.batch):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            pacer.tick(loss.item())
