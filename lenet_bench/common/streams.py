"""Standard output and standard error that cannot end a command: what they cannot take is left out.

In: the streams that a process was started with. Out: streams for the time of a command. They
replace characters that they cannot hold, and they go on where nobody reads them, where the disk is
full, or where the process was started without them. So nothing that is printed can cost a run.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from lenet_bench.common.errors import BROKEN_PIPE

# What stands for characters that an old encoding lacks; "?" stands for all others.
_SPELT = {
    "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
}
_HANDLER = "lenet_bench.spell"


@dataclass
class Answer:
    """What a command prints on standard output.

    Attributes:
        again: The command that prints it once more, for when it is lost.
    """

    again: str = "the same command"


@contextlib.contextmanager
def forgiving_output() -> Iterator[Answer]:
    """Let a command write to streams that raise no error, and judge at the end what got lost.

    Standard error carries progress and messages; if it is lost, nobody can be told. Standard output
    carries the answer. If it was lost, a command that would end well ends with exit code 141 where
    its reader left, as behind `| head`, and with a line and exit code 1 where writing failed.

    Yields:
        What the command may say about its answer.

    Raises:
        SystemExit: The answer was lost.
    """
    codecs.register_error(_HANDLER, _spell)
    answer = Answer()
    before = sys.stdout, sys.stderr
    reach_standard_streams()
    out = _ForgivingFile(1)
    sys.stdout = _forgiving(sys.stdout, sys.__stdout__, out)
    sys.stderr = _forgiving(sys.stderr, sys.__stderr__, _ForgivingFile(2))
    try:
        yield answer
        _judge(out, answer)
    except SystemExit as exit_:
        if exit_.code in (None, 0):
            _judge(out, answer)
        raise
    finally:
        _flush(sys.stdout)
        _flush(sys.stderr)
        sys.stdout, sys.stderr = before


def reach_standard_streams() -> None:
    """Open the null device where this process was started without a standard stream.

    Else the next file that it opens would take the stream's number, and text written by a library
    would go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)


class _ForgivingFile(io.RawIOBase):
    """A file descriptor; the first error of writing is kept, and what comes after is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object) -> int:
        content = bytes(data)  # type: ignore[call-overload]
        if self.error is not None:
            return len(content)
        while True:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:  # somebody has set the pipe to not waiting
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
                return len(content)


def _forgiving(stream: TextIO | None, own: TextIO | None, file: _ForgivingFile) -> TextIO:
    """A stream that raises no error; one that is not the process's own is left as it is."""
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(file), "utf-8", _HANDLER)
    if stream is not own or not isinstance(stream, io.TextIOWrapper):
        return stream
    _flush(stream)
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        stream.encoding,
        _HANDLER,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _spell(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(_SPELT.get(character, "?") for character in missing), error.end


def _flush(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.flush()


def _judge(out: _ForgivingFile, answer: Answer) -> None:
    _flush(sys.stdout)
    if isinstance(out.error, BrokenPipeError):
        raise SystemExit(BROKEN_PIPE)
    if out.error is not None:
        print(
            f"standard output cannot be written ({out.error.strerror}); "
            f"{answer.again} prints its text again",
            file=sys.stderr,
        )
        raise SystemExit(1)
