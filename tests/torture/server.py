"""Runs `lenet-bench` many times in one process that forks for each: seconds become a fraction.

In: a JSON line per command on standard input, see `ask`. Out: a JSON line per command: how it ended
and what it said. The process is started with `preload.c` preloaded, which counts file operations
once it is armed after a fork.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from types import SimpleNamespace
from typing import Any


def answer(wanted: dict[str, Any]) -> None:
    """Run one command in this process, which ends with it."""
    from lenet_bench import __main__ as entry
    from lenet_bench.reporting import report, terminal

    if not wanted["report"]:
        # Figures take longer than the training here, and have their own kills.
        nothing: Any = SimpleNamespace(damaged=())
        report.write_report = lambda *_, **__: nothing
        terminal.print_report = lambda *_, **__: None
    os.chdir(wanted["folder"])
    sys.argv = ["lenet-bench", *wanted["arguments"]]
    folder, counter, log, number, error, once = wanted["arm"]
    ctypes.CDLL(None).torture_arm(
        os.fsencode(folder), os.fsencode(counter), os.fsencode(log), number, error, once
    )
    entry.main()


def main() -> None:
    """Answer until standard input ends."""
    import torch

    import lenet_bench.__main__
    import lenet_bench.execution.workers
    import lenet_bench.reporting.report  # noqa: F401

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        wanted = json.loads(line)
        process = os.fork()
        if not process:
            output = os.open(wanted["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code: Any = 99
            try:
                answer(wanted)
            except SystemExit as exit_:
                code = exit_.code or 0
            except BaseException:
                import traceback

                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(process, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), file=answers, flush=True)


if __name__ == "__main__":
    main()
