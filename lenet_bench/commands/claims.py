"""`lenet-bench-claims`: trains what the claims need and decides them.

In: a command line. Out: a sweep for each preset with its `evidence.csv`, then `claims.csv` and
`claims.html`. Presets are trained by the ordinary command, one after another. Finished runs are not
trained again: the same command with the same `--output` continues where it stopped, or decides anew
if nothing is missing. After Ctrl-C or a failure that command is the last line. Verdicts of claims
that `--only` leaves out stay as they are.

Exit code 1: a mistake, or a preset that failed. 130: stopped by Ctrl-C; 143 by SIGTERM,
129 by SIGHUP.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import new_folder, write_atomically
from lenet_bench.common.lock import FolderLock, lock_folder
from lenet_bench.common.parent import end_with_parent
from lenet_bench.common.streams import forgiving_output
from lenet_bench.common.surroundings import OF_COMMANDS, explain_surroundings, surroundings
from lenet_bench.common.text import printable
from lenet_bench.execution.signals import caught, signals_end_the_command
from lenet_bench.hydra_app.groups import quote

if TYPE_CHECKING:
    import pandas as pd

    from lenet_bench.claims.registry import Claim

ROUNDS = "activation_cost_rounds.csv"
COMPARED = ("relu", "sigmoid", "tanh", "swish", "hard_swish")
FAULTS = (UserError, ImportError, MemoryError, OSError)  # of the user or the machine
RESERVED = ("experiment", "hydra.sweep.dir", "plan")  # keys that this command sets itself


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    with signals_end_the_command(), forgiving_output(), surroundings(OF_COMMANDS):
        given = _parser().parse_intermixed_args(arguments)
        only = [word for word in given.only or () if "=" not in word]
        overrides = [*given.overrides, *(word for word in given.only or () if "=" in word)]
        try:
            code = _run(only, overrides, given.output)
        except FAULTS as error:
            _say(error)
            code = 1
        sys.exit(code)


def _say(error: Exception) -> None:
    """Say what went wrong."""
    text = str(error) if isinstance(error, UserError) else explain_surroundings(error)
    print(f"lenet-bench-claims: {text}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lenet-bench-claims",
        description="Train what the claims about activation functions need, preset by preset, and "
        "decide them by rules that are the same for every run. Overrides are those of lenet-bench "
        "and go to every preset.",
        epilog="example: lenet-bench-claims dataset=cifar10 --only sigmoid_slower dead_stays_dead",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="e.g. dataset=cifar10 iterations=1000"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where sweeps and tables go (default: a new runs/claims-TIME); one that exists is "
        "continued",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="CLAIM", help="identifiers of claims, as claims.csv lists them"
    )
    return parser


def _run(only: Sequence[str], overrides: Sequence[str], output: Path | None) -> int:
    # This takes a second or two to import; --help does not wait for it.
    from lenet_bench.claims.registry import CLAIMS, COST, EXACT

    claims = _choose(only, CLAIMS)
    presets = list(dict.fromkeys(claim.preset for claim in claims.values()))
    trained = [preset for preset in presets if preset not in (COST, EXACT)]
    _check(trained, overrides)
    directory = output or new_folder("claims")
    again = _how_to_go_on(overrides, directory, only)
    lock = _lock(directory)
    try:
        _mark(directory, overrides)
        return _fill(directory, claims, presets, overrides, again)
    finally:
        lock.release()


def _how_to_go_on(overrides: Sequence[str], directory: Path, only: Sequence[str]) -> str:
    """The command that goes on; `--only` comes last, because it takes all words behind it."""
    names = ["--only", *only] if only else []
    return shlex.join(["lenet-bench-claims", *overrides, "--output", str(directory), *names])


def _fill(
    directory: Path,
    claims: Mapping[str, Claim],
    presets: Sequence[str],
    overrides: Sequence[str],
    again: str,
) -> int:
    """Decide the claims in a directory that no other command writes to.

    Returns:
        The exit code. If it is not 0, `again` is the last line: the command that goes on.
    """
    from lenet_bench.claims.registry import COST

    others = _read_other_claims(directory / "claims.csv", claims)
    rounds = _read_costs(directory / ROUNDS) if COST in presets else None

    try:
        rows, failed = _decide_all(claims, presets, overrides, directory, rounds)
        _write(directory, rows, others, overrides)
    except KeyboardInterrupt:
        _tell(again)
        raise
    except FAULTS as error:
        _say(error)
        failed = True
    if failed:
        _tell(again)
    return 1 if failed else 0


def _tell(again: str) -> None:
    print(f"To go on: {printable(again)}", file=sys.stderr)


def _write(
    directory: Path,
    rows: Sequence[dict[str, object]],
    others: Sequence[dict[str, object]],
    overrides: Sequence[str],
) -> None:
    """Write `claims.csv` and `claims.html`, and print the verdicts."""
    from lenet_bench.claims.evaluation import claims_frame
    from lenet_bench.claims.files import write
    from lenet_bench.records.spreadsheet import spreadsheet_csv
    from lenet_bench.reporting.claims_page import claims_as_text, claims_page

    everything = claims_frame([*rows, *others])
    contents = {
        "claims.csv": spreadsheet_csv(everything),
        "claims.html": claims_page(everything, overrides),
    }
    for name, content in contents.items():
        write(directory / name, content)
    print(claims_as_text(claims_frame(rows)))
    for name in contents:
        more = f" (with {len(others)} that were there)" if others else ""
        print(f"wrote {printable(directory / name)}{more}")


def _decide_all(
    claims: Mapping[str, Claim],
    presets: Sequence[str],
    overrides: Sequence[str],
    directory: Path,
    rounds: pd.DataFrame | None,
) -> tuple[list[dict[str, object]], bool]:
    """Train or measure preset by preset, and decide the claims of each.

    Returns:
        A row per claim, and whether a preset failed.
    """
    from lenet_bench.claims.registry import COST, EXACT

    rows: list[dict[str, object]] = []
    failed = False
    started = time.monotonic()
    for number, preset in enumerate(presets, start=1):
        passed = timedelta(seconds=round(time.monotonic() - started))
        print(f"[{number}/{len(presets)}, {passed}] {preset}", file=sys.stderr, flush=True)
        claims_of_preset = {key: claim for key, claim in claims.items() if claim.preset == preset}
        preset_failed = False
        if preset == EXACT:
            decided = _decide_exact(claims_of_preset)
        elif preset == COST:
            decided, preset_failed = _decide_costs(claims_of_preset, directory / ROUNDS, rounds)
        else:
            decided, preset_failed = _train_and_decide(
                preset, claims_of_preset, overrides, directory
            )
        rows += decided
        failed = failed or preset_failed
    return rows, failed


def _choose(only: Sequence[str], claims: Mapping[str, Claim]) -> dict[str, Claim]:
    unknown = [name for name in only if name not in claims]
    if unknown:
        raise UserError(
            f"--only {' '.join(unknown)}: there is no such claim; choose from {', '.join(claims)}"
        )
    return {name: claim for name, claim in claims.items() if not only or name in only}


def _check(presets: Iterable[str], overrides: Sequence[str]) -> None:
    """Refuse what the ordinary command would refuse, before anything trains."""
    from lenet_bench.hydra_app.check import check
    from lenet_bench.hydra_app.names import register_resolvers

    for text in overrides:
        key = text.partition("=")[0].strip("+~ ")
        if "=" not in text or text.startswith("-"):
            raise UserError(f"{text}: is no override; write KEY=VALUE, as in dataset=cifar10")
        if key in RESERVED:
            raise UserError(
                f"{text}: claims set this themselves, preset by preset; choose claims with --only "
                "and the folder with --output"
            )
    register_resolvers()
    for preset in presets:
        check([f"experiment={preset}", *overrides])


def _lock(directory: Path) -> FolderLock:
    """Make the directory of the results, and keep other commands from writing there.

    Raises:
        UserError: It cannot be made, or another command writes there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={directory}: cannot be used: {error.strerror}") from None
    return lock_folder(directory, f"--output={directory}")


def _mark(directory: Path, overrides: Sequence[str]) -> None:
    """Write the overrides into the directory, or check that it belongs to the same ones.

    Raises:
        UserError: It holds runs that were trained with other overrides, or cannot be used.
    """
    from lenet_bench.claims.files import OVERRIDES
    from lenet_bench.records.damage import DamageError, MissingFileError, read_json

    # These change how runs are trained, not what is trained.
    how = ("hydra", "resume_anyway=")
    content = sorted(text for text in overrides if not text.lstrip("+").startswith(how))
    mark = directory / OVERRIDES
    try:
        before = read_json(mark)
    except MissingFileError:
        before = content
    except DamageError as error:
        raise UserError(f"--output={directory}: cannot be used: {error}") from None
    if not isinstance(before, list) or not all(isinstance(text, str) for text in before):
        raise UserError(f"--output={directory}: cannot be used: {mark} does not hold overrides")
    if before != content:
        raise UserError(
            f"--output={directory}: its runs were trained with "
            f"{' '.join(before) or 'no overrides'}, not with "
            f"{' '.join(content) or 'none'}; repeat those, or choose another folder"
        )
    try:
        write_atomically(mark, (json.dumps(content) + "\n").encode())
    except OSError as error:
        raise UserError(f"--output={directory}: cannot be used: {error.strerror}") from None


def _decide_exact(claims: Mapping[str, Claim]) -> list[dict[str, object]]:
    from lenet_bench.claims.evaluation import judge
    from lenet_bench.claims.evidence import Evidence

    return [judge(claim, Evidence()) for claim in claims.values()]


def _read_other_claims(path: Path, claims: Mapping[str, Claim]) -> list[dict[str, object]]:
    """Read the rows of claims that this command leaves out.

    Raises:
        UserError: The file cannot be read.
    """
    from lenet_bench.claims.files import read_claims
    from lenet_bench.claims.registry import CLAIMS

    if len(claims) == len(CLAIMS) or not path.exists():
        return []
    frame = read_claims(path, "delete it, or leave out --only: then all claims are decided anew")
    return frame[~frame["claim"].isin(list(claims))].to_dict("records")  # type: ignore[return-value]


def _read_costs(path: Path) -> pd.DataFrame | None:
    """Read the costs of activations that were measured before; None if there are none.

    Raises:
        UserError: The file cannot be read.
    """
    from lenet_bench.claims.files import ROUND_TYPES, read_table

    if not path.exists():
        return None
    return read_table(path, ROUND_TYPES, "delete it, and the costs are measured anew")


def _decide_costs(
    claims: Mapping[str, Claim], path: Path, rounds: pd.DataFrame | None
) -> tuple[list[dict[str, object]], bool]:
    """Decide the claims about the cost of activations, which is measured first if need be.

    Other work on the machine disturbs this measurement, and nothing else of the command.

    Returns:
        A row per claim, and whether measuring failed.
    """
    from lenet_bench.claims.evaluation import judge, without_evidence
    from lenet_bench.claims.evidence import Evidence
    from lenet_bench.claims.files import write
    from lenet_bench.records.spreadsheet import spreadsheet_csv
    from lenet_bench.training.activation_cost import measure

    if rounds is None:
        try:
            rounds = measure(activations=COMPARED)
        except subprocess.CalledProcessError as error:
            reason = f"measuring the cost of activations failed: {error}"
            return [without_evidence(claim, reason) for claim in claims.values()], True
        write(path, spreadsheet_csv(rounds))
    evidence = Evidence(rounds=rounds)
    return [judge(claim, evidence) for claim in claims.values()], False


def _train_and_decide(
    preset: str, claims: Mapping[str, Claim], overrides: Sequence[str], directory: Path
) -> tuple[list[dict[str, object]], bool]:
    """Train the preset's missing runs, and decide its claims.

    Returns:
        A row per claim, and whether training failed.
    """
    from lenet_bench.claims.evaluation import gather_evidence, judge_claims, without_evidence
    from lenet_bench.claims.evidence import as_table
    from lenet_bench.claims.files import write
    from lenet_bench.records.loading import load_sweep
    from lenet_bench.records.spreadsheet import spreadsheet_csv

    folder = directory / preset
    # What the command prints at its end is in the folder's report.
    command = [sys.executable, "-m", "lenet_bench", f"experiment={preset}"]
    code = _run_to_the_end([*command, f"hydra.sweep.dir={quote(folder)}", *overrides])
    if code:
        reason = f"training {preset} failed: {_reason_of_failure(folder, code)}"
        return [without_evidence(claim, reason) for claim in claims.values()], True
    parts = gather_evidence(load_sweep(folder), claims)
    if parts:
        table = as_table([part.evidence for part in parts])
        write(folder / "evidence.csv", spreadsheet_csv(table))
    return judge_claims(parts, claims).to_dict("records"), False  # type: ignore[return-value]


def _run_to_the_end(command: Sequence[str]) -> int:
    """Run a command to its end, which comes soon after a signal reaches this process.

    If this process is killed, Linux kills the command with it. Elsewhere the command trains to its
    end, and keeps its sweep directory locked meanwhile.

    Raises:
        KeyboardInterrupt: After Ctrl-C or a signal like it, once the command has ended.
    """
    tie = partial(end_with_parent, os.getpid())
    # This program with its user's own arguments, without a shell.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=tie)  # noqa: S603
    try:
        return process.wait()
    except KeyboardInterrupt:
        # A terminal's Ctrl-C has reached the command too; both signals count as one.
        caught()
        process.terminate()
        while process.poll() is None:
            try:
                process.wait()  # it saves what it has
            except KeyboardInterrupt:
                caught()
                process.terminate()
        raise


def _reason_of_failure(folder: Path, code: int) -> str:
    from lenet_bench.records.loading import load_sweep

    try:
        runs = load_sweep(folder).runs
    except UserError:
        return f"exit code {code}; its message stands above"
    failed = runs[runs["status"] == "failed"]
    if not failed.empty:
        return f"{len(failed)} of {len(runs)} runs failed: {failed['error'].iloc[0]}"
    ended = runs["status"].isin(["finished", "diverged"])
    if not ended.all():
        return f"{(~ended).sum()} of {len(runs)} runs did not end; repeat the command to go on"
    return f"exit code {code}; its message stands above"


if __name__ == "__main__":
    main()
