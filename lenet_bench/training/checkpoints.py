"""When the state of a stack is kept, and going on from it.

In: what a stack trains with and its records. Out: checkpoints, each of the end of an iteration,
behind its probe and its evaluation; a stack brought to where the last usable one was made.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from lenet_bench.common.text import printable
from lenet_bench.records.checkpoint import CheckpointFile, StoredState
from lenet_bench.records.provenance import digest_of_module
from lenet_bench.records.run_directory import Run
from lenet_bench.training.checkpoint_facts import problem_of_state
from lenet_bench.training.recording import StackRecording
from lenet_bench.training.setup import Setup
from lenet_bench.training.state import restore, tensors_of, values_of

LARGEST_SHARE = 0.01  # of the time, for the checkpoints between the multiples of checkpoint.every
FIRST_COST = 0.005  # seconds that a checkpoint is taken to cost before one was made
BETWEEN_SYNCS = 10.0  # seconds at least; where a sync is slow, LARGEST_SHARE asks for more


class Checkpoints:
    """The checkpoints of a stack while it trains.

    Args:
        file: Where they are kept; None keeps none.
        setup: What the stack trains with.
        runs: Its runs.
        fingerprint: Of its data.
        recording: Its records.
    """

    def __init__(
        self,
        file: CheckpointFile | None,
        setup: Setup,
        runs: Sequence[Run],
        fingerprint: str,
        recording: StackRecording,
    ) -> None:
        self._file = file
        self._setup = setup
        self._recording = recording
        # What has to be equal for a state to be of use.
        self._origin = {
            "runs": [
                {
                    "directory": run.directory.name,
                    "config": run.config.model_dump(mode="json"),
                    **digest_of_module(run.config),
                }
                for run in runs
            ],
            "data": fingerprint,
            "device": str(setup.device),
        }
        now = time.perf_counter()
        self._last, self._cost = now, FIRST_COST
        self._last_sync, self._sync_cost = now, 0.0

    def go_on(self) -> bool:
        """Bring the stack to its last usable checkpoint.

        Returns:
            Whether there is one. If not, nothing has changed.
        """
        if self._file is None or not self._file.exists:
            return False

        def say(sentence: str) -> None:
            print(printable(sentence), file=sys.stderr)

        state = self._file.newest_usable(self._problem, say)
        if state is None:
            print("The stack is trained from the beginning.", file=sys.stderr)
            return False
        restore(self._setup, state.tensors, state.facts["values"])
        self._recording.go_on(state.facts["recording"])
        # A process that was killed may have synced none of it, and the next checkpoint relies on
        # this one for power cuts.
        self._recording.sync()
        return True

    def _problem(self, state: StoredState) -> str | None:
        """Why a state cannot be gone on from."""
        if state.facts.get("origin") != self._origin:
            return "is of other runs, other data or another device"
        if problem := problem_of_state(state, self._setup):
            return problem
        return self._recording.problem(state.facts["recording"])

    def save_if_due(self) -> None:
        """Keep the state at the multiples of `checkpoint.every`, and besides where it is cheap."""
        every = self._setup.common.checkpoint.every
        if self._file is None or not every:
            return
        since = time.perf_counter() - self._last
        due = self._recording.iteration % every == 0 or since * LARGEST_SHARE >= self._cost
        if due:
            since_sync = time.perf_counter() - self._last_sync
            wait = max(BETWEEN_SYNCS, self._sync_cost / LARGEST_SHARE)
            self.save(sync=since_sync >= wait)

    def save(self, *, sync: bool) -> None:
        """Keep the state as it is now.

        Args:
            sync: Wait until it and the records that it counts on are on the disk.
        """
        if self._file is None:
            return
        started = time.perf_counter()
        self._recording.write_block()
        if not self._recording.training:
            return  # the last of them has diverged
        facts: dict[str, Any] = {
            "origin": self._origin,
            "recording": self._recording.facts,
            "values": values_of(self._setup),
        }
        if sync:
            self._recording.sync()
        self._file.write(StoredState(facts, tensors_of(self._setup)), sync=sync)
        self._last = time.perf_counter()
        if sync:
            self._last_sync, self._sync_cost = self._last, self._last - started
        else:
            self._cost = self._last - started

    def remove(self) -> None:
        """Remove them, once nothing is left to train or it has to be trained anew."""
        if self._file is not None:
            self._file.remove()
