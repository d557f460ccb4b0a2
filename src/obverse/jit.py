"""Numba's compiler, with a cache that never is the reason why something fails.

    from obverse.jit import njit

Numba keeps what it compiled beside the source, which a package of another user, or a read-only one, does not allow.
The cache lies in the first of these folders that can be written:

    NUMBA_CACHE_DIR               where a user set it
    __pycache__                   beside the source
    $XDG_CACHE_HOME/obverse       else ~/.cache/obverse
    obverse-UID                   in the folder of temporary files

What it holds is run when it is read. So the last two must belong to the user, and be closed to others. Where no folder
will do, or one is full, functions are compiled anew in each process.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar, overload

import numba
from numba.core.caching import FunctionCache

_config: Any = numba.config  # its settings are made when it is imported


Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def njit(function: Function, /) -> Function: ...


@overload
def njit(**options: Any) -> Callable[[Function], Function]: ...


def njit(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """`numba.njit`, whose option `cache` asks for the cache of this module."""
    cached = options.pop("cache", False)

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**options)(function)
        # a plain function where NUMBA_DISABLE_JIT is set
        if cached and hasattr(compiled, "enable_caching"):
            _enable_cache(compiled)
        return compiled

    return decorate if function is None else decorate(function)


class _Cache(FunctionCache):  # type: ignore[misc, unused-ignore]
    """Numba's, without errors of its own: a full disk, files that a power cut left empty."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call, unused-ignore]
        except Exception:  # whatever unpickling raises for damaged files
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call, unused-ignore]


def _enable_cache(compiled: Any) -> None:
    folder = cache_folder(os.path.dirname(os.path.abspath(compiled.py_func.__code__.co_filename)))
    if folder is None:
        return
    # RuntimeError: no locator; OSError: whatever has changed since the folder was tried
    with _cache_dir(folder), suppress(RuntimeError, OSError):
        compiled._cache = _Cache(compiled.py_func)  # type: ignore[no-untyped-call, unused-ignore]


@contextmanager
def _cache_dir(folder: str) -> Iterator[None]:
    """Numba's setting for one function: those of other packages keep their own."""
    before, _config.CACHE_DIR = _config.CACHE_DIR, folder
    try:
        yield
    finally:
        _config.CACHE_DIR = before


@cache
def cache_folder(source: str) -> str | None:
    """What Numba's CACHE_DIR is to be for the code in a folder.

    Args:
        source: the folder.

    Returns:
        The folder of the cache, "" for the one beside the source, None where there is none.
    """
    given = str(_config.CACHE_DIR)
    if given and _writable(given):
        return given
    if _writable(os.path.join(source, "__pycache__")):
        return ""
    for folder in (_user_folder(), _temporary_folder()):
        if folder and _private(folder) and _writable(folder):
            return folder
    return None


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
