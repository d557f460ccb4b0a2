"""Where compiled functions are kept: a folder that this user owns, or none.

What a cache holds is run when it is read. So the last two folders of the list in `obverse.jit` must belong to the user,
and be closed to others.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import suppress
from functools import cache


@cache
def cache_folder(source: str) -> str | None:
    """What Numba's CACHE_DIR is to be for the code in a folder.

    Args:
        source: the folder.

    Returns:
        The folder of the cache, "" for the one beside the source, None where there is none.
    """
    given = _given()
    if given and _writable(given):
        return given
    if _writable(os.path.join(source, "__pycache__")):
        return ""
    for folder in (_user_folder(), _temporary_folder()):
        if folder and _private(folder) and _writable(folder):
            return folder
    return None


def _given() -> str:
    """Numba's setting, without importing it only to ask."""
    numba = sys.modules.get("numba")
    config = getattr(numba, "config", None)
    return str(getattr(config, "CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR", "")))


def _user_folder() -> str | None:
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(os.path.expanduser("~"), ".cache")
    # a user without an entry has no home: ~ is left as it is
    return os.path.join(home, "obverse") if os.path.isabs(home) else None


def _temporary_folder() -> str | None:
    with suppress(OSError):  # there is none that can be written
        return os.path.join(tempfile.gettempdir(), f"obverse-{_user()}")
    return None


def _user() -> int:
    """Its number; 0 where the system has none, whose folders of temporary files are each user's own."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _private(folder: str) -> bool:
    """Make a folder, closed to others; whether it is one, and this user's."""
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        found = os.lstat(folder)  # a link would lead elsewhere
    except OSError:
        return False
    if not hasattr(os, "geteuid"):
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _writable(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
