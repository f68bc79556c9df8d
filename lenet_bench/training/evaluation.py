"""Evaluation of networks on a split: loss and accuracy.

In: a forward pass of N networks, and a split on the device. Out: for each network the mean
cross-entropy and the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lenet_bench.datasets.batches import DeviceSplit
from lenet_bench.model.lenet import LeNet
from lenet_bench.model.loss import cross_entropy

CHUNK = 500  # images at a time of a plain LeNet


@torch.no_grad()
def evaluate(
    forward: Callable[[Tensor], Tensor], split: DeviceSplit, chunk: int
) -> tuple[list[float], list[float]]:
    """Evaluate N models on a split.

    Args:
        forward: Images (B, C, H, W) -> logits (N, B, classes).
        split: The images and labels.
        chunk: Images at a time.

    Returns:
        Of each model the mean cross-entropy in nats and the accuracy, a fraction in [0, 1].
    """
    loss, correct = torch.zeros(()), torch.zeros(())
    for images, labels in split.chunks(chunk):
        logits = forward(images)
        everyone = labels.expand(logits.shape[0], -1)  # (N, B)
        loss = loss.to(logits.device) + cross_entropy(logits, everyone).double() * len(labels)
        correct = correct.to(logits.device) + (logits.argmax(2) == everyone).sum(1)
    count = len(split)
    return (loss / count).tolist(), [hits / count for hits in correct.tolist()]


def evaluate_model(model: LeNet, split: DeviceSplit) -> tuple[float, float]:
    """Return mean cross-entropy in nats and accuracy of a plain LeNet on a split."""
    model.eval()
    losses, accuracies = evaluate(lambda images: model(images).unsqueeze(0), split, CHUNK)
    return losses[0], accuracies[0]
