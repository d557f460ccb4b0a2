"""Temporary files beside a target, locked while their writers live.

One without a lock was left by a process that was killed: the next that writes into the folder removes it.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from functools import cache
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed: that is its lock
    fcntl = None  # type: ignore[assignment, unused-ignore]

NAME = re.compile(r"\.obverse-[0-9a-f]{16}\.tmp")


def open_temporary(folder: str) -> tuple[str, BinaryIO]:
    """Make a new file.

    Args:
        folder: where; "" is the current one.

    Returns:
        Its path, and itself, open for writing and locked until it is closed.

    Raises:
        OSError: it cannot be made.
    """
    remove_abandoned(os.path.realpath(folder or os.curdir))
    while True:
        path = os.path.join(folder, f".obverse-{secrets.token_hex(8)}.tmp")
        file = open(path, "xb")  # noqa: SIM115
        try:
            _lock(file.fileno(), wait=True)
        except OSError:  # this file system has no locks: then nobody can take one and remove the file
            return path, file
        if os.fstat(file.fileno()).st_nlink or fcntl is None:
            return path, file
        file.close()  # between making and locking it somebody has taken it for one that was left


@cache
def remove_abandoned(folder: str) -> None:
    """Remove what killed processes have left in a folder; looked for once in a process. Never fails."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
    """Raises OSError for a file that somebody has locked, or that is not to be removed."""
    if fcntl is None:
        os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            _lock(descriptor, wait=False)
            os.unlink(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> None:
    """Until it is closed. Raises OSError where there are no locks, or, unless `wait`, somebody has it."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
