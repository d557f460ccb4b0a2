"""What machine code is made from: a function, all that it calls, the compiler and the processor.

Code on disk is used only where all of this is as it was, to the letter. Numba's own cache looks at the function alone,
so it goes on with old code after a change in a function that was inlined, or in a constant; what is found here is part
of its key too.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from obverse.jit.folder import cache_folder

SUFFIX = ".machine-code"


class FunctionOrigin:
    """Where a function comes from."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        self.function = function
        self.options = options
        self.called = False  # from Python: machine code of what only Numba's functions call is of no use
        self.source = os.path.abspath(function.__code__.co_filename)
        self.source_folder = os.path.dirname(self.source)

    @functools.cached_property
    def folder(self) -> str | None:
        """Of the cache; None if there is none."""
        folder = cache_folder(self.source_folder)
        return os.path.join(self.source_folder, "__pycache__") if folder == "" else folder

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the function, its options, and all functions and constants that it reaches."""
        parts = sorted(set(_reached(self.function, set())))
        return hashlib.sha256(repr((_stable(self.options), parts)).encode()).hexdigest()

    def key(self, signature: str) -> str | None:
        """All that the code for a signature depends on; None where that is not known."""
        machine, stamp = machine_key(), _stamp(self.source)
        if machine is None or stamp is None or self.function.__closure__:
            return None
        return repr((machine, self.source, stamp, self._name(), self.fingerprint, signature))

    def path(self, signature: str) -> str | None:
        """The file of the code for a signature. What was made from an older source is written over."""
        if self.folder is None:
            return None
        place = repr((machine_key(), self.source, self._name(), signature))
        name = "".join(c if c.isalnum() or c in "._" else "-" for c in self._name()[:80])
        return os.path.join(self.folder, f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:24]}{SUFFIX}")

    def _name(self) -> str:
        return f"{os.path.splitext(os.path.basename(self.source))[0]}.{self.function.__qualname__}"


@functools.cache
def machine_key() -> str | None:
    """The compiler, its versions, and the processor that it compiles for; None where one of them is not known."""
    if not sys.platform.startswith("linux"):  # `machine_code` reads no other object code than its
        return None
    from llvmlite import __version__, binding

    # its version is in a file, which is quicker to read than Numba is to import
    found = importlib.util.find_spec("numba")
    if found is None or found.origin is None:
        return None
    try:
        with open(os.path.join(os.path.dirname(found.origin), "_version.py"), encoding="utf-8") as file:
            numba = file.read()
    except (OSError, UnicodeDecodeError):
        return None
    here = os.path.dirname(os.path.abspath(__file__))
    own = [_stamp(os.path.join(here, name)) for name in ("machine_code.py", "with_numba.py")]
    return repr((
        numba, found.origin, np.__version__, __version__, binding.llvm_version_info, sys.version,
        sys.implementation.cache_tag, own, binding.get_process_triple(), binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
    ))  # fmt: skip


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _reached(function: Callable[..., Any], seen: set[int]) -> Iterator[str]:
    """Descriptions of a function and of what it reaches by names of its module or of modules there."""
    if id(function) in seen:
        return
    seen.add(id(function))
    code = function.__code__
    yield repr(
        (function.__module__, function.__qualname__, _stable(function.__defaults__), *_described(code))
    )
    for name, found in _found(function.__globals__, sorted(_names(code)), 3):
        python = getattr(found, "py_func", found)
        if isinstance(python, FunctionType):
            if not python.__module__.startswith("numpy"):  # of which Numba has its own
                yield from _reached(python, seen)
                yield repr(_stable(getattr(getattr(found, "_origin", None), "options", None)))
        elif isinstance(found, np.ndarray):
            yield repr((name, found.dtype.str, found.shape, hashlib.sha256(found.tobytes()).hexdigest()))
        elif isinstance(found, (int, float, complex, str, bytes, tuple, frozenset, np.generic)):
            yield repr((name, type(found).__name__, _stable(found)))


def _found(space: dict[str, Any], names: list[str], depth: int) -> Iterator[tuple[str, Any]]:
    """What names stand for in a module and in the modules there."""
    for name in names:
        value = space.get(name)
        if isinstance(value, ModuleType) and depth > 1:
            yield from _found(vars(value), names, depth - 1)
        elif value is not None:
            yield name, value


def _names(code: CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _described(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_described(c) if isinstance(c, CodeType) else _stable(c) for c in code.co_consts)
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_argcount, code.co_flags


def _stable(value: Any) -> Any:
    """The value in a form whose `repr` is the same in each process: sets and dictionaries in order."""
    if isinstance(value, (set, frozenset)):
        return "set", sorted(repr(_stable(v)) for v in value)
    if isinstance(value, dict):
        return "dict", sorted((str(k), repr(_stable(v))) for k, v in value.items())
    if isinstance(value, (tuple, list)):
        return type(value).__name__, [_stable(v) for v in value]
    if isinstance(value, np.generic):
        return value.dtype.str, repr(value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return type(value).__name__, repr(value)
    return type(value).__name__  # its repr may hold an address
