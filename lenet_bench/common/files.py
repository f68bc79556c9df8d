"""Where commands put what they write: a new folder below `runs/`, files that are never half."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from pathlib import Path


def new_folder(name: str) -> Path:
    """`runs/NAME-TIME`, or the first of `-2`, `-3`, ... that does not exist; not made yet."""
    stem = f"{name}-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    candidate, number = Path("runs") / stem, 1
    while candidate.exists():
        number += 1
        candidate = Path("runs") / f"{stem}-{number}"
    return candidate


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
