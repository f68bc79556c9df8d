"""Runs to stacks: which runs are trained together, a pure function.

In: configurations, and how many workers there are. Out: stacks of indices, longest first. Every
run is in exactly one stack; a stack's runs agree in all that the batched program shares.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from lenet_bench.config import RunConfig

# Runs of a stack may differ in these; in everything else they agree.
PER_RUN = frozenset(
    {"activation", "init", "optimizer", "lr", "weight_decay", "schedule", "seed", "report"}
)
LARGEST_STACK = 16  # on a CPU, more runs only push each other out of the cache


def compatibility(config: RunConfig) -> str:
    """What runs must have in common to be trained as one stack."""
    shared = config.model_dump(mode="json", exclude=set(PER_RUN))
    # A user's own module may raise; then it takes no other run with it.
    own = config.activation.parameters.get("path") if config.activation.name == "custom" else None
    return json.dumps([shared, own], sort_keys=True)


def plan(
    configs: Sequence[RunConfig], *, workers: int, stack_size: int | None = None
) -> list[list[int]]:
    """Pack runs into stacks.

    Args:
        configs: The runs of a sweep.
        workers: How many stacks are trained at the same time.
        stack_size: The most runs in a stack; None chooses.

    Returns:
        The stacks as lists of indices into `configs`, longest first. A stack holds as few seeds as
        its size allows, since runs of one seed share their batches; within it, runs of one
        activation are neighbours, since they are computed together.
    """
    families: dict[str, list[int]] = defaultdict(list)
    for index, config in enumerate(configs):
        families[compatibility(config)].append(index)
    for members in families.values():
        members.sort(key=lambda index: (configs[index].seed, *_kind(configs[index])))

    limit = stack_size or LARGEST_STACK
    pieces = {key: -(-len(members) // limit) for key, members in families.items()}
    # Idle workers cost more than smaller stacks do.
    while sum(pieces.values()) < workers:
        key = max(pieces, key=lambda key: len(families[key]) / pieces[key])
        if pieces[key] >= len(families[key]):
            break
        pieces[key] += 1
    stacks = [
        sorted(part, key=lambda index: (*_kind(configs[index]), configs[index].seed))
        for key, members in families.items()
        for part in _split(members, pieces[key])
    ]
    return sorted(stacks, key=lambda stack: -_work(configs[stack[0]], len(stack)))


def _kind(config: RunConfig) -> tuple[str, str, str]:
    """What neighbours in a stack had better agree in."""
    activation = config.activation
    return activation.name, str(activation.parameters), config.optimizer.name


def _split(members: list[int], pieces: int) -> list[list[int]]:
    """Cut into pieces whose lengths differ by at most one."""
    cuts = [round(len(members) * k / pieces) for k in range(pieces + 1)]
    return [members[a:b] for a, b in pairwise(cuts)]


def _work(config: RunConfig, runs: int) -> int:
    # Epochs count as an unknown but equal number of iterations.
    return runs * (config.epochs or 1) * (1 if config.epochs else config.iterations)
