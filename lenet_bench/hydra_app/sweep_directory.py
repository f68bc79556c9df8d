"""The Hydra callback that prepares a sweep: it makes its directory, or shows the plan instead.

In: the configuration of a sweep. Out: a new folder below `runs/`, or the one that the user named,
locked; and Hydra with the loader that composes this program's jobs. `conf/config.yaml` names the
callback.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from lenet_bench.common.errors import UserError
from lenet_bench.common.files import make_new_folder
from lenet_bench.common.lock import lock_folder
from lenet_bench.common.surroundings import explain_surroundings
from lenet_bench.common.text import printable, printable_lines
from lenet_bench.hydra_app.explain import explain
from lenet_bench.hydra_app.groups import quote
from lenet_bench.hydra_app.session import current
from lenet_bench.hydra_app.stored_command import FILE as COMMAND_FILE


class SweepDirectory(Callback):
    """Makes the sweep directory and locks it, so that no two commands ever write into one.

    With `plan=true` it does neither: it shows the plan and ends the command.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Remember where a single run goes, or show its plan if that is what is asked for."""
        with _errors_refused():
            _start_run(config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Create the directory, under another name where another sweep took it first.

        A directory that the user names may exist: runs that it holds are not trained again.
        """
        with _errors_refused():
            _start_sweep(config)


@contextlib.contextmanager
def _errors_refused() -> Iterator[None]:
    """End the command at an error, which Hydra would turn into a warning: nothing is locked."""
    try:
        yield
    except Exception as error:
        _refuse(explain_surroundings(error) or explain(error))


def _start_run(config: DictConfig) -> None:
    run = Path(str(config.hydra.run.dir))
    directory = run.parent
    if config.get("plan"):
        _show_plan(config, directory, lambda: [config])
    if directory == Path(str(config.hydra.sweep.dir)):
        _use(directory, f"hydra.sweep.dir={directory}")
    else:  # the user put it elsewhere
        _use(run, f"hydra.run.dir={run}", is_sweep=False)


def _start_sweep(config: DictConfig) -> None:
    _prepare_composition(config)
    wanted = Path(str(config.hydra.sweep.dir))
    if config.get("plan"):
        from lenet_bench.hydra_app.preview import compose_jobs

        _show_plan(config, wanted, lambda: compose_jobs(config))
    if directory_is_given(config):
        directory = wanted
        _use(directory, f"hydra.sweep.dir={directory}")
    else:
        _made(wanted.parent)
        directory = make_new_folder(wanted)
        _use(directory, f"hydra.sweep.dir={directory}", is_new=True)
        with open_dict(config):
            # Each job is composed anew, from the overrides.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quote(directory)}")
    with open_dict(config):
        config.hydra.sweep.dir = str(directory)
    # What an earlier command asked for stays, until this one is known to train its sweep.
    if not (directory / COMMAND_FILE).exists():
        try:
            current().keep_command()
        except OSError as error:
            _refuse(f"hydra.sweep.dir={directory}: cannot be written to ({error.strerror})")
    print(f"{printable(directory)}: composing the runs", file=sys.stderr)


def _prepare_composition(config: DictConfig) -> None:
    """Let any sweeper and launcher compose the jobs as this program means them."""
    from lenet_bench.hydra_app.fast_composition import compose_fast

    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    compose_fast(hydra)
    typed = current().typed
    overrides = config.hydra.overrides.task
    for index, text in enumerate(overrides):
        overrides[index] = typed.get(text, text)


def directory_is_given(config: DictConfig) -> bool:
    """Whether the user named the sweep directory."""
    # As typed: some refer to what is known of a job only, such as its number.
    given: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    return any(item.startswith("hydra.sweep.dir=") for item in given)


def _show_plan(
    config: DictConfig, directory: Path, jobs: Callable[[], list[DictConfig]]
) -> NoReturn:
    """Show the plan of a sweep's jobs, and end the command."""
    from lenet_bench.hydra_app.preview import show

    try:
        show(jobs(), directory, config, given=directory_is_given(config))
    except UserError as error:
        _refuse(str(error))
    raise SystemExit(0)


def _use(directory: Path, asked_for: str, *, is_new: bool = False, is_sweep: bool = True) -> None:
    """Make a directory where it is missing, and lock it before anything is written there."""
    is_new = is_new or not directory.exists()
    _made(directory)
    session = current()
    try:
        session.lock = lock_folder(directory, asked_for)
    except UserError as error:
        if is_new:
            with contextlib.suppress(OSError):
                directory.rmdir()
        _refuse(str(error))
    if is_sweep:
        session.directory, session.made_directory = directory, is_new


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _refuse(
            f"hydra.sweep.dir={directory}: cannot be made ({error.strerror}); "
            "name a folder that you may write to"
        )
    return directory


def _refuse(message: str) -> NoReturn:
    print(f"lenet-bench: {printable_lines(message)}", file=sys.stderr)
    raise SystemExit(1) from None  # Hydra turns other exceptions of callbacks into warnings
