"""Signals in a process of their own: what they interrupt, how often, and with which exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest


def ended(code: str) -> tuple[int, str, str]:
    """Run code that sends itself signals; its exit code and what it printed."""
    head = (
        "import os, signal, time\n"
        "from lenet_bench.execution.signals import StopRequest, signals_end_the_command\n"
        "def send(number): os.kill(os.getpid(), number); time.sleep(0.01)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command(number: signal.Signals) -> None:
    code = f"""
        with signals_end_the_command():
            send({int(number)})
            print("never")
    """
    assert ended(code) == (128 + number, "", "")


def test_an_interruption_that_python_loses_comes_again() -> None:
    """An exception in `__del__` is only printed by Python."""
    code = """
        class Busy:
            def __del__(self):
                send(signal.SIGTERM)
        with signals_end_the_command():
            busy = Busy()
            del busy
            print("goes on", flush=True)
            time.sleep(5)
            print("never")
    """
    assert ended(code) == (143, "goes on\n", "")


def test_any_error_of_an_interrupted_import_is_the_interruption() -> None:
    code = """
        with signals_end_the_command():
            try:
                send(signal.SIGTERM)
            except BaseException:
                raise ImportError("half a library")
    """
    assert ended(code) == (143, "", "")


@pytest.mark.parametrize(
    ("signals", "at_once"),
    [
        ("signal.SIGINT, signal.SIGINT", True),
        ("signal.SIGTERM, signal.SIGTERM", True),
        # A session that is shut down sends both.
        ("signal.SIGHUP, signal.SIGTERM", False),
    ],
)
def test_in_training_the_second_interrupts(signals: str, at_once: bool) -> None:
    code = f"""
        stop = StopRequest()
        with signals_end_the_command(), stop.handled(lambda: print("asked")):
            for number in ({signals}):
                send(number)
            print("saved", stop())
    """
    first = 130 if "INT" in signals else 143
    assert ended(code) == ((first, "asked\n", "") if at_once else (0, "asked\nsaved True\n", ""))


def test_what_nohup_ignores_stays_ignored() -> None:
    code = """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop = StopRequest()
        with signals_end_the_command():
            send(signal.SIGHUP)
            with stop.handled():
                send(signal.SIGHUP)
            print(stop())
    """
    assert ended(code) == (0, "False\n", "")
