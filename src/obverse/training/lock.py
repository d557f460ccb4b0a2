"""A folder belongs to one training run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from obverse.errors import TrainingError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment, unused-ignore]

NAME = ".lock"


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Around a training in a folder: its lock, which ends with the process, however that ends.

    Raises:
        TrainingError: another run has it.
    """
    if fcntl is None:
        yield
        return
    path = folder / NAME
    while True:
        with path.open("ab") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(
                    f"another run trains in {folder}: wait until it has ended, or choose another --out"
                ) from None
            except OSError:  # a file system without locks
                pass
            if not os.fstat(file.fileno()).st_nlink:
                continue  # the run before removed it in this moment: make a new one
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
            return
