"""Whether exact networks are to be summed in int64: slowly, and right whatever the kernels of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_within = 0  # of the process


@contextmanager
def certain_sums() -> Iterator[None]:
    """Sum in int64, whose products and sums wrap but never round, whatever the kernels of this machine. Slow.

    Of the whole process, while any thread is within.
    """
    global _within
    _within += 1
    try:
        yield
    finally:
        _within -= 1


def is_certain() -> bool:
    """Whether any thread is within `certain_sums`."""
    return _within > 0
