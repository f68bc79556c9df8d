"""Which versions of Hydra and OmegaConf the fast paths know from the inside.

`fast_jobs` repeats what Hydra's `run_job` does, and `fast_copies` builds OmegaConf's nodes without
its constructors. Both use private names. With any other version they call the libraries instead.
"""

from __future__ import annotations

import hydra
import omegaconf
from hydra import version
from omegaconf import DictConfig

HYDRA = "1.3."
OMEGACONF = "2.3."


def knows_run_job(config: DictConfig) -> bool:
    """Whether `run_job` of this Hydra, with this `version_base`, does what `fast_jobs` does."""
    chdir_is_decided = config.hydra.job.chdir is not None or version.base_at_least("1.2")
    return chdir_is_decided and hydra.__version__.startswith(HYDRA)


def knows_nodes() -> bool:
    """Whether the nodes of this OmegaConf are built as `fast_copies` builds them."""
    return omegaconf.__version__.startswith(OMEGACONF)
