"""What Hydra calls for each job, and the training of jobs that a launcher collected.

In: a job's configuration. Out: a trained run, or a `Job` in the current session while the launcher
`stacked` collects them to train them together.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lenet_bench.common.errors import UserError
from lenet_bench.common.text import printable
from lenet_bench.config.errors import ConfigError, as_typed
from lenet_bench.config.schema import RunConfig
from lenet_bench.execution import sweep
from lenet_bench.execution.agreement import ChangedSweepError, neighbours
from lenet_bench.execution.options import EngineOptions
from lenet_bench.hydra_app.names import naming_by_what_varies
from lenet_bench.hydra_app.plain import plain
from lenet_bench.hydra_app.session import Job, current
from lenet_bench.hydra_app.stored_command import read_command
from lenet_bench.planning.plan_file import PLAN_FILE
from lenet_bench.records.configuration import FILE, flatten, read_configuration
from lenet_bench.records.run_directory import Run, mark_failed, mark_rejected, read_status


def task(config: DictConfig) -> float | None:
    """Train a job, or leave it to the launcher that collects jobs.

    Returns:
        The last validation loss in nats, for sweepers that optimise; None while collecting.
    """
    if config.get("plan"):
        return None  # asked for where no callback of ours could show it
    runtime = HydraConfig.get().runtime
    job = Job(plain(config), Path(runtime.output_dir), runtime.choices.get("experiment"))
    collected = current().collected
    if collected is not None:
        collected.append(job)
        return None
    loss = None
    try:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            refuse_misplaced(str(HydraConfig.get().sweep.subdir))
        loss = train([job], EngineOptions(), job.directory / PLAN_FILE)[job.directory]
    except ConfigError as error:
        mark_rejected(job.directory, str(error))
        print(f"lenet-bench: {error}", file=sys.stderr)
    except (DirectoryError, ChangedSweepError) as error:  # nothing is written there
        print(f"lenet-bench: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except UserError as error:
        mark_failed(_parsed([job])[job.directory], str(error))
        print(f"lenet-bench: {error}", file=sys.stderr)
    status = read_status(job.directory).get("status")
    if status == "failed" and HydraConfig.get().mode == RunMode.RUN:
        raise SystemExit(1)  # there is no sweep whose report would tell
    return loss


@contextlib.contextmanager
def collecting(job_overrides: Sequence[Sequence[str]]) -> Iterator[list[Job]]:
    """Let `task` only collect jobs, so that they can be trained together."""
    session = current()
    session.collected = []
    try:
        with naming_by_what_varies(job_overrides):
            yield session.collected
    finally:
        session.collected = None


def train(
    jobs: Sequence[Job], options: EngineOptions, plan_file: Path
) -> Mapping[Path, float | None]:
    """Train jobs in stacks.

    Args:
        jobs: All jobs of the sweep, those that are finished included.
        options: How to train.
        plan_file: Where the plan is kept.

    Returns:
        The last validation loss of each run directory, None where there is none.

    Raises:
        ConfigError: Some configurations are wrong; nothing was trained.
        DirectoryError: A run directory holds another run.
        ChangedSweepError: The sweep was begun otherwise.
        Interruption: Runs were stopped by a signal.
        UserError: The data cannot be loaded or the device cannot be used.
    """
    runs = _parsed(jobs)
    for run in runs.values():
        _refuse_another_run(run)
    resume_anyway = any(job.content.get("resume_anyway") for job in jobs)
    if len(runs) < len(jobs):
        print(repetitions(len(jobs), len(runs)), file=sys.stderr)
    options = replace(options, resume_anyway=resume_anyway)
    # What earlier commands began there, and the newest one did not ask for.
    older = neighbours(plan_file, runs, ended=False) if current().resumes else {}
    current().asked |= runs.keys() | older.keys()
    try:
        return sweep.train(
            {**runs, **older},
            options,
            plan_file,
            current().lock,
            before=_rehearse_report,
            agreed=current().keep_command,
            elsewhere=_is_typed_elsewhere(),
        )
    except ChangedSweepError as error:
        current().refused = True
        for directory in runs:  # those that Hydra has just made for this command
            if {path.name for path in directory.glob("*")} <= {".hydra"}:
                shutil.rmtree(directory, ignore_errors=True)
        raise error.of(current().directory) from None


class DirectoryError(UserError):
    """A run directory lies where no report finds it, or holds a run of another configuration."""


def refuse_misplaced(name: str) -> None:
    """Refuse a run directory that would not lie directly in the sweep directory.

    Args:
        name: What `hydra.sweep.subdir` means for a job.

    Raises:
        DirectoryError: It would not, and no report would find it.
    """
    if name in ("", ".", "..") or set(name) & {"/", "\\"}:
        raise DirectoryError(
            f"hydra.sweep.subdir={printable(name)}: must be the name of a folder in the sweep "
            "directory; values with a slash cannot be part of it"
        )


def _is_typed_elsewhere() -> bool:
    """Whether the command that trained in the sweep directory was typed in another folder."""
    session = current()
    if session.directory is None or session.command is None:
        return False
    try:
        before = read_command(session.directory)
    except UserError:
        return False
    return before is not None and before.folder != session.command.folder


def _rehearse_report() -> None:
    """Try what the report of this sweep needs, once, before training is paid for.

    Raises:
        DirectoryError: A report cannot be made.
    """
    session = current()
    if session.directory is None or session.rehearsed:
        return
    session.rehearsed = True
    from lenet_bench.reporting.rehearsal import rehearse

    try:
        rehearse(session.directory)
    except UserError as error:
        raise DirectoryError(f"{error} (nothing has been trained)") from None


def _refuse_another_run(run: Run) -> None:
    """Refuse to write into the directory of another run; the usual names tell runs apart."""
    # Of the job at hand Hydra has just written `.hydra/`; only `config.json` is of another.
    if run.directory.name.endswith(run.config.fingerprint) or not (run.directory / FILE).exists():
        return
    try:
        there = RunConfig.model_validate(read_configuration(run.directory).content)
    except (UserError, ValueError):
        return  # it cannot be read, or is of an older program, and is trained again
    if there.fingerprint != run.config.fingerprint:
        before, now = (flatten(each.model_dump(mode="json")) for each in (there, run.config))
        key = next(key for key in {**before, **now} if before.get(key) != now.get(key))
        raise DirectoryError(
            f"{run.directory}: holds another run ({key}={as_typed(before.get(key))}, now "
            f"{as_typed(now.get(key))}); choose another folder"
        )


def _parsed(jobs: Sequence[Job]) -> dict[Path, Run]:
    """The runs that jobs ask for, by directory; raises as `train` does."""
    runs: dict[Path, Run] = {}
    problems: list[str] = []
    for job in jobs:
        try:
            config = current().parser.parse(job.content)
        except ConfigError as error:
            problems += error.problems
        else:
            other = runs.get(job.directory)
            if other is not None and other.config.fingerprint != config.fingerprint:
                problems.append(
                    f"hydra.sweep.subdir: {job.directory.name} would hold several runs; leave it "
                    "out, or name everything that differs between them"
                )
            runs[job.directory] = Run(config, job.directory, job.preset)
    if problems:
        raise ConfigError(problems)
    return runs


def repetitions(jobs: int, runs: int) -> str:
    """What to say where several jobs are the same run."""
    return f"{jobs:,} combinations are {runs:,} different runs; each is trained once."
