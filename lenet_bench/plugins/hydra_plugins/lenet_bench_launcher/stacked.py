"""Hydra launcher `hydra/launcher=stacked`: collects the jobs of a sweep and trains them in stacks.

In: the overrides of each job. Out: trained runs, and a `JobReturn` per job. Hydra's steps are kept:
each job gets its directory, its `.hydra/` and its callbacks. But `lenet_bench.hydra_app.task` only
notes what is to be trained, and then everything is trained together. The task of another program
is simply run, job after job.

Hydra imports every plugin at start-up, so this file imports nothing heavy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

PREPARED = "{{:,}} of {:,} runs prepared"  # filled in twice


@dataclass
class StackedLauncherConf:
    """The launcher's options, as `StackedLauncher` takes them."""

    _target_: str = "hydra_plugins.lenet_bench_launcher.stacked.StackedLauncher"
    engine: str = "local"
    workers: Any = "auto"
    stack_size: Any = "auto"
    skip_finished: bool = True
    timeout: Any = 1800


ConfigStore.instance().store(
    group="hydra/launcher", name="stacked", node=StackedLauncherConf, provider="lenet_bench"
)


class StackedLauncher(Launcher):
    """Trains the jobs of a sweep in stacks.

    Args:
        engine: What trains: `local`, processes of this machine, is the only choice so far.
        workers: Number of worker processes, or `auto`: one per core.
        stack_size: The most runs in a stack, or `auto`: what suits the device.
        skip_finished: Whether finished runs in the sweep directory are left alone.
        timeout: Seconds without a word from a worker, after which it is killed; 0 is never.
    """

    def __init__(
        self,
        engine: str,
        workers: int | str,
        stack_size: int | str,
        skip_finished: bool,
        timeout: float,
    ) -> None:
        self.engine = engine
        self.workers = workers
        self.stack_size = stack_size
        self.skip_finished = skip_finished
        self.timeout = timeout
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over, and compose jobs fast.

        The sweeper holds the same context and composes every job once before it launches them.
        """
        from lenet_bench.hydra_app.fast_composition import COMPOSED, compose_fast

        compose_fast(hydra_context, COMPOSED)
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run each job, then train what the jobs asked for.

        Returns:
            A `JobReturn` per job; its value is the run's last validation loss in nats.
        """
        from lenet_bench.common.errors import UserError
        from lenet_bench.execution.options import parse_engine_options
        from lenet_bench.hydra_app.fast_composition import COMPOSED, compose_fast
        from lenet_bench.hydra_app.fast_jobs import JobRunner
        from lenet_bench.hydra_app.names import register_resolvers
        from lenet_bench.hydra_app.task import collecting, refuse_misplaced, train
        from lenet_bench.planning.plan_file import PLAN_FILE

        setup_globals()
        register_resolvers()
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        compose_fast(self.hydra_context, PREPARED.format(len(job_overrides)))
        given: Any = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)
        named_by_us = given["subdir"] == "${run_name:}"
        runner = JobRunner(self.hydra_context, self.task_function)
        with collecting(job_overrides) as collected:
            returns, owners = [], []
            for number, overrides in enumerate(job_overrides, initial_job_idx):
                before = len(collected)
                config = self._compose(number, overrides)
                if not named_by_us:
                    refuse_misplaced(str(config.hydra.sweep.subdir))
                returns.append(runner.run(config))
                configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
                owners.append(collected[before].directory if len(collected) > before else None)
            jobs = list(collected)
        compose_fast(self.hydra_context, COMPOSED)  # the next batch
        if not jobs:
            return returns
        # A sweep that is launched batch by batch has a plan for each.
        plan_file = f"plan-{initial_job_idx}.json" if initial_job_idx else PLAN_FILE
        try:
            results = train(jobs, parse_engine_options(vars(self)), folder / plan_file)
        except UserError as error:
            print(f"lenet-bench: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        for result, directory in zip(returns, owners, strict=True):
            if directory is not None:
                result.return_value = results[directory]
        return returns

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job."""
        assert self.config is not None
        assert self.hydra_context is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
        return config
