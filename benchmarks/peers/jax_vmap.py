"""Several models at once by a jitted JAX vmap, in plain `jax.lax`.

In: all images as one float32 array on the device. Out: trained models, one per seed, that share
their batches. Parameters and momentum are donated, the gather is part of the compiled step, and the
host does not wait for the losses.

Images are (B, H, W, C) and kernels (H, W, in, out), as is usual with JAX.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.pace import Pacer
from benchmarks.workload import Workload

Parameters = dict[str, Any]


def initial(workload: Workload, key: Any) -> Parameters:
    """Xavier-uniform weights and zero biases of one model."""
    side = ((workload.size - 4) // 2 - 4) // 2
    shapes: dict[str, tuple[int, ...]] = {
        "conv1": (5, 5, workload.channels, 6),
        "conv2": (5, 5, 6, 16),
        "fc1": (16 * side * side, 120),
        "fc2": (120, 84),
        "fc3": (84, workload.classes),
    }
    parameters = {}
    for part, (name, shape) in zip(jax.random.split(key, len(shapes)), shapes.items(), strict=True):
        receptive = math.prod(shape[:-2])
        bound = math.sqrt(6 / (receptive * (shape[-2] + shape[-1])))
        weight = jax.random.uniform(part, shape, jnp.float32, -bound, bound)
        parameters[name] = {"weight": weight, "bias": jnp.zeros(shape[-1])}
    return parameters


def convolve(x: Any, layer: Any) -> Any:
    """Valid convolution with bias: (B, H, W, in) to (B, H - 4, W - 4, out)."""
    maps = lax.conv_general_dilated(
        x, layer["weight"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return maps + layer["bias"]


def pool(x: Any) -> Any:
    """2x2 max-pooling."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def loss_of(parameters: Parameters, x: Any, y: Any) -> Any:
    """Mean cross-entropy in nats of one model on images (B, H, W, C) with labels (B,)."""
    x = pool(jax.nn.relu(convolve(x, parameters["conv1"])))
    x = pool(jax.nn.relu(convolve(x, parameters["conv2"])))
    x = x.reshape(len(x), -1)
    for name in ("fc1", "fc2"):
        x = jax.nn.relu(x @ parameters[name]["weight"] + parameters[name]["bias"])
    logits = x @ parameters["fc3"]["weight"] + parameters["fc3"]["bias"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
    return -chosen.mean()


def train(workload: Workload, pacer: Pacer, *, models: int, loaders: int, seed: int) -> None:
    """Train a stack of models on JAX's CPU; it chooses the threads."""
    images = jax.device_put(workload.standardised())
    labels = jax.device_put(workload.labels().astype(np.int32))
    keys = jax.random.split(jax.random.key(seed), models)
    parameters = jax.vmap(partial(initial, workload))(keys)
    velocity = jax.tree.map(jnp.zeros_like, parameters)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(
        parameters: Parameters, velocity: Parameters, images: Any, labels: Any, chosen: Any
    ) -> tuple[Parameters, Parameters, Any]:
        gradient = jax.vmap(jax.value_and_grad(loss_of), in_axes=(0, None, None))
        losses, gradients = gradient(parameters, images[chosen], labels[chosen])
        velocity = jax.tree.map(lambda v, g: workload.momentum * v + g, velocity, gradients)
        parameters = jax.tree.map(lambda p, v: p - workload.lr * v, parameters, velocity)
        return parameters, velocity, losses

    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(workload.images).astype(np.int32)
        for k in range(workload.per_epoch):
            chosen = order[k * workload.batch : (k + 1) * workload.batch]
            parameters, velocity, losses = step(parameters, velocity, images, labels, chosen)
            pacer.tick(losses)
