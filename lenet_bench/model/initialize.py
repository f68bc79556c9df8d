"""Initial weights, drawn into a plain LeNet from one generator.

In: a LeNet, a scheme by name with its parameters, a generator, and for lsuv some images. Out: the
same LeNet, its weights and biases overwritten. Batch norms and learned slopes are left as they are
and draw nothing, so that a seed gives the same weights under every activation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from lenet_bench.choices.initialization import SCHEMES
from lenet_bench.model.lenet import LeNet

LSUV_TOLERANCE = 0.01  # of the variance, relative
LSUV_TRIES = 10  # per layer; one is enough unless rounding interferes

_log = logging.getLogger(__name__)


def initialize(
    model: LeNet,
    *,
    scheme: str,
    generator: Generator,
    gain: float = 1.0,
    bias: float | None = None,
    logits_gain: float = 1.0,
    parameters: Mapping[str, float] | None = None,
    images: Tensor | None = None,
) -> None:
    """Overwrite the weights and biases of every weighted layer, the logits included.

    Layers are drawn from `conv1` to `logits`, all by the same scheme. A `logits_gain` well below 1
    makes the first predictions nearly uniform, so that training starts near the loss of chance
    whatever the activation puts out. It also shrinks the first gradients of all layers below, which
    prolongs a sigmoid's plateau; 1 is the scheme by the book.

    Args:
        model: The network, on the generator's device.
        scheme: A name in `SCHEMES`.
        generator: Where the draw comes from; the same state gives the same weights.
        gain: Multiplies the weights (for lsuv: the deviation that layers put out);
            `gain_factor` resolves "auto" to this.
        bias: The constant of all biases; None is 0, except for torch_default, which draws them
            as torch does.
        logits_gain: Multiplies the weights of the logits once more.
        parameters: The scheme's own that differ from their defaults, such as normal's `std`.
        images: Standardised training images (B, C, H, W), for lsuv alone.

    Raises:
        ValueError: lsuv without images.
    """
    entry = SCHEMES[scheme]
    if entry.needs_images and images is None:
        raise ValueError(f"{scheme} adapts the weights to images and got none")
    values = {name: p.default for name, p in entry.parameters.items()} | dict(parameters or {})
    with torch.no_grad():
        for name in model.weighted_layers:
            layer = model.layer(name)
            assert layer.bias is not None
            entry.draw(layer.weight, generator, **values)
            layer.weight.mul_(gain)
            if bias is None and entry.draws_biases:
                bound = 1 / math.sqrt(layer.weight[0].numel())  # the fan-in
                layer.bias.uniform_(-bound, bound, generator=generator)
            else:
                layer.bias.fill_(bias or 0.0)
        if images is not None and entry.needs_images:
            _scale_to_unit_variance(model, images, gain)
        model.logits.weight.mul_(logits_gain)


def _scale_to_unit_variance(model: LeNet, images: Tensor, gain: float) -> None:
    """Scale layer after layer until its outputs, before the activation, deviate by `gain`."""
    training = model.training
    # Without the noise of RReLU and without touching the running statistics of batch norms.
    model.eval()
    x = images
    for name in model.weighted_layers:
        layer = model.layer(name)
        for _ in range(LSUV_TRIES):
            ratio = float(layer(x).double().var(correction=0)) / gain**2
            if not 0 < ratio < math.inf:
                _log.warning("lsuv: %s has no output variance to scale; left orthogonal", name)
                break
            if abs(ratio - 1) <= LSUV_TOLERANCE:
                break
            layer.weight.div_(math.sqrt(ratio))
        if name != "logits":
            x, _ = model.apply_hidden_layer(name, x)
    model.train(training)
