"""The names of LeNet's layers, as the network, `layers.csv` and the claims use them.

In: the number of fully connected hidden layers. Out: names, from the input to the output.
"""

from __future__ import annotations

LOGITS = "logits"
"""The output layer, which has weights but no units and no activation."""


def hidden_layer_names(fully_connected: int) -> tuple[str, ...]:
    """Return `conv1, conv2, fc1, ...`, with that many fully connected hidden layers."""
    return ("conv1", "conv2", *(f"fc{i + 1}" for i in range(fully_connected)))
