"""What Ctrl-C, SIGTERM and SIGHUP do: they end a command in order, and never by a traceback.

In: signals. Out: outside of training an `Interruption`, which ends the command. In training a
`StopRequest`, which is false until the first of them: training writes what it has and ends. A
second one interrupts at once. SIGHUP stays without effect where it was ignored from the start, as
under `nohup`.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TERMINAL = (signal.SIGINT, signal.SIGHUP)  # what a terminal sends to all processes of a command
ALL = (*SIGNALS, signal.SIGALRM)
ONE_REQUEST = 2.0  # seconds in which different signals ask for the same: a system that shuts a
# session down sends SIGHUP and SIGTERM

BETWEEN_TRIES = 0.5  # seconds

Handler = Callable[[int, FrameType | None], None]

_received: int | None = None  # the first signal of this command


class Interruption(KeyboardInterrupt):
    """Ctrl-C or a signal that means the same.

    Attributes:
        at_once: Whether it was the second one: nothing more is to be written.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        super().__init__()
        self.at_once = at_once


def exit_code() -> int:
    """What a shell gives a command that a signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (signal.SIGINT if _received is None else _received)


@contextlib.contextmanager
def signals_end_the_command() -> Iterator[None]:
    """Let signals end the command that runs inside: with their exit code, without a traceback.

    Afterwards they end the process as the system does, while the interpreter shuts down.
    """
    global _received
    _received = None
    before, hook = _handle(_interrupt), sys.unraisablehook
    sys.unraisablehook = _print_unless_interrupted
    try:
        with interruptible():
            yield
    except KeyboardInterrupt:
        raise SystemExit(exit_code()) from None
    finally:
        sys.unraisablehook = hook
        for number in before:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """See to it that an `Interruption` inside comes out as one.

    It may strike anywhere in a library. Some lose it; then it strikes again soon. Some turn it into
    an error of another kind, as an import does.
    """
    try:
        yield
    except Exception:
        if _received is None:
            raise
        raise Interruption from None
    finally:
        _set_alarm(0)


def caught() -> None:
    """Note that an `Interruption` was caught, by code that goes on after it for some time."""
    _set_alarm(0)


def _interrupt(number: int, _: FrameType | None) -> None:
    if number != signal.SIGALRM:
        _remember(number)
    _set_alarm(BETWEEN_TRIES)
    raise Interruption


def _set_alarm(seconds: float) -> None:
    with contextlib.suppress(ValueError):  # not the main thread
        if seconds:
            signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _print_unless_interrupted(unraisable: sys.UnraisableHookArgs) -> None:
    """Print an exception that Python drops, such as one in `__del__`."""
    if not isinstance(unraisable.exc_value, Interruption):
        sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def held_back(numbers: Sequence[int] = TERMINAL) -> Iterator[None]:
    """Hold signals back, Ctrl-C and SIGHUP by default; processes started inside never get them.

    A terminal sends those to all processes of a command, of which one shall decide. Here they have
    their effect at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopRequest:
    """Remembers that a signal asked to stop; a second one interrupts at once.

    Attributes:
        requested: Whether one did.
    """

    def __init__(self) -> None:
        self.requested = False
        self._first: tuple[int, float] = (0, 0.0)  # the signal, and when it came

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.requested

    @contextlib.contextmanager
    def handled(self, first: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Handle the signals meanwhile; `first` is called at the first of them."""

        def handle(number: int, _: FrameType | None) -> None:
            _remember(number)
            now = time.monotonic()
            if not self.requested:
                self.requested = True
                self._first = number, now
                first()
                return
            earlier, when = self._first
            if number == earlier or now - when > ONE_REQUEST:
                raise Interruption(at_once=True)

        before = _handle(handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def handled_in_worker(self) -> Iterator[None]:
        """Handle SIGTERM meanwhile, by which the parent asks to stop, however often it comes."""

        def handle(number: int, _: FrameType | None) -> None:
            self.requested = True

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _remember(number: int) -> None:
    global _received
    if _received is None:
        _received = number


def _handle(handler: Handler) -> dict[int, signal.Handlers | Callable[..., object]]:
    """Install a handler; return the signals that it handles now, with their former handlers."""
    before: dict[int, signal.Handlers | Callable[..., object]] = {}
    for number in SIGNALS:
        former = signal.getsignal(number)
        if former is None or (number != signal.SIGINT and former == signal.SIG_IGN):
            continue
        try:
            signal.signal(number, handler)
        except ValueError:  # not the main thread, which alone may handle signals
            break
        before[number] = former if not isinstance(former, int) else signal.Handlers(former)
    return before
