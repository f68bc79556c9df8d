"""PyTorch Lightning's usual `Trainer` on the tutorial's `DataLoader`.

In: the tutorial's images. Out: a trained model. Progress bar, checkpoints and logger are off.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.pace import Pacer
from benchmarks.peers.network import make_net
from benchmarks.peers.tutorial import loader
from benchmarks.workload import Workload


class Classifier(lightning.LightningModule):
    """The tutorial's network with its loss and optimizer."""

    def __init__(self, workload: Workload, seed: int) -> None:
        super().__init__()
        self.net = make_net(workload, seed)
        self.workload = workload

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of a mini-batch."""
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD with momentum."""
        return torch.optim.SGD(
            self.net.parameters(), lr=self.workload.lr, momentum=self.workload.momentum
        )


class Ticks(lightning.Callback):
    """Ticks the pacer after every iteration."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass on the loss that the step returned."""
        self.pacer.tick(outputs["loss"])


def train(workload: Workload, pacer: Pacer, *, models: int, loaders: int, seed: int) -> None:
    """Train one model on the CPU; torch chooses the threads."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Ticks(pacer)],
    )
    trainer.fit(Classifier(workload, seed), loader(workload, loaders))
