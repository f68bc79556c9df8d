"""How a sweep that goes on is trained: as it was begun, or not at all.

In: the plan that the command would make now, and the one that its directory holds. Out: the plan to
train by, or an error that says what differs. Runs that are trained in other stacks, by other code
or on other data than the rest of their sweep must not stand beside it unnoticed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_bench.common.errors import UserError
from lenet_bench.config.schema import RunConfig
from lenet_bench.planning.plan_file import StoredPlan, read_plan
from lenet_bench.planning.stacks import PlannedStack, SweepPlan
from lenet_bench.records.configuration import (
    flatten,
    read_configuration,
    read_run_configuration,
)
from lenet_bench.records.provenance import (
    commit,
    digest_of_module,
    processor,
    source_digest,
    versions,
)
from lenet_bench.records.run_directory import ENDED, Run, has_ended, read_status

if TYPE_CHECKING:
    import torch

KEPT = (*ENDED, "interrupted", "running")  # statuses of runs whose rows stay
SHOWN = 4  # names or values in a line of what differs


class ChangedSweepError(UserError):
    """A sweep was begun otherwise than the command would go on.

    Args:
        differences: What differs, a line for each.
        folder: The sweep directory, if there is one whose command can be repeated.
    """

    def __init__(self, differences: Sequence[str], folder: Path | None = None) -> None:
        self.differences = differences
        lines = "".join(f"\n  {line}" for line in differences)
        begun, command = "This run was", "the same command"
        if folder is not None:
            begun, command = f"{folder} was", f"lenet-bench resume={shlex.quote(str(folder))}"
        super().__init__(
            f"{begun} begun otherwise; what is left would not be trained as the rest was:{lines}\n"
            f"Undo what differs and repeat what began it ({command}), choose another directory, "
            "or go on all the same with resume_anyway=true."
        )

    def of(self, folder: Path | None) -> ChangedSweepError:
        """The same error, of a sweep directory."""
        return ChangedSweepError(self.differences, folder)


def conditions_now(devices: Iterable[torch.device]) -> dict[str, Any]:
    """What decides the numbers of a run besides its configuration, its stack and its data."""
    import torch

    from lenet_bench.training.devices import gpu_name

    devices = sorted(devices, key=str)
    gpus = [name for device in devices if (name := gpu_name(device)) is not None]
    return {
        "versions": versions(),
        "source": source_digest(),
        "commit": commit(),
        "device": ", ".join(map(str, devices)),
        "device_name": ", ".join(gpus) or None,
        "processor": processor(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }


def agree(
    file: Path,
    runs: Mapping[Path, Run],
    finished: Set[Path],
    fresh: SweepPlan,
    conditions: Mapping[str, Any],
) -> tuple[StoredPlan, list[str]]:
    """Compare the stored plan of a sweep with what a command asks for now.

    Args:
        file: The plan file, whether it is there or not.
        runs: The runs that are asked for now, and their `neighbours`.
        finished: Those of them that are finished.
        fresh: The plan that would be made of those that are asked for.
        conditions: Those of now.

    Returns:
        The plan to go on by, and what differs. Stored stacks are kept as they are; runs that are in
        none of these have their stacks of the fresh plan. That a sweep gets runs besides is no
        difference, nor that those are not asked for which are finished.
    """
    try:
        stored = read_plan(file)
    except UserError as error:
        return StoredPlan(fresh, conditions), [str(error)]
    if stored is None:
        return StoredPlan(fresh, conditions), list(_differing_statuses(runs, conditions))
    asked = {os.path.relpath(run, file.parent) for run in fresh.runs}
    names = {os.path.relpath(run, file.parent): run for run in runs}
    old = {os.path.relpath(run, file.parent): run for run in stored.plan.runs}
    begun = [run for run in stored.plan.runs if run not in finished and not has_ended(run)]
    differences = [
        *differing_conditions(stored.conditions, conditions),
        *_differing_runs(begun, old, {name: runs[names[name]].config for name in asked}),
        *_lost_neighbours(stored.plan, begun, {run for name, run in old.items() if name in names}),
    ]
    if not differences and not stored.resumed_anyway:
        differences += _differing_statuses(runs, conditions)
    kept = [
        replace(stack, runs=tuple(names[name] for name in members))
        for stack in stored.plan.stacks
        for members in [[os.path.relpath(run, file.parent) for run in stack.runs]]
        if stack.threads and all(name in names for name in members)
    ]
    # The bits of a run that is alone in its stack on one thread depend on neither.
    alone = {name for name, run in names.items() if runs[run].config.reproducible}
    shared = [run for name, run in old.items() if run in begun and name not in alone]
    if shared and stored.plan.workers != fresh.workers:
        differences.append(f"workers: {stored.plan.workers}, now {fresh.workers}")
    elif (
        shared
        and old.keys() == asked
        and not stored.has_grown
        and not _same_stacks(kept, fresh.stacks)
    ):
        sizes = [_listed(len(stack.runs) for stack in each) for each in (kept, fresh.stacks)]
        differences.append(
            f"runs in each stack: {sizes[0]}, now {sizes[1]} (another stack_size or memory)"
        )
    rest = _other_stacks(kept, fresh)
    agreed = replace(
        stored,
        plan=SweepPlan(fresh.workers, (*kept, *rest)),
        conditions={**conditions, **_data(stored)},
        has_grown=stored.has_grown or bool(kept and rest),
    )
    return agreed, differences


def agree_to_train_again(
    file: Path, fresh: SweepPlan, conditions: Mapping[str, Any]
) -> tuple[StoredPlan, list[str]]:
    """Compare the stored plan of a sweep with a command that trains again what has ended, too.

    Args:
        file: The plan file, whether it is there or not.
        fresh: The plan of the runs that are asked for.
        conditions: Those of now.

    Returns:
        The plan to train by, and what it would do to runs that are not asked for. Stacks in which
        nothing is asked for are kept.
    """
    try:
        stored = read_plan(file)
    except UserError:
        stored = None  # nobody can go on by it
    if stored is None:
        return StoredPlan(fresh, conditions), []
    asked = {os.path.relpath(run, file.parent) for run in fresh.runs}
    others = {run for run in stored.plan.runs if os.path.relpath(run, file.parent) not in asked}
    kept = [stack for stack in stored.plan.stacks if others.issuperset(stack.runs)]
    apart = others.difference(*(stack.runs for stack in kept))
    differences = []
    if lost := sorted(run.name for run in apart if not has_ended(run)):
        differences.append(
            f"{len(lost)} unfinished runs that are not asked for share a stack with runs that are, "
            f"and would lose what they have: {_listed(lost)}"
        )
    if not all(has_ended(run) for stack in kept for run in stack.runs):
        differences += differing_conditions(stored.conditions, conditions)
        if stored.plan.workers != fresh.workers:
            differences.append(f"workers: {stored.plan.workers}, now {fresh.workers}")
    if not kept:
        return StoredPlan(fresh, conditions), differences
    agreed = replace(
        stored,
        plan=SweepPlan(fresh.workers, (*kept, *_other_stacks(kept, fresh))),
        conditions={**conditions, **_data(stored)},
        has_grown=True,
    )
    return agreed, differences


def neighbours(file: Path, runs: Iterable[Path], *, ended: bool) -> dict[Path, Run]:
    """Runs of the stored plan that are not asked for, as far as they say what they train.

    Args:
        file: The plan file, whether it is there or not.
        runs: Those that are asked for.
        ended: Whether those are wanted that have ended, or those that have not.
    """
    try:
        stored = read_plan(file)
    except UserError:
        return {}
    asked = {os.path.relpath(run, file.parent) for run in runs}
    found = {}
    for run in stored.plan.runs if stored is not None else ():
        if os.path.relpath(run, file.parent) not in asked and has_ended(run) == ended:
            with contextlib.suppress(UserError):
                config = read_run_configuration(run)
                found[run] = Run(config, run, read_configuration(run).preset)
    return found


def note(stored: StoredPlan, differences: Sequence[str]) -> StoredPlan:
    """Write down that a sweep goes on although something differs."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"at": now, "differences": list(differences)}
    return replace(stored, resumed_anyway=(*stored.resumed_anyway, entry))


def with_data(stored: StoredPlan, fingerprints: Mapping[str, str]) -> tuple[StoredPlan, list[str]]:
    """Compare fingerprints of data sets with those of the beginning.

    Args:
        stored: The plan to go on by.
        fingerprints: Of the data sets that were loaded, by the settings that name them.

    Returns:
        The plan with the fingerprints of now, and what differs.
    """
    known = _data(stored).get("datasets", {})
    differences = [
        f"images of dataset {settings}: fingerprint {known[settings]}, now {fingerprint}"
        for settings, fingerprint in fingerprints.items()
        if known.get(settings, fingerprint) != fingerprint
    ]
    conditions = {**(stored.conditions or {}), "datasets": {**known, **fingerprints}}
    return replace(stored, conditions=conditions), differences


def _data(stored: StoredPlan) -> dict[str, Any]:
    known = (stored.conditions or {}).get("datasets")
    return {"datasets": known} if isinstance(known, dict) else {}


def differing_conditions(stored: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Iterable[str]:
    """A line for each of the conditions of now that is not what it was."""
    if stored is None:
        yield "begun by an older lenet-bench, which did not say how it trained"
        return
    flat, flat_now = flatten(stored), flatten(now)
    for key, value in flat_now.items():
        if key not in ("source", "commit") and flat.get(key) != value:
            yield f"{key}: {flat.get(key)}, now {value}"
    if flat.get("source") != now["source"]:
        yield (
            f"source code: {flat.get('source')} (commit {flat.get('commit')}), "
            f"now {now['source']} (commit {now['commit']})"
        )


def _differing_statuses(runs: Mapping[Path, Run], now: Mapping[str, Any]) -> Iterable[str]:
    """What differs between now and when runs were trained whose rows are kept."""
    trained: dict[str, list[str]] = {}
    for directory, run in runs.items():
        status = read_status(directory)
        stopped_before_it_began = status.get("status") == "interrupted" and "source" not in status
        if status.get("status") not in KEPT or stopped_before_it_began:
            continue
        differing = differing_conditions(
            {name: status.get(name) for name in ("source", "commit", "versions")},
            {name: now[name] for name in ("source", "commit", "versions")},
        )
        for name, digest in digest_of_module(run.config).items():
            if status.get(name) != digest:
                path = run.config.activation.parameters["path"]
                line = f"source code of {path}: {status.get(name)}, now {digest}"
                differing = [*differing, line]
        for line in differing:
            trained.setdefault(line, []).append(directory.name)
    for line, names in trained.items():
        yield f"{line}: of {_listed(names)}"


def _differing_runs(
    begun: Iterable[Path], old: Mapping[str, Path], now: Mapping[str, RunConfig]
) -> Iterable[str]:
    """What differs between the unfinished runs of the stored plan and those that are asked for."""
    names = {run: name for name, run in old.items()}
    gone = [names[run] for run in begun if names[run] not in now]
    if not gone:
        return
    new = [name for name in now if name not in old]
    before = [flatten(_known_configuration(old[name])) for name in gone]
    after = [flatten(now[name].model_dump(mode="json")) for name in new]
    if all(before) and after:
        for key in dict.fromkeys(key for each in (*before, *after) for key in each):
            values = [_values(configs, key) for configs in (before, after)]
            if values[0] != values[1]:
                yield f"{key}: {_listed(values[0])}, now {_listed(values[1])}"
    if new:
        yield f"{len(new)} runs that are not in its plan: {_listed(new)}"
    yield f"{len(gone)} unfinished runs of its plan that are not asked for: {_listed(gone)}"


def _lost_neighbours(plan: SweepPlan, begun: Sequence[Path], known: Set[Path]) -> Iterable[str]:
    """What to say of ended runs that cannot be computed again beside the unfinished ones."""
    lost = [
        run.name
        for stack in plan.stacks
        if any(run in begun for run in stack.runs)
        for run in stack.runs
        if run not in begun and run not in known
    ]
    if lost:
        yield (
            f"{len(lost)} runs that have ended share a stack with unfinished ones, and their "
            f"config.json cannot be read: {_listed(lost)}"
        )


def _known_configuration(directory: Path) -> Mapping[str, Any]:
    try:
        return read_configuration(directory).content
    except UserError:
        return {}


def _values(configs: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(config[key]) for config in configs if config.get(key) is not None})


def _same_stacks(stored: Sequence[PlannedStack], fresh: Sequence[PlannedStack]) -> bool:
    return [stack.runs for stack in stored] == [stack.runs for stack in fresh]


def _other_stacks(kept: Sequence[PlannedStack], fresh: SweepPlan) -> list[PlannedStack]:
    """Stacks of the fresh plan, of the runs that no kept stack holds, numbered behind these."""
    known: Set[Path] = {run for stack in kept for run in stack.runs}
    first = max((stack.index for stack in kept), default=-1) + 1
    left = [
        replace(stack, runs=tuple(run for run in stack.runs if run not in known))
        for stack in fresh.stacks
    ]
    return [
        replace(stack, index=first + number)
        for number, stack in enumerate(stack for stack in left if stack.runs)
    ]


def _listed(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    more = f", ... ({len(texts)})" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more if texts else "none"
