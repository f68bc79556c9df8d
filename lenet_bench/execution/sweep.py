"""One sweep: its directory, the names of its runs, and their training from plan to outcomes.

In: configurations as Hydra composes them, one by one. Out: trained runs and what became of them.
Torch is imported only once there is something to train.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from lenet_bench.common.errors import UserError
from lenet_bench.common.machine import available_cores
from lenet_bench.config.budget import budget, warmup_problem
from lenet_bench.config.schema import ConfigError, RunConfig, parse
from lenet_bench.planning import stacks as planner
from lenet_bench.planning.stacks import SweepPlan
from lenet_bench.records.run_directory import mark_failed, read_status

if TYPE_CHECKING:
    import torch

IN_EVERY_NAME = ("activation", "init", "lr", "seed")
ENDS_IN_FINGERPRINT = re.compile(r"-([0-9a-f]{8})$")


@dataclass(frozen=True)
class EngineOptions:
    """How stacks are trained; the launcher's options."""

    workers: int | None = None  # None: one per core, as far as there are stacks
    stack_size: int | None = None  # None: what suits the device
    skip_finished: bool = True


def engine_options(given: Mapping[str, Any]) -> EngineOptions:
    """Check the launcher's options, as in `hydra.launcher.workers=4`.

    Raises:
        ConfigError: Lists what is wrong with them.
    """
    problems = []
    if given["engine"] != "local":
        problems.append(f"hydra.launcher.engine={given['engine']}: must be local")
    for key in ("workers", "stack_size"):
        value = given[key]
        if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            problems.append(f"hydra.launcher.{key}={value}: must be auto or an integer >= 1")
    if not isinstance(given["skip_finished"], bool):
        value = given["skip_finished"]
        problems.append(f"hydra.launcher.skip_finished={value}: must be true or false")
    if problems:
        raise ConfigError(problems)
    numbers = {key: given[key] for key in ("workers", "stack_size") if given[key] != "auto"}
    return EngineOptions(**numbers, skip_finished=given["skip_finished"])


class _State:
    """What this process knows of the sweep that Hydra runs in it."""

    def __init__(self) -> None:
        self.directory: Path | None = None  # the sweep directory, once it exists
        self.new = False  # whether this process made it
        self.varying: tuple[str, ...] | None = None  # override keys that differ between jobs
        self.collected: list[tuple[DictConfig, Path]] | None = None  # while a launcher collects
        self.known_names: dict[Path, dict[str, str]] = {}  # by sweep directory and fingerprint


_state = _State()


def sweep_directory() -> Path | None:
    """The directory of the sweep that ran in this process; None before there is one."""
    return _state.directory


def is_new() -> bool:
    """Whether this process made the sweep directory."""
    return _state.new


class SweepDirectory(Callback):
    """Hydra callback: makes the sweep directory, so that no two sweeps ever share one.

    With `plan=true` it makes none: it shows the plan and ends the command.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Remember where a single run goes, or show its plan if that is what is asked for."""
        directory = Path(str(config.hydra.run.dir)).parent
        if config.get("plan"):
            _preview([config], directory, config)
        if directory == Path(str(config.hydra.sweep.dir)):  # not where the user put it elsewhere
            _state.directory, _state.new = directory, not directory.exists()

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Create the directory, under another name where another sweep took it first.

        A directory that the user names may exist: runs that it holds are not trained again.
        """
        wanted = Path(str(config.hydra.sweep.dir))
        if config.get("plan"):
            _preview(None, wanted, config)
        if directory_is_given(config):
            _state.new = not wanted.exists()
            found = _made(wanted)
        else:
            found, _state.new = _make_new(wanted), True
            with open_dict(config):
                # Each job is composed anew, from the overrides.
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{found}'")
        with open_dict(config):
            config.hydra.sweep.dir = str(found)
        _state.directory = found
        print(f"{found}: composing the runs", file=sys.stderr)


def directory_is_given(config: DictConfig) -> bool:
    """Whether the user named the sweep directory."""
    return any(str(item).startswith("hydra.sweep.dir=") for item in config.hydra.overrides.hydra)


def _preview(jobs: Sequence[DictConfig] | None, directory: Path, config: DictConfig) -> NoReturn:
    """Show the plan of jobs, None for those that a sweep's configuration asks for, and end."""
    from lenet_bench.hydra_app.preview import compose_jobs, show

    try:
        show(compose_jobs(config) if jobs is None else jobs, directory, config)
    except UserError as error:
        print(f"lenet-bench: {error}", file=sys.stderr)
        raise SystemExit(1) from None  # Hydra turns other exceptions of callbacks into warnings
    raise SystemExit(0)


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(
            f"lenet-bench: hydra.sweep.dir={directory}: cannot be made ({error.strerror}); "
            "name a folder that you may write to",
            file=sys.stderr,
        )
        raise SystemExit(1) from None  # Hydra turns other exceptions of callbacks into warnings
    return directory


def _make_new(wanted: Path) -> Path:
    _made(wanted.parent)
    number = 1
    while True:
        candidate = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            candidate.mkdir()
        except FileExistsError:
            number += 1
        else:
            return candidate


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration without its `hydra` node, as plain containers."""
    content: Any = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for key, value in config.items_ex(resolve=False)
        if key != "hydra"
    }
    if "${" in str(content):  # resolving takes much longer
        content = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    return {str(key): value for key, value in content.items()}


# --- names ----------------------------------------------------------------------------------------


def run_name(_root_: DictConfig) -> str:
    """Resolver of `hydra.sweep.subdir`: a readable slug of what varies, and a hash of it all."""
    config = parse(plain(_root_))
    known = _known_names(Path(str(_root_.hydra.sweep.dir)))
    if config.fingerprint in known:
        return known[config.fingerprint]
    overrides = [str(item).lstrip("+") for item in _root_.hydra.overrides.task]
    chosen = dict(item.split("=", 1) for item in overrides if "=" in item)
    names = [config.activation.name, config.init.name, f"lr{config.lr:g}", f"seed{config.seed}"]
    for key, value in chosen.items():
        varies = _state.varying is None or key in _state.varying
        if varies and key not in (*IN_EVERY_NAME, "experiment", "plan"):
            # Groups name themselves by their choice, other keys need their own name.
            group = value if value.isidentifier() and "." not in key else None
            names.insert(-2, group or f"{key.rsplit('.', 1)[-1]}{value}")
    slug = re.sub(r"[^\w.+-]+", "_", "-".join(names))[:120].strip("_")
    return f"{slug}-{config.fingerprint}"


def _known_names(directory: Path) -> dict[str, str]:
    """The runs that a sweep directory held at first, by fingerprint.

    What varies in one command may be constant in another, and so no part of the slug.
    """
    if directory not in _state.known_names:
        names = sorted(path.name for path in directory.glob("*-*") if path.is_dir())
        found = {match[1]: name for name in names if (match := ENDS_IN_FINGERPRINT.search(name))}
        _state.known_names[directory] = found
    return _state.known_names[directory]


def sweep_name(choice: str | None) -> str:
    """Resolver of `hydra.sweep.dir`: the preset's name, or `sweep`."""
    return "sweep" if choice in (None, "null", "None") else re.sub(r"[^\w.+-]+", "_", str(choice))


def register_resolvers() -> None:
    """Make `${run_name:}` and `${sweep_name:}` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)


# --- runs -----------------------------------------------------------------------------------------


def task(config: DictConfig) -> float | None:
    """What Hydra calls for each job: train it, or leave it to the launcher that collects them.

    Returns:
        The last validation loss in nats, for sweepers that optimise; None while collecting.
    """
    if config.get("plan"):
        return None  # asked for where no callback of ours could show it
    directory = Path(HydraConfig.get().runtime.output_dir)
    if _state.collected is not None:
        _state.collected.append((config, directory))
        return None
    loss = None
    try:
        loss = train([(config, directory)], EngineOptions()).get(directory)
    except UserError as error:
        mark_failed(directory, str(error))
        print(f"lenet-bench: {error}", file=sys.stderr)
    status = read_status(directory).get("status")
    if status == "interrupted":
        raise KeyboardInterrupt  # or the launcher would go on with the next job
    if status == "failed" and HydraConfig.get().mode == RunMode.RUN:
        raise SystemExit(1)  # there is no sweep whose report would tell
    return loss


@contextlib.contextmanager
def collecting(job_overrides: Sequence[Sequence[str]]) -> Iterator[list[tuple[DictConfig, Path]]]:
    """Let jobs only say what they want to train, so that it can be trained together."""
    _state.collected = []
    try:
        with naming(job_overrides):
            yield _state.collected
    finally:
        _state.collected = None


@contextlib.contextmanager
def naming(job_overrides: Sequence[Sequence[str]] | None) -> Iterator[None]:
    """Let the names of runs tell only what varies between these jobs, if they are known."""
    if job_overrides is None:
        yield
        return
    values: dict[str, set[str]] = {}
    for overrides in job_overrides:
        for item in overrides:
            key, _, value = item.lstrip("+~").partition("=")
            values.setdefault(key, set()).add(value)
    _state.varying = tuple(key for key, seen in values.items() if len(seen) > 1)
    try:
        yield
    finally:
        _state.varying = None


def train(
    jobs: Sequence[tuple[DictConfig, Path]],
    options: EngineOptions,
    plan_file: Path | None = None,
) -> Mapping[Path, float | None]:
    """Train jobs in stacks, and tell the user how it goes.

    Args:
        jobs: All runs of the sweep with their directories, those that are finished included: the
            plan does not depend on what is.
        options: How to train.
        plan_file: Where to keep the plan.

    Returns:
        The last validation loss of each run directory, None where there is none.

    Raises:
        ConfigError: Some configurations are wrong; nothing was trained.
        UserError: The data cannot be loaded or the device cannot be used.
    """
    configs = _parse_all(jobs)
    finished = {item for item in configs if options.skip_finished and is_finished(item)}
    from lenet_bench.execution.progress import Progress

    progress = Progress(len(configs), len(finished))
    if len(finished) < len(configs):
        _train(configs, finished, options, plan_file, progress)
    return {
        directory: read_status(directory).get("metrics", {}).get("validation_loss")
        for directory in configs
    }


def is_finished(directory: Path) -> bool:
    """Whether a run directory holds a run that was trained to its end, be it divergence."""
    return read_status(directory).get("status") in ("finished", "diverged")


def _parse_all(jobs: Sequence[tuple[DictConfig, Path]]) -> dict[Path, RunConfig]:
    configs: dict[Path, RunConfig] = {}
    problems: list[str] = []
    for config, directory in jobs:
        try:
            configs[directory] = parse(plain(config))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return configs


def arrange(configs: Mapping[Path, RunConfig], options: EngineOptions) -> SweepPlan:
    """The plan of a sweep on this machine.

    Raises:
        UserError: A device is not there.
    """
    from lenet_bench.training import build

    devices = _devices(configs.values())
    cpu = trains_on_cpu(configs.values())
    workers = options.workers or (len(available_cores()) if cpu else 1)  # a GPU serves one
    return planner.arrange(
        configs,
        workers=workers,
        stack_size=options.stack_size,
        gpu_memory=None if cpu else build.gpu_memory(devices) // workers,
    )


def _devices(configs: Iterable[RunConfig]) -> set[torch.device]:
    from lenet_bench.training import build

    wanted = {(config.device, config.precision) for config in configs}
    return {build.device(name, precision) for name, precision in wanted}


def trains_on_cpu(configs: Iterable[RunConfig]) -> bool:
    """Whether none of these runs needs a GPU.

    Raises:
        UserError: A device is not there.
    """
    return {device.type for device in _devices(configs)} == {"cpu"}


def _train(
    configs: Mapping[Path, RunConfig],
    finished: Collection[Path],
    options: EngineOptions,
    plan_file: Path | None,
    progress: Any,
) -> None:
    from lenet_bench import datasets
    from lenet_bench.execution import workers as local
    from lenet_bench.training import build
    from lenet_bench.training.loop import Run

    build.check_on_this_machine(
        [config for directory, config in configs.items() if directory not in finished]
    )
    plan = arrange(configs, options)
    if plan_file is not None:
        plan.write(plan_file)

    loaded: dict[str, datasets.Dataset] = {}
    jobs = []
    for stack in plan.stacks:
        left = [path for path in stack.runs if path not in finished]
        if not left:
            continue
        settings = configs[left[0]].dataset
        key = settings.model_dump_json()
        if key not in loaded:
            loaded[key] = datasets.load(**settings.model_dump(exclude_none=True))
        runs = tuple(Run(configs[directory], directory) for directory in left)
        jobs.append(local.StackJob(stack.index, runs, key))
    workers = min(plan.workers, len(jobs))
    total = 0
    for job in jobs:
        for run in job.runs:
            images = len(loaded[job.dataset].train)
            if problem := warmup_problem(run.config, images):
                raise UserError(problem)  # known beforehand but for the images of a folder
            total += budget(run.config, images)
    stop = local.StopRequest()
    with progress.training(total, len(jobs), workers):
        local.train(
            jobs,
            loaded,
            workers=workers,
            progress=progress.advance,
            finished=progress.finished,
            stop=stop,
        )
    if stop():
        progress.interrupted()
