"""Runs to stacks: decides which runs are trained together.

In: all runs of a sweep, what each will cost, and the number of workers. Out: stacks, the most
expensive first. Every run is in exactly one stack, and the runs of a stack agree in everything that
the batched program shares. A run with `reproducible=true` is alone and on one thread, so that its
bits depend on no other. `pack` is a pure function. `plan_sweep` asks the machine for its memory
first, and returns the plan that a sweep keeps; the plan does not depend on what is trained already.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lenet_bench.choices.activations import ACTIVATIONS
from lenet_bench.config.schema import RunConfig
from lenet_bench.planning.estimates import (
    DatasetFacts,
    Estimate,
    dataset_facts,
    estimate,
    worker_memory,
)

# Runs of a stack may differ in these; in everything else they agree.
PER_RUN = frozenset(
    {"activation", "init", "optimizer", "lr", "weight_decay", "schedule", "seed", "report"}
)
LARGEST_STACK = 16  # on a CPU, more runs push each other out of the cache
LARGEST_STACK_ON_GPU = 256  # a GPU is faster the more it gets at once, until memory runs out
OVERHEAD = 1.0  # what an iteration costs besides its runs, in runs: launching, the shared batch


@dataclass(frozen=True)
class PlannedStack:
    """Runs to train together, and what that costs.

    Attributes:
        index: Its number in the sweep; the most expensive stack is number 0.
        runs: The directories of its runs, in their order.
        iterations: Updates of each run.
        operations: Floating-point operations of all runs, with the overhead of the stack.
        bytes: Memory that the stack takes in its worker.
        threads: How many threads compute it; the bits of its runs depend on that.
    """

    index: int
    runs: tuple[Path, ...]
    iterations: int
    operations: float
    bytes: int
    threads: int


@dataclass(frozen=True)
class SweepPlan:
    """The stacks of a sweep.

    Attributes:
        workers: How many stacks are trained at the same time.
        stacks: The stacks, the most expensive first.
    """

    workers: int
    stacks: tuple[PlannedStack, ...]

    @property
    def runs(self) -> list[Path]:
        """The directories of all runs."""
        return [run for stack in self.stacks for run in stack.runs]


def plan_sweep(
    runs: Mapping[Path, RunConfig],
    *,
    workers: int,
    stack_size: int | None = None,
    gpu_memory: int | None = None,
    threads: Callable[[int], int] = lambda at_once: 1,
) -> SweepPlan:
    """Plan a sweep for this machine.

    Args:
        runs: All its runs, by their directories.
        workers: How many stacks are trained at the same time.
        stack_size: The most runs in a stack; None chooses.
        gpu_memory: Bytes of the GPU that trains them; None where processors do.
        threads: How many threads compute a stack, by the number of stacks trained at once.
    """
    configs = list(runs.values())
    data: dict[str, DatasetFacts] = {}
    estimates = []
    for config in configs:
        key = config.dataset.model_dump_json()
        if key not in data:
            data[key] = dataset_facts(config.dataset)
        estimates.append(estimate(config, data[key]))
    memory = worker_memory(workers, list(data.values())) if gpu_memory is None else gpu_memory
    stacks = pack(
        configs,
        workers=workers,
        stack_size=stack_size,
        estimates=estimates,
        memory=memory,
        largest=LARGEST_STACK if gpu_memory is None else LARGEST_STACK_ON_GPU,
    )
    directories = list(runs)
    each = threads(min(workers, len(stacks)))
    return SweepPlan(
        workers,
        tuple(
            PlannedStack(
                index,
                tuple(directories[member] for member in members),
                max(estimates[member].iterations for member in members),
                _operations(members, estimates),
                sum(estimates[member].bytes for member in members),
                1 if configs[members[0]].reproducible else each,
            )
            for index, members in enumerate(stacks)
        ),
    )


def compatibility(config: RunConfig) -> str:
    """What runs must have in common to be trained as one stack."""
    shared = config.model_dump(mode="json", exclude=set(PER_RUN))
    name = config.activation.name
    # A user's own module may raise an error, which ends its whole stack.
    custom = config.activation.parameters.get("path") if name == "custom" else None
    # Noise needs every input before pooling, which would slow down the rest of the stack.
    noisy = name in ACTIVATIONS and ACTIVATIONS[name].noisy
    return json.dumps([shared, custom, noisy], sort_keys=True)


def pack(
    configs: Sequence[RunConfig],
    *,
    workers: int,
    stack_size: int | None = None,
    estimates: Sequence[Estimate] | None = None,
    memory: int | None = None,
    largest: int = LARGEST_STACK,
) -> list[list[int]]:
    """Pack runs into stacks.

    Args:
        configs: The runs of a sweep.
        workers: How many stacks are trained at the same time.
        stack_size: The most runs in a stack; None chooses. A run with `reproducible=true` is alone.
        estimates: What each run costs; without, each costs its budget and no memory.
        memory: Bytes that a stack may take; None for no bound. A run that takes more than that is
            a stack of its own.
        largest: The most runs in a stack where `stack_size` is None, what suits the device.

    Returns:
        The stacks as lists of indices into `configs`, the most expensive first. Their number keeps
        all workers busy to the end, and stacks of compatible runs differ in size by at most one
        run. A stack holds as few seeds as its size allows, because runs of one seed share their
        batches. Within a stack, runs of one activation are neighbours, because they are computed
        together; activations that commute with max pooling come first.
    """
    costs = estimates or [_without_estimate(config) for config in configs]
    families: dict[str, list[int]] = defaultdict(list)
    for index, config in enumerate(configs):
        families[compatibility(config)].append(index)
    for members in families.values():
        members.sort(key=lambda index: (configs[index].seed, _kernel_key(configs[index])))

    limit = stack_size or largest
    fewest = {}
    for key, members in families.items():
        most = max(costs[index].bytes for index in members)
        fits = limit if memory is None or not most else min(limit, max(1, memory // most))
        if configs[members[0]].reproducible:
            fits = 1
        fewest[key] = -(-len(members) // fits)
    pieces = _choose_pieces(families, fewest, costs, workers)
    stacks = [
        sorted(part, key=lambda index: (_kernel_key(configs[index]), configs[index].seed))
        for key, members in families.items()
        for part in _split(members, pieces[key])
    ]
    return sorted(stacks, key=lambda stack: -_operations(stack, costs))


def _without_estimate(config: RunConfig) -> Estimate:
    # How many iterations an epoch has is unknown here, but it is the same for all.
    budget = config.epochs or config.iterations
    return Estimate(budget, float(budget), 0)


def _kernel_key(config: RunConfig) -> tuple[bool, str, str, str]:
    """Sort key that groups the runs of a stack that share kernels."""
    activation = config.activation
    entry = ACTIVATIONS.get(activation.name)
    pooled_first = entry is not None and entry.non_decreasing
    return not pooled_first, activation.name, str(activation.parameters), config.optimizer.name


def _split(members: list[int], pieces: int) -> list[list[int]]:
    """Cut into pieces whose sizes differ by at most one."""
    cuts = [round(len(members) * k / pieces) for k in range(pieces + 1)]
    return [members[a:b] for a, b in pairwise(cuts)]


def _operations(stack: Sequence[int], costs: Sequence[Estimate]) -> float:
    """Operations of a stack: those of its runs, and of `OVERHEAD` average runs besides."""
    operations = sum(costs[index].operations for index in stack)
    return operations * (1 + OVERHEAD / len(stack))


def _choose_pieces(
    families: Mapping[str, list[int]],
    fewest: Mapping[str, int],
    costs: Sequence[Estimate],
    workers: int,
) -> dict[str, int]:
    """Choose how many stacks to cut each family into, so that the last worker ends soonest.

    Starting with the fewest possible, the family with the most expensive stack is cut once more,
    two times as often as there are workers. The best of these cuts is taken, the first of equals.
    """
    pieces = dict(fewest)
    lengths = {key: _piece_operations(families[key], pieces[key], costs) for key in pieces}
    best, best_end = dict(pieces), makespan([s for each in lengths.values() for s in each], workers)
    for _ in range(2 * workers):
        divisible = [key for key in pieces if pieces[key] < len(families[key])]
        if not divisible:
            break
        key = max(divisible, key=lambda key: max(lengths[key]))
        pieces[key] += 1
        lengths[key] = _piece_operations(families[key], pieces[key], costs)
        end = makespan([s for each in lengths.values() for s in each], workers)
        # Among equals, a cut that keeps another worker busy is better.
        if end < best_end * (1 - 1e-9) or sum(pieces.values()) <= workers:
            best, best_end = dict(pieces), end
    return best


def _piece_operations(members: list[int], pieces: int, costs: Sequence[Estimate]) -> list[float]:
    return [_operations(part, costs) for part in _split(members, pieces)]


def makespan(lengths: Sequence[float], workers: int) -> float:
    """When the last worker ends, if each takes the most expensive stack that is left."""
    ends = [0.0] * workers
    for length in sorted(lengths, reverse=True):
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)
