"""Trains runs of a finished sweep once more, elsewhere, and compares what comes out.

In: a sweep directory, which is only read. Out: for each run of the stacks that were trained again,
where it differs first; and which conditions are not those of the first training.

The bits of a run depend on all runs of its stack, so stacks are trained whole. Who was in a stack,
and on how many threads, stands in the `status.json` of its runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_bench.common.errors import UserError
from lenet_bench.common.machine import available_cores
from lenet_bench.execution.agreement import conditions_now, differing_conditions
from lenet_bench.planning.plan_file import MOST_THREADS
from lenet_bench.records.comparison import differing_tables, values
from lenet_bench.records.configuration import has_configuration, read_run_configuration
from lenet_bench.records.damage import DamageError
from lenet_bench.records.file_facts import TABLES, WEIGHTS
from lenet_bench.records.run_directory import ENDED, Run, read_status
from lenet_bench.records.stored_status import STATUS, read_stored_status

if TYPE_CHECKING:
    from lenet_bench.datasets import Dataset

CONDITIONS = (
    *("versions", "source", "commit", "device", "device_name", "processor", "instruction_set"),
    "threads",
)
"""Fields of `status.json` that decide the numbers of a run besides its configuration."""


@dataclass(frozen=True)
class StoredStack:
    """Runs that were trained together.

    Attributes:
        runs: The directories of all of them, in their order.
        threads: That computed them.
        seconds: That took, as far as is known.
        ended: The statuses of those that finished or diverged.
    """

    runs: tuple[Path, ...]
    threads: int
    seconds: float
    ended: Mapping[Path, Mapping[str, Any]]


@dataclass(frozen=True)
class StoredSweep:
    """What a sweep directory holds.

    Attributes:
        stacks: Those that can be trained again, in the order of their first runs' names.
        others: Runs that ended and cannot be trained again, and why.
        unfinished: How many runs have not ended.
    """

    stacks: Sequence[StoredStack]
    others: Mapping[Path, str]
    unfinished: int


def read_stacks(sweep: Path) -> StoredSweep:
    """Find out which runs of a sweep were trained together.

    Raises:
        UserError: The directory holds no runs.
    """
    try:
        found = sorted(entry for entry in sweep.iterdir() if (entry / STATUS).exists())
    except OSError as error:
        raise UserError(f"{sweep}: cannot be read: {error.strerror}") from None
    if not found:
        raise UserError(f"{sweep}: holds no runs (no subdirectory with a {STATUS})")
    together: dict[tuple[tuple[Path, ...], int], dict[Path, Mapping[str, Any]]] = {}
    others: dict[Path, str] = {}
    unfinished = 0
    for run in found:
        try:
            status = read_stored_status(run)
        except DamageError as error:
            others[run] = str(error)
            continue
        if status["status"] not in ENDED:
            unfinished += 1
            continue
        names, threads = _composition(status)
        members = tuple(sweep / name for name in names)
        missing = [member.name for member in members if not has_configuration(member)]
        if run not in members or not threads:
            others[run] = f"{run / STATUS}: does not say which runs were in its stack"
        elif missing:
            others[run] = f"{sweep / missing[0]}: is gone, which was in its stack"
        else:
            together.setdefault((members, threads), {})[run] = status
    stacks = [
        StoredStack(members, threads, max(map(_seconds, ended.values())), ended)
        for (members, threads), ended in together.items()
    ]
    return StoredSweep(stacks, others, unfinished)


def _composition(status: Mapping[str, Any]) -> tuple[list[str], int]:
    """The names of the runs of a stack and its threads; none where that is not said."""
    stack, threads = status.get("stack"), status.get("threads")
    names = stack.get("runs") if isinstance(stack, dict) else None
    if not isinstance(names, list) or not isinstance(threads, int):
        return [], 0
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        return [], 0
    return names, threads if 1 <= threads <= MOST_THREADS else 0


def _seconds(status: Mapping[str, Any]) -> float:
    seconds = status["stack"].get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def choose_stacks(stacks: Sequence[StoredStack], runs: int | None) -> list[StoredStack]:
    """Choose as few stacks as hold so many runs that ended, spread evenly.

    Args:
        stacks: All of them.
        runs: How many runs at least; None is all.
    """
    for count in range(1, len(stacks)):
        chosen = [stacks[(2 * k + 1) * len(stacks) // (2 * count)] for k in range(count)]
        if runs is not None and sum(len(stack.ended) for stack in chosen) >= runs:
            return chosen
    return list(stacks)


def state_of_files(sweep: Path) -> dict[Path, tuple[int, int]]:
    """When the files of all runs were changed last, and their sizes."""
    files = (run / name for run in sweep.iterdir() for name in (STATUS, WEIGHTS, *TABLES))
    state = {}
    for file in files:
        try:
            facts = file.stat()
        except OSError:
            continue
        state[file] = (facts.st_mtime_ns, facts.st_size)
    return state


class Repetition:
    """Stacks of a sweep that are trained once more.

    Args:
        stacks: The stacks.
        folder: An empty folder for what is trained.
    """

    def __init__(self, stacks: Sequence[StoredStack], folder: Path) -> None:
        self._stacks, self._folder = stacks, folder
        self._data: dict[str, Dataset] = {}
        self._runs = [
            [
                Run(read_run_configuration(run), folder / str(number) / run.name)
                for run in stack.runs
            ]
            for number, stack in enumerate(stacks)
        ]

    def prepare(self) -> None:
        """Load the data, and find what keeps the runs from being trained here.

        Raises:
            UserError: Something does, or the data are not those of the first training.
        """
        from lenet_bench import datasets
        from lenet_bench.execution import workers
        from lenet_bench.training.build import check_on_this_machine

        configs = [run.config for runs in self._runs for run in runs]
        workers.try_out_foreign([config for config in configs if workers.is_foreign(config)])
        check_on_this_machine([config for config in configs if not workers.is_foreign(config)])
        for stack, runs in zip(self._stacks, self._runs, strict=True):
            settings = runs[0].config.dataset
            key = settings.model_dump_json()
            if key not in self._data:
                self._data[key] = datasets.load(**settings.model_dump(exclude_none=True))
            now = self._data[key].fingerprint
            for run, status in stack.ended.items():
                before = (status.get("dataset") or {}).get("fingerprint")
                if before != now:
                    where = f" in {settings.root}" if settings.root else ""
                    raise UserError(
                        f"{run}: was trained on other images of dataset={settings.name}{where}: "
                        f"their fingerprint was {before} and is {now} now"
                    )

    def train(self) -> None:
        """Train the stacks.

        Raises:
            KeyboardInterrupt: The user stopped it.
        """
        from lenet_bench.config.budget import budget
        from lenet_bench.execution import workers
        from lenet_bench.execution.progress import Progress
        from lenet_bench.execution.signals import StopRequest
        from lenet_bench.training.devices import find_device

        jobs, iterations = [], 0
        for number, (stack, runs) in enumerate(zip(self._stacks, self._runs, strict=True)):
            config = runs[0].config
            now = conditions_now({find_device(config)})
            key = config.dataset.model_dump_json()
            iterations += sum(budget(run.config, len(self._data[key].train)) for run in runs)
            jobs.append(
                workers.StackJob(
                    number,
                    tuple(runs),
                    key,
                    checkpoint=self._folder / "checkpoints" / f"stack-{number}.ckpt",
                    threads=stack.threads,
                    facts={name: now[name] for name in ("processor", "instruction_set", "source")},
                    anew=True,
                )
            )
        on_cpu = now["device"] == "cpu"
        cores = len(available_cores()) if on_cpu else 1
        count = min(len(jobs), max(1, cores // max(job.threads for job in jobs)))
        progress = Progress(sum(map(len, self._runs)), 0)
        stop = StopRequest()
        with progress.training(iterations, len(jobs), count):
            workers.train(
                jobs,
                self._data,
                workers=count,
                timeout=0,
                reports=workers.Reports(progress.advance, progress.finished),
                stop=stop,
            )
        if stop():
            raise KeyboardInterrupt

    def differences(self) -> dict[Path, str | None]:
        """Where each run that had ended differs first from what it is now, None if nowhere."""
        return {
            run: _difference(run, self._folder / str(number) / run.name)
            for number, stack in enumerate(self._stacks)
            for run in stack.ended
        }

    def differing_conditions(self) -> list[str]:
        """What of the conditions was otherwise when the runs were trained first."""
        lines: dict[str, None] = {}
        for number, stack in enumerate(self._stacks):
            for run, before in stack.ended.items():
                now = read_status(self._folder / str(number) / run.name)
                if now.get("status") in ENDED:
                    lines |= dict.fromkeys(differing_conditions(_chosen(before), _chosen(now)))
        return list(lines)


def _chosen(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: status.get(name) for name in CONDITIONS}


def _difference(stored: Path, now: Path) -> str | None:
    status = read_status(now)
    if status.get("status") not in ENDED:
        return f"could not be trained again: {status.get('error') or 'it has no status'}"
    return differing_tables(stored, now) or _differing_weights(stored / WEIGHTS, now / WEIGHTS)


def _differing_weights(stored: Path, now: Path) -> str | None:
    """Say where the tensors of two `weights.pt` differ first; a run that diverged has none."""
    from lenet_bench.training.saved_model import read_state

    files = [("stored", stored), ("now", now)]
    missing = [what for what, path in files if not path.exists()]
    if len(missing) == 2:
        return None
    if missing:
        return f"{WEIGHTS}: {missing[0]} missing"
    try:
        old, new = read_state(stored), read_state(now)
    except DamageError as error:
        return str(error)
    if old.keys() != new.keys():
        return f"{WEIGHTS}: {values(sorted(old), sorted(new))}"
    for name, tensor in old.items():
        other = new[name]
        facts = [(tuple(each.shape), each.dtype) for each in (tensor, other)]
        if facts[0] != facts[1]:
            return f"{WEIGHTS}, {name}: {values(*facts)}"
        places = (tensor != other).nonzero()
        if len(places):
            place: list[int] = places[0].tolist()
            pair = (tensor[tuple(place)].item(), other[tuple(place)].item())
            return f"{WEIGHTS}, {name}{place if place else ''}: {values(*pair)}"
    return None


def runs_of(stacks: Iterable[StoredStack]) -> int:
    """How many runs some stacks have."""
    return sum(len(stack.runs) for stack in stacks)
