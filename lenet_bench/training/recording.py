"""What the runs of a stack leave behind: rows, weights, how each of them ended.

In: what the training loop measures. Out: run directories, and an `Outcome` per run. The losses of
some iterations stay on the device and are fetched together, as a block; only then is it seen which
runs have diverged.

Letters in shapes: N runs in the stack.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lenet_bench.common.surroundings import cause_of_failure
from lenet_bench.records.growing_table import Mark
from lenet_bench.records.run_directory import RecordMarks, Run, RunRecorder
from lenet_bench.records.schema import EvaluationRow, LayerRow, TrainRow
from lenet_bench.records.stored_status import Status
from lenet_bench.training.setup import Setup
from lenet_bench.training.step import Measured

BLOCK = 50  # iterations whose losses are written together


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        directory: The run directory.
        status: As in its `status.json`.
        metrics: The last evaluation of each split, and the best validation accuracy.
        error: What went wrong, if something did.
    """

    directory: Path
    status: Status
    metrics: dict[str, float]
    error: str | None = None


@dataclass
class _RunRecord:
    """What is remembered about one run while it trains."""

    run: Run
    recorder: RunRecorder
    learning_rates: Sequence[float]
    ended_before: bool  # then it is computed, but nothing is written
    metrics: dict[str, float] = field(default_factory=dict)
    iteration: int = 0  # the last one in train.csv
    outcome: Outcome | None = None  # None while it trains

    @property
    def trains(self) -> bool:
        """Whether there is more to write about it."""
        return not self.ended_before and self.outcome is None


class StackRecording:
    """Writes the directories of the runs of a stack while they train.

    Runs that have ended are left alone: all that comes later about them is ignored.

    Args:
        runs: The runs; nothing is done to their directories before `begin`.
        ended: Those, by their position in the stack, that ended before. They are computed with the
            others, whose bits depend on them, but their directories are left alone.
        setup: What they train with.
        facts: What `status.json` says of each run from the start.
        progress: Called with the number of run-iterations that are done.

    Attributes:
        iteration: The last iteration that was made.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        ended: Collection[int],
        setup: Setup,
        facts: Sequence[Mapping[str, Any]],
        progress: Callable[[int], None],
    ) -> None:
        self._setup = setup
        self._progress = progress
        self._started = time.perf_counter()
        self._seconds_before = 0.0  # of earlier attempts
        self._records = [
            _RunRecord(run, RunRecorder(run, facts[n]), setup.learning_rates[n], n in ended)
            for n, run in enumerate(runs)
        ]
        # The fields of `Measured` at each iteration since the last write, (3, BLOCK, N).
        parameters = setup.stack.parameters
        self._block = parameters.new_zeros(len(Measured._fields), BLOCK, len(runs))
        self._in_block = 0
        self.iteration = 0

    @property
    def training(self) -> list[int]:
        """The runs, by their position in the stack, that have not ended."""
        return [n for n, record in enumerate(self._records) if record.trains]

    @property
    def outcomes(self) -> list[Outcome]:
        """How the runs ended, those that ended before left out."""
        return [record.outcome for record in self._records if record.outcome is not None]

    def begin(self) -> None:
        """Start the records of all runs that train."""
        for position in self.training:
            self._records[position].recorder.begin()
        self._report()

    def _report(self) -> None:
        self._progress(self.iteration * len(self._records))

    # --- going on ---------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """How long the stack has trained, in all attempts."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def facts(self) -> dict[str, Any]:
        """What is known about the runs by now, as `go_on` takes it."""
        return {
            "iteration": self.iteration,
            "seconds": self.seconds,
            "runs": [
                {
                    "ended": not record.trains,
                    "metrics": record.metrics,
                    "records": asdict(record.recorder.marks),
                }
                for record in self._records
            ],
        }

    def problem(self, facts: Mapping[str, Any]) -> str | None:
        """Say why the records cannot be continued from where they were then; None if they can."""
        for position in self.training:
            record, known = self._records[position], facts["runs"][position]
            name = record.run.directory.name
            if known["ended"]:
                return f"had seen the end of {name}, which is to be trained again"
            if not record.recorder.holds(_marks(known["records"])):
                return f"needs rows of {name} that are not there any more"
        return None

    def go_on(self, facts: Mapping[str, Any]) -> None:
        """Continue the records where they were then; rows behind that are cut off."""
        self.iteration = facts["iteration"]
        self._seconds_before = facts["seconds"]
        for position in self.training:
            record, known = self._records[position], facts["runs"][position]
            record.iteration, record.metrics = self.iteration, dict(known["metrics"])
            record.recorder.go_on(_marks(known["records"]))
            self._write_status(record, "running")
        self._report()

    def sync(self) -> None:
        """Wait until the records of all runs that train are on the disk."""
        for position in self.training:
            self._records[position].recorder.sync()

    # --- rows -------------------------------------------------------------------------------------

    def add_step(self, row: Tensor) -> None:
        """Take in what a step measured, (3, N), and write a block when it is full."""
        self._block[:, self._in_block] = row
        self.iteration += 1
        self._in_block += 1
        if self._in_block == BLOCK:
            self.write_block()

    def write_block(self) -> None:
        """Write the rows of the iterations since the last call, and end the runs that diverged."""
        count, self._in_block = self._in_block, 0
        if not count:
            return
        values = self._block[:, :count].double().transpose(1, 2).tolist()
        block: Measured[list[list[float]]] = Measured(*values)  # by run and iteration
        before = self.iteration - count
        self._report()
        for position in self.training:
            record = self._records[position]
            rows = []
            for k in range(count):
                iteration, loss = before + k + 1, block.loss[position][k]
                rows.append(
                    TrainRow(
                        iteration=iteration,
                        epoch=self._epoch(iteration),
                        lr=record.learning_rates[iteration - 1],
                        loss=loss,
                        accuracy=block.correct[position][k] / self._setup.common.batch_size,
                        grad_norm=block.grad_norm[position][k],
                    )
                )
                if not math.isfinite(loss):
                    break
            record.recorder.write("train", rows)
            record.iteration = rows[-1].iteration
            if not math.isfinite(rows[-1].loss):
                error = f"the loss was {rows[-1].loss} at iteration {record.iteration}"
                self.end(position, "diverged", error)

    def write_layers(self, rows: Sequence[Sequence[LayerRow]]) -> None:
        """Write what a probe measured about each run."""
        for position in self.training:
            self._records[position].recorder.write("layers", rows[position])

    def write_evaluation(self, position: int, split: str, loss: float, accuracy: float) -> None:
        """Write an evaluation of one run, and remember its metrics."""
        record = self._records[position]
        if not record.trains:
            return
        epoch = self._epoch(self.iteration)
        row = EvaluationRow(self.iteration, epoch, split, loss, accuracy)
        record.recorder.write("evaluation", [row])
        record.metrics |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
        best = record.metrics.get("best_validation_accuracy", -1.0)
        if split == "validation" and accuracy > best:
            record.metrics["best_validation_accuracy"] = accuracy
            record.metrics["best_validation_iteration"] = self.iteration

    def write_all_weights(self) -> None:
        """Write the weights of every run as they are now."""
        for position in self.training:
            self.write_weights(position, self._setup.stack.state_dict(position))
            self._write_status(self._records[position], "running")

    def write_weights(self, position: int, state: Mapping[str, Tensor]) -> None:
        """Write the state dict of a run's plain LeNet."""
        self._records[position].recorder.weights(state)

    def _epoch(self, iteration: int) -> int:
        return math.ceil(iteration / self._setup.per_epoch)

    # --- endings ----------------------------------------------------------------------------------

    def end(self, position: int, status: Status, error: str | None = None, **more: Any) -> None:
        """Record how a run ended; `more` goes into its `status.json`."""
        record = self._records[position]
        if status == "diverged":
            record.recorder.remove_weights()
        self._write_status(record, status, error, **more)
        record.outcome = Outcome(record.run.directory, status, dict(record.metrics), error)

    def interrupt(self) -> None:
        """End all runs that still train because the user wants them to stop."""
        self.write_block()
        for position in self.training:
            self.write_weights(position, self._setup.stack.state_dict(position))
            self.end(position, "interrupted", "stopped by the user")

    def fail(self, error: Exception) -> None:
        """End all runs that still train because of an error, which is being handled."""
        trace = traceback.format_exc()
        try:
            self.write_block()
        except Exception:  # the device itself may be gone
            self._in_block = 0
        message = cause_of_failure(error)
        for position in self.training:
            try:
                self.end(position, "failed", message, failure={"traceback": trace})
            except OSError:  # nothing can be written there any more
                record = self._records[position]
                metrics = dict(record.metrics)
                record.outcome = Outcome(record.run.directory, "failed", metrics, message)

    def _write_status(
        self, record: _RunRecord, status: Status, error: str | None = None, **more: Any
    ) -> None:
        seconds = self.seconds
        record.recorder.status(
            status,
            iteration=record.iteration,
            metrics=record.metrics,
            seconds=seconds / len(self._records),
            error=error,
            stack={"seconds": seconds},
            **more,
        )


def _marks(facts: Mapping[str, Any]) -> RecordMarks:
    tables = {name: Mark(*mark) for name, mark in facts["tables"].items()}
    return RecordMarks(facts["started"], tables)
