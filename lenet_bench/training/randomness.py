"""Where random numbers come from: one stream per seed and use, so that no use shifts another.

In: a run's seed and what the numbers are for. Out: a generator. Runs of one seed draw the same
weights and the same batches, whatever else differs between them.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Use(IntEnum):
    """What a stream of random numbers is for."""

    INITIAL_WEIGHTS = 0
    BATCH_ORDER = 1
    NOISE = 2


def stream(seed: int, use: Use, device: torch.device | None = None) -> torch.Generator:
    """Return the generator of one use of randomness in runs of a seed.

    Args:
        seed: Of the run.
        use: What is drawn.
        device: Where it is drawn; None is the CPU.
    """
    state = np.random.SeedSequence((seed, int(use))).generate_state(1, np.uint64)
    generator = torch.Generator(device or torch.device("cpu"))
    return generator.manual_seed(int(state[0]) >> 1)
