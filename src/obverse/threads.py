"""Threads of this process: how many cores it has, how torch's threads wait, and what a forked child has of them.

NumPy's matrix products, which photos are decoded by, have threads of OpenBLAS: as many as torch's are to be.

torch's OpenMP (libgomp in its wheels) lets threads that have nothing to do spin for a while, since the next piece of
work comes soon. Beside another busy program that takes the core from the thread that has work: coding a photo of 1.5
megapixels takes 1.8 times as long with two threads as with one. So the command line lets them sleep, and gives small
work to one thread.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import cast

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}  # of libgomp and libomp
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
SMALL = 2**20  # pixels: below, waking a second thread for each layer takes as long as it saves


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads sleep where they wait, before torch is imported, unless the user has said something on it.

    For commands that code. Trainings, which have the machine for themselves, are faster with threads that spin.
    """
    if not any(name in environment for name in PASSIVE):
        environment.update(PASSIVE)


def available_cores() -> int:
    """How many cores this process may use: those that it is bound to, and what its container's quota allows."""
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        bound = os.cpu_count() or 1
    return max(1, min(bound, math.ceil(_quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")))))


def available_threads() -> int:
    """How many threads a piece of work may use here: what OMP_NUM_THREADS says, else one a core."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, int(given)) if given.isdecimal() else available_cores()


@contextmanager
def threads_for(pixels: int | None) -> Iterator[None]:
    """Around coding in a process of one's own: as many threads of torch and of NumPy's products as are worth it.

    Args:
        pixels: in the image; None for data of which one cannot tell.
    """
    count = 1 if pixels is not None and pixels < SMALL else available_threads()
    torch = sys.modules.get("torch")  # None where the codec has no use for it
    before = torch.get_num_threads() if torch is not None else 1
    if torch is not None:
        torch.set_num_threads(count)
    try:
        with _blas_threads(count):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


@contextmanager
def _blas_threads(count: int) -> Iterator[None]:
    """Within, NumPy's matrix products have at most so many threads, where its OpenBLAS can be told."""
    tell, ask = _openblas("set_num_threads"), _openblas("get_num_threads")
    if tell is None or ask is None:  # another library, which has its own variables
        yield
        return
    before = ask()
    tell(min(count, before))  # never more than OPENBLAS_NUM_THREADS or the program said
    try:
        yield
    finally:
        tell(before)


@cache
def _openblas(function: str) -> Callable[..., int] | None:
    """A function of the OpenBLAS in NumPy's wheels, by whichever of its names; None where NumPy has another library."""
    import ctypes

    from numpy.linalg import _umath_linalg

    with suppress(OSError):
        library = ctypes.CDLL(_umath_linalg.__file__)  # which it is linked to
        for name in ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}"):
            found = getattr(library, name.format(function), None)
            if found is not None:
                return cast("Callable[..., int]", found)
    return None


def one_thread_after_fork() -> None:
    """From now on, give children of `os.fork` one thread of torch's: those of the parent are not in the child, and
    whoever waited for them there would wait for ever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _quota(groups: Path, own: Path) -> float:
    """Cores that the control groups of Linux leave to this process; infinite without a limit."""
    least = math.inf
    for line in _lines(own):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = groups / "cpu" if controllers else groups
        place = mount / path.lstrip("/")
        for folder in (place, *place.parents):
            if not folder.is_relative_to(mount):
                break
            for text in ("".join(_lines(folder / "cpu.max")), _version_1(folder)):
                with suppress(ValueError, ZeroDivisionError):  # "max 100000", or no such file
                    quota, period = map(int, text.split())
                    least = min(least, quota / period if quota > 0 else math.inf)
    return least if least < math.inf else sys.maxsize


def _version_1(folder: Path) -> str:
    return " ".join("".join(_lines(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
