"""Rows of samples <-> what is new in each: the five filters of PNG.

    row ──► minus nothing, left, above, their mean, or Paeth's choice, modulo 256 ──► filter number, differences

(PNG specification, third edition, chapter 9.) The filter of a row is the one whose differences, taken as signed
numbers, sum to least: what a general compressor behind it likes is not known before it has run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.jit import njit

NONE, SUB, UP, AVERAGE, PAETH = range(5)

Bytes = npt.NDArray[np.uint8]
_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")
_inlined: Any = njit(forceinline=True, cache=True, nogil=True)


def filter_rows(rows: Bytes, step: int, adaptive: bool = True) -> Bytes:
    """(H, N) uint8 to (H, 1 + N): each row behind the number of its filter.

    Args:
            rows: (H, N) uint8.
            step: bytes of a pixel, 1 to N.
        adaptive: False leaves all rows as they are.
    """
    filtered = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)
    if adaptive:
        _filter(np.ascontiguousarray(rows), step, filtered)
    else:
        filtered[:, 1:] = rows
    return filtered


def unfilter_rows(filtered: Bytes, step: int) -> Bytes | None:
    """The inverse of `filter_rows`; None where a row has a filter that there is not."""
    if filtered.size and int(filtered[:, 0].max()) > PAETH:
        return None
    rows = np.empty((len(filtered), filtered.shape[1] - 1), np.uint8)
    _unfilter(np.ascontiguousarray(filtered), step, rows)
    return rows


@_inlined
def _expected(kind, left, above, corner):  # type: ignore[no-untyped-def]
    if kind == SUB:
        return left
    if kind == UP:
        return above
    if kind == AVERAGE:
        return (left + above) >> 1
    if kind == PAETH:
        p = left + above - corner
        a, b, c = abs(p - left), abs(p - above), abs(p - corner)
        if a <= b and a <= c:
            return left
        return above if b <= c else corner
    return np.int64(0)


@_compiled
def _filter(rows, step, filtered):  # type: ignore[no-untyped-def]
    height, width = rows.shape
    for y in range(height):
        best, least = 0, np.int64(1) << 62
        for kind in range(5):
            total = np.int64(0)
            for x in range(width):
                left = np.int64(rows[y, x - step]) if x >= step else np.int64(0)
                above = np.int64(rows[y - 1, x]) if y > 0 else np.int64(0)
                corner = np.int64(rows[y - 1, x - step]) if y > 0 and x >= step else np.int64(0)
                d = (np.int64(rows[y, x]) - _expected(kind, left, above, corner)) & 255
                total += min(d, 256 - d)
            if total < least:
                best, least = kind, total
        filtered[y, 0] = best
        for x in range(width):
            left = np.int64(rows[y, x - step]) if x >= step else np.int64(0)
            above = np.int64(rows[y - 1, x]) if y > 0 else np.int64(0)
            corner = np.int64(rows[y - 1, x - step]) if y > 0 and x >= step else np.int64(0)
            filtered[y, x + 1] = (np.int64(rows[y, x]) - _expected(best, left, above, corner)) & 255


@_compiled
def _unfilter(filtered, step, rows):  # type: ignore[no-untyped-def]
    height, width = rows.shape
    for y in range(height):
        kind = filtered[y, 0]
        for x in range(width):
            left = np.int64(rows[y, x - step]) if x >= step else np.int64(0)
            above = np.int64(rows[y - 1, x]) if y > 0 else np.int64(0)
            corner = np.int64(rows[y - 1, x - step]) if y > 0 and x >= step else np.int64(0)
            rows[y, x] = (np.int64(filtered[y, x + 1]) + _expected(kind, left, above, corner)) & 255
