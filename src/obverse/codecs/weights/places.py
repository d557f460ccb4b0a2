"""Contexts of a matrix: how large its numbers usually are in this row and this column.

Rows and columns of weights differ in scale, and the exponents follow: the mean byte of a row and of a column, in steps,
tell which table a place uses: (i, j) has the table (row[i] + column[j] - MIDDLE) >> (2 + merges), cut to 0 to
15 >> merges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.weights.planes import compiled

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

CLASSES = 16
MIDDLE = np.uint8(32)  # what a row or a column of the usual size has
MOST_MERGES = 3
_STEPS = 10.0  # of a standard deviation; four make a class
_NARROW = 2**14  # columns; of wider matrices each row is worked on by itself
_MOST = 127  # so that a sum fits a byte


@dataclass(frozen=True)
class Places:
    """The steps of the rows and columns of a matrix.

    Attributes:
        rows: (r,) uint8.
        columns: (c,) uint8.
        merges: 2^merges neighbouring classes share a table.
    """

    rows: Bytes
    columns: Bytes
    merges: int = 0

    @property
    def tables(self) -> int:
        """How many tables there are."""
        return CLASSES >> self.merges

    def contexts(self, start: int, count: int) -> Bytes:
        """(count,) of the places from `start` on, row after row."""
        classes = np.empty(count, np.uint8)
        _classes(
            self.rows, self.columns, np.uint8(2 + self.merges), np.uint8(self.tables - 1), start, classes
        )
        return classes

    def steps(self, start: int, count: int) -> Bytes:
        """(count,) the sum of row and column of each place from `start` on."""
        width = len(self.columns)
        first, at = divmod(start, width)
        if width <= _NARROW:
            rows = self.rows[first : -(-(start + count) // width), None]
            return (rows + self.columns).reshape(-1)[at : at + count]
        parts = []
        while count > 0:
            columns = self.columns[at : at + count]
            parts.append(self.rows[first] + columns)
            first, at, count = first + 1, 0, count - len(columns)
        return np.concatenate(parts)


def places_of(plane: Bytes, columns: int) -> Places | None:
    """Those of a matrix (r c,) of so many columns; None where all rows and columns are alike.

    Args:
        plane: its bytes, row after row.
        columns: of it.
    """
    _, row, column = deviations(plane, columns)
    spread = float(np.sqrt(row.var() + column.var()))
    if not spread > 0:
        return None
    return Places(in_steps(row, _STEPS / spread), in_steps(column, _STEPS / spread))


def deviations(values: npt.NDArray[Any], columns: int) -> tuple[float, Floats, Floats]:
    """The mean of a matrix (r c,) of integers, and by how much the means of rows and of columns differ from it."""
    rows = len(values) // columns
    row_sums, column_sums = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    _sums(values, columns, row_sums, column_sums)
    mean = float(row_sums.sum()) / len(values)
    return mean, row_sums / columns - mean, column_sums / rows - mean


def in_steps(deviation: Floats, steps: float) -> Bytes:
    """Deviations as the steps of rows or columns.

    Args:
        deviation: (n,).
        steps: of a deviation of 1.
    """
    return np.clip(np.rint(deviation * steps) + MIDDLE, 0, _MOST).astype(np.uint8)


@compiled
def _classes(rows, columns, shift, last, start, classes):  # type: ignore[no-untyped-def]
    """All in bytes, which the compiler makes vectors of."""
    width = len(columns)
    i, j, at = start // width, start % width, 0
    while at < len(classes):
        row, count = np.uint8(rows[i]), min(width - j, len(classes) - at)
        out, steps = classes[at : at + count], columns[j : j + count]
        for k in range(count):
            step = np.uint8(max(np.uint8(row + steps[k]), MIDDLE))
            step = np.uint8(np.uint8(step - MIDDLE) >> shift)
            out[k] = min(step, last)
        at, i, j = at + count, i + 1, 0


@compiled
def _sums(plane, columns, row_sums, column_sums):  # type: ignore[no-untyped-def]
    for i in range(len(row_sums)):
        total = np.int64(0)
        for j in range(columns):
            value = np.int64(plane[i * columns + j])
            total += value
            column_sums[j] += value
        row_sums[i] = total
