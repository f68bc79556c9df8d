"""PyTorch's CIFAR-10 tutorial: `DataLoader`, torchvision transforms, one model, `loss.item()`.

In: uint8 images, handed out as PIL images, as torchvision's CIFAR10 does. Out: a trained model.
"""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.pace import Pacer
from benchmarks.peers.network import make_net
from benchmarks.workload import Workload


class Pictures(Dataset[Any]):
    """Images and labels the way torchvision's CIFAR10 keeps and returns them."""

    def __init__(self, workload: Workload) -> None:
        self.data = workload.pixels()
        self.targets = workload.labels().tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(workload.mean, workload.std)]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.data[index]
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        return self.transform(image), self.targets[index]


def loader(workload: Workload, workers: int) -> DataLoader[Any]:
    """Batches in random order; the workers, if any, outlive an epoch."""
    return DataLoader(
        Pictures(workload),
        batch_size=workload.batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )


def train(workload: Workload, pacer: Pacer, *, models: int, loaders: int, seed: int) -> None:
    """Train one model; torch chooses the threads."""
    trainloader = loader(workload, loaders)
    net = make_net(workload, seed)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=workload.lr, momentum=workload.momentum)
    running_loss = 0.0
    while True:
        for inputs, labels in trainloader:
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            pacer.tick(loss.item())
