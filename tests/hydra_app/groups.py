"""The choices that each group must have, by the tables that they come from."""

from __future__ import annotations

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.choices.optimizers import OPTIMIZERS
from lenet_bench.choices.schedules import SCHEDULES

CHOICES = {
    "activation": [*ACTIVATIONS, "custom"],
    "init": [*SCHEMES],
    "optimizer": [*OPTIMIZERS],
    "schedule": [*SCHEDULES],
    "dataset": ["digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "image_folder", "fake"],
    "model": ["lenet5", "lenet_caffe"],
    "experiment": [
        *("all_activations", "batch_norm_order", "depth", "dying_relu", "init_scheme"),
        *("learning_rate", "leaky_slope", "optimizer", "relu_family", "sigmoid_tanh_relu"),
        *("smoke", "smooth_family", "sparsity", "debug"),
    ],
    "hydra/launcher": ["stacked", "basic"],
}
