"""The plain network that a run trained, read back from its directory.

In: a run directory. Out: a `LeNet` in evaluation mode, on the CPU.
"""

from __future__ import annotations

from pathlib import Path

import torch

from lenet_bench.common.errors import UserError
from lenet_bench.config.schema import RunConfig
from lenet_bench.datasets.shape import ImageShape
from lenet_bench.model.lenet import LeNet
from lenet_bench.records.configuration import read_configuration
from lenet_bench.records.run_directory import read_status
from lenet_bench.training.build import plain_model


def load_model(run: str | Path) -> LeNet:
    """The plain LeNet that a run trained, in evaluation mode, on the CPU.

    Its inputs are images (B, C, H, W) scaled to [0, 1] and standardised by the `mean` and `std` in
    the run's `status.json`.

    Raises:
        UserError: The directory does not hold a run with weights.
    """
    directory = Path(run)
    try:
        # Whether its data are still there does not matter.
        config = RunConfig.model_validate(read_configuration(directory).content)
        facts = read_status(directory)["dataset"]
        state = torch.load(directory / "weights.pt", weights_only=True)
    except (OSError, KeyError, ValueError, UserError) as error:
        raise UserError(f"{directory} is not a run with weights: {error}") from None
    model = plain_model(config, ImageShape(facts["channels"], facts["size"], facts["classes"]))
    model.load_state_dict(state)
    return model.eval()
