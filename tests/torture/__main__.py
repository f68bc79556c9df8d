"""`make torture`: every kill and failure there is, and a line of numbers for each part.

In: nothing but the command. Out: what happened, on standard output and in a file; exit code 1 if a
row was lost or doubled, a file differs, a process was left behind, or an error was told badly.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.torture.commands import SHORT, Command, Server, missing
from tests.torture.compare import compare

SMALL = (
    "activation=rrelu,prelu", "init=xavier_uniform", "model.batch_norm=before", "iterations=45",
    "batch_size=16", "probe.every=20", "probe.images=32", "evaluate.every=15",
    "evaluate.train_images=64", "checkpoint.every=10", "dataset.train_size=200",
    "hydra.launcher.workers=1",
)  # fmt: skip
"""Two stacks, trained one after the other in the main process."""

BASIC = (*SMALL[:-1], "hydra/launcher=basic")
"""The same runs, each planned and trained by itself."""

LARGE = (
    "activation=rrelu,prelu,relu,tanh", "seed=0,1", "model.batch_norm=before", "iterations=3000",
    "batch_size=32", "probe.every=100", "probe.images=128", "evaluate.every=50",
    "optimizer=adam", "lr=0.001", "hydra.launcher.workers=2",
)  # fmt: skip
"""Eight runs, trained by two workers."""

FAILURES = (
    (errno.ENOSPC, False, 1), (errno.EIO, False, 1), (errno.EIO, True, 1), (errno.ENOSPC, True, 7),
    *((number, False, 7) for number in (errno.EROFS, errno.EACCES, errno.EMFILE, errno.ENOMEM)),
    *((number, False, 7) for number in (errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT)),
)  # fmt: skip
"""Errors of a disk: the number, whether only one operation fails, and how many are passed over."""

UPDATE = "training.step:TrainingStep.__call__"
PLACES = {
    "twice within one epoch": [f"{UPDATE}:30", f"{UPDATE}:10"],
    "on the boundary of an epoch": [f"{UPDATE}:13", f"{UPDATE}:12"],
    "before the first update": [f"{UPDATE}:1"],
    "in a probe": ["training.probes:Probe.measure:3", "training.probes:Probe.measure:1"],
    "in an evaluation": ["training.loop:evaluate:5", "training.loop:evaluate:2"],
    "in the final test": ["training.loop:evaluate_model:1", "training.loop:evaluate_model:1"],
    "while a checkpoint is written": [
        "records.checkpoint:CheckpointFile.write:3",
        "records.checkpoint:CheckpointFile.write:1",
    ],
    "while the weights are written": ["records.run_directory:RunRecorder.weights:2"],
    "while the plan is written": ["planning.plan_file:write_plan:1"],
    "in the report": ["reporting.report:write_report:1"],
}
"""Where a process is killed, one command after the other: before the call of this number."""


@dataclass
class Totals:
    """What all trials of a part came to."""

    trials: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    differing: int = 0
    orphans: int = 0
    complaints: list[str] = field(default_factory=list)

    def add(self, sweep: Path, undisturbed: Path, trial: str) -> None:
        """Compare what a trial left."""
        self.trials += 1
        found = compare(sweep, undisturbed)
        self.lost += found.lost
        self.doubled += found.doubled
        self.differing += len(found.files) + len(found.statuses)
        if found:
            self.complaints.append(f"{trial}: {found}")

    def expect(self, condition: bool, complaint: str) -> None:
        """Note what should have been otherwise."""
        if not condition:
            self.complaints.append(complaint)

    def __str__(self) -> str:
        return (
            f"{self.trials} trials, {self.kills} kills: lost rows {self.lost}, doubled rows "
            f"{self.doubled}, differing files {self.differing}, orphans {self.orphans}, "
            f"complaints {len(self.complaints)}"
        )


Say = Callable[[str], None]


def kill_at_operations(
    server: Server,
    folder: Path,
    say: Say,
    numbers: Iterable[int],
    error: int = 0,
    *,
    once: bool = False,
    command: Sequence[str] = SMALL,
) -> Totals:
    """Kill at each operation on the records of a small sweep, or let it fail; then go on.

    Args:
        server: What runs the command.
        folder: For the sweeps.
        say: Told what happens.
        numbers: The operations; the first number that lies behind the last operation ends it.
        error: The errno to fail with; 0 kills, `SHORT` lets writes take half of their bytes.
        once: Only that operation fails, and not those behind it.
        command: The arguments of the command.
    """
    totals, hit = Totals(), Counter[str]()
    undisturbed = folder / ("undisturbed" if command == SMALL else "undisturbed-basic")
    if not undisturbed.exists():
        done = server.run(command, undisturbed)
        assert done.code == 0, done.output
    for number in numbers:
        sweep = folder / f"operation-{number}"
        ended = server.run(command, sweep, at=number, error=error, once=once)
        if len(ended.operations) < number:
            shutil.rmtree(sweep)
            break
        operation = ended.operations[number - 1]
        hit[operation.split()[0]] += 1
        trial = f"operation {number} ({operation})"
        if error:
            totals.expect("Traceback" not in ended.output, f"{trial}: traceback\n{ended.output}")
            totals.expect(ended.code in (0, 1), f"{trial}: exit code {ended.code}\n{ended.output}")
            if ended.code == 0:  # an error that did no harm
                totals.add(sweep, undisturbed, f"{trial}: a success that did not happen")
            elif error > 0:
                words = os.strerror(error)
                clear = words in ended.output and f"lenet-bench: {words}" not in ended.output
                clear = clear and ".part" not in ended.output
                totals.expect(clear, f"{trial}: is not told clearly\n{ended.output}")
        else:
            totals.kills += 1
            totals.expect(ended.code == -9, f"{trial}: exit code {ended.code}\n{ended.output}")
        again = server.run(command, sweep)
        totals.expect(again.code == 0, f"{trial}, again: exit code {again.code}\n{again.output}")
        totals.expect("Traceback" not in again.output, f"{trial}, again:\n{again.output}")
        totals.add(sweep, undisturbed, trial)
        shutil.rmtree(sweep)
    say(f"  {', '.join(f'{count} {name}' for name, count in sorted(hit.items()))}")
    return totals


def kill_at_places(folder: Path, say: Say) -> Totals:
    """Kill within functions: in a probe, an evaluation, the report."""
    totals = Totals()
    undisturbed = folder / "undisturbed"
    run_to_the_end(SMALL, undisturbed)
    for name, places in PLACES.items():
        sweep = folder / name.replace(" ", "-")
        before = totals.kills
        for place in places:
            command = Command(SMALL, sweep, kill=f"lenet_bench.{place}")
            code = command.wait(120)
            totals.expect(code == -9, f"{name}: {place} killed nothing\n{command.output}")
            totals.kills += code == -9
            totals.orphans += len(command.orphans())
            command.close()
        finish(SMALL, sweep, totals, name)
        totals.add(sweep, undisturbed, name)
        say(f"  {name}: {totals.kills - before} kills")
        shutil.rmtree(sweep)
    return totals


def kill_at_random(folder: Path, kills: int, per_sweep: int, seed: int, say: Say) -> Totals:
    """Kill the main process of a larger sweep at random moments, then let it end.

    Args:
        folder: For the sweeps.
        kills: How many in all.
        per_sweep: After how many a sweep is left in peace.
        seed: Of the moments.
        say: Told what happens.
    """
    totals, moments = Totals(), random.Random(seed)  # noqa: S311  no secret
    undisturbed = folder / "undisturbed"
    start = time.monotonic()
    needed = run_to_the_end(LARGE, undisturbed)
    seconds = time.monotonic() - start
    say(f"  undisturbed: {needed:,} iterations of all runs in {seconds:.0f} s")
    while totals.kills < kills:
        sweep, computed, done = folder / f"sweep-{totals.trials}", 0, 0
        while done < min(per_sweep, kills - totals.kills):
            command = Command(LARGE, sweep)
            try:
                # Early enough to need many attempts: in start-up, training or the report.
                command.wait(moments.uniform(0.0, seconds / 5))
            except subprocess.TimeoutExpired:
                command.kill()
                done += 1
                totals.orphans += len(command.orphans())
                computed += command.iterations
                totals.expect("Traceback" not in command.output, command.output)
                command.close()
            else:
                computed += command.iterations
                command.close()
                break  # it came to its end before
        totals.kills += done
        computed += finish(LARGE, sweep, totals, sweep.name)
        totals.add(sweep, undisturbed, sweep.name)
        share = computed / needed - 1
        say(f"  {sweep.name}: {done} kills, {computed:,} iterations computed ({share:+.1%})")
        if done == per_sweep:
            totals.expect(share <= 0.10, f"{sweep.name}: {share:+.1%} iterations, more than 10 %")
        shutil.rmtree(sweep)
    return totals


def run_to_the_end(arguments: Sequence[str], sweep: Path) -> int:
    """Run a command undisturbed; returns the iterations that it computed."""
    command = Command(arguments, sweep)
    code = command.wait(1200)
    assert code == 0, command.output
    computed = command.iterations
    command.close()
    return computed


def finish(arguments: Sequence[str], sweep: Path, totals: Totals, trial: str) -> int:
    """Let a killed sweep come to its end; returns the iterations that it computed."""
    command = Command(arguments, sweep)
    code = command.wait(1200)
    totals.expect(code == 0, f"{trial}, to the end: exit code {code}\n{command.output}")
    totals.expect("Traceback" not in command.output, f"{trial}:\n{command.output}")
    computed = command.iterations
    command.close()
    return computed


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "--parts", nargs="*", default=["operations", "failures", "places", "random"]
    )
    parser.add_argument("--kills", type=int, default=200, help="at random moments, in all")
    parser.add_argument("--per-sweep", type=int, default=12, help="of these, in one sweep")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--every", type=int, default=1, help="hit each operation, or every n-th")
    parser.add_argument("--output", type=Path, help="a file for what is said")
    options = parser.parse_args()
    if problem := missing():
        print(f"torture: {problem}", file=sys.stderr)
        return 1
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        if options.output:
            options.output.write_text("\n".join(lines) + "\n")

    complaints: list[str] = []
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)

        def part(title: str, torture: Callable[[Path], Totals]) -> None:
            say(f"{title}:")
            place = folder / str(len(lines))
            place.mkdir()
            totals = torture(place)
            say(f"  {totals}")
            for complaint in totals.complaints:
                say(f"  ! {complaint}")
            complaints.extend(totals.complaints)
            if totals.orphans:
                complaints.append(f"{totals.orphans} orphans")

        with Server(folder / "server") as server:

            def at_operations(error: int, once: bool, step: int, place: Path) -> Totals:
                numbers = range(1, sys.maxsize, options.every * step)
                return kill_at_operations(server, place, say, numbers, error, once=once)

            if "operations" in options.parts:
                title = "Killed at every operation on the records of a small sweep, then repeated"
                part(title, partial(at_operations, 0, False, 1))
            if "failures" in options.parts:
                for error, once, step in FAILURES:
                    which = "operation" if step == 1 else f"{step}th operation"
                    where = f"at every {which}" if once else f"from every {which} on"
                    part(
                        f"Failing {where} ({os.strerror(error)}), then repeated",
                        partial(at_operations, error, once, step),
                    )
                title = "Every write takes half of its bytes"
                part(title, lambda place: kill_at_operations(server, place, say, [1], SHORT))
        if "places" in options.parts:
            title = "Killed inside a function, then repeated"
            part(title, lambda place: kill_at_places(place, say))
        if "random" in options.parts:
            title = f"Main process killed at random moments (seed {options.seed}), then repeated"
            part(
                title,
                lambda place: kill_at_random(
                    place, options.kills, options.per_sweep, options.seed, say
                ),
            )
    say("FAILED" if complaints else "passed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
