"""Ctrl-C and SIGTERM as a question that training asks: was a stop requested?

In: signals. Out: a `StopRequest` that is false until the first of them.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


class StopRequest:
    """Remembers that Ctrl-C or SIGTERM asked to stop; a second Ctrl-C interrupts at once, as usual.

    Attributes:
        requested: Whether one of them did.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.requested

    @contextlib.contextmanager
    def handled(self, first: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Handle the signals meanwhile; `first` is called at the first of them."""

        def handle(number: int, _: FrameType | None) -> None:
            if self.requested and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.requested = True
            first()

        try:
            before = {
                number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # not the main thread, which alone may handle signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
