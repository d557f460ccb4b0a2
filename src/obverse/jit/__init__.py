"""Numba's compiler, with a cache that never is the reason why something fails.

    from obverse.jit import njit

    call ──► machine code on disk? ── yes ──► llvmlite loads it, ctypes calls it      machine_code
                                   └─ no ───► Numba, whose own cache may have it      with_numba
                                              compiles it, keeps both ──► disk        folder

Numba itself takes about as long to import as a photo to decode, so it is imported only for functions of which there
is no machine code: the first call ever, arrays that are not contiguous, functions that make arrays. The machine code is
Numba's own, so what a function returns does not depend on the way.

Numba keeps what it compiled beside the source, which a package of another user, or a read-only one, does not allow.
The caches lie in the first of these folders that can be written:

    NUMBA_CACHE_DIR               where a user set it
    __pycache__                   beside the source
    $XDG_CACHE_HOME/obverse       else ~/.cache/obverse
    obverse-UID                   in the folder of temporary files

What they hold is run when it is read. So the last two must belong to the user, and be closed to others. Where no folder
will do, or one is full, functions are compiled anew in each process.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar, overload

from obverse.jit.folder import cache_folder as cache_folder
from obverse.jit.machine_code import Code, flattened, load
from obverse.jit.origin import FunctionOrigin

MANY_CALLS = 10_000  # Numba's calls are some 20 us shorter than ours: by then its import has paid

Function = TypeVar("Function", bound=Callable[..., Any])

_HARMLESS_SETTINGS = {"NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS"}
_calls = count()  # of machine code, of all functions


@overload
def njit(function: Function, /) -> Function: ...


@overload
def njit(**options: Any) -> Callable[[Function], Function]: ...


def njit(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """`numba.njit`, whose option `cache` asks for the caches of this package."""
    cached = options.pop("cache", False)

    def decorate(function: Callable[..., Any]) -> Any:
        if cached and options.get("nogil") and not _numba_is_set_up():
            return CompiledFunction(function, options)
        from obverse.jit import with_numba

        return with_numba.compiled(function, options, cached)

    return decorate if function is None else decorate(function)


def _numba_is_set_up() -> bool:
    """Whether someone has changed its settings, which may change what it makes of a function, or if at all."""
    config = getattr(sys.modules.get("numba"), "config", None)
    if getattr(config, "DISABLE_JIT", False) or os.path.exists(".numba_config.yaml"):
        return True
    return any(name.startswith("NUMBA_") and name not in _HARMLESS_SETTINGS for name in os.environ)


class CompiledFunction:
    """A function that runs as machine code from disk or else as Numba's dispatcher, which it stands for.

    Functions that Numba compiles may call it. Once it needed Numba, it stays with it.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        functools.update_wrapper(self, function)
        self.py_func = function
        self._origin = FunctionOrigin(function, options)
        self._codes: dict[str, Code] = {}  # by signature
        self._run: Callable[..., Any] = self._run_code

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._run(*arguments, **named)

    def __repr__(self) -> str:
        return f"<compiled {self.__module__}.{self.__qualname__}>"

    def __reduce__(self) -> str:
        return str(self.__qualname__)  # pickled as a function is: by its name

    def __getattr__(self, name: str) -> Any:
        # what else a dispatcher has, which includes what Numba's compiler asks of one
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "_numba_type_":
            from obverse.jit import with_numba

            return with_numba.type_of(self._dispatcher)
        return getattr(self._dispatcher, name)

    @functools.cached_property
    def _dispatcher(self) -> Any:
        from obverse.jit import with_numba

        origin = self._origin
        return self.__dict__.setdefault(
            "_made", with_numba.compiled(self.py_func, origin.options, True, origin)
        )

    def _run_code(self, *arguments: Any, **named: Any) -> Any:
        self._origin.called = True
        if not named and next(_calls) < MANY_CALLS:
            signature, values = flattened(arguments)
            code = self._codes.get(signature) or load(self._origin, signature)
            if code is not None:
                self._codes[signature] = code
                return code(values)
        self._run = self._dispatcher
        return self._run(*arguments, **named)
