"""Tables stored as code lengths: one byte a symbol, in eighths of a bit.

    counts ──► lengths, v = round(8 * -log2 p), 0 to 191 ──► stored ──► weights floor(2^(24 - v/8)) ──► TableFamily

A learned density with hundreds of dimensions has thousands of probabilities, and a file that carries them must not
pay 16 bits for each. Rounding a code length by at most 1/16 of a bit costs 0.0005 bits a symbol. The weights are eighth
roots, taken in whole numbers, so that the same bytes make the same tables on every machine; and since any bytes make
valid tables, nothing in a hostile file can make a bad one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from obverse.coding import TableFamily
from obverse.errors import DamagedError

PRECISION = 16
LONGEST = 191  # eighths of a bit; the longest code is 16 bits, and the rest is room for sums below 1
LARGEST = 4097  # symbols of one table, its escape counted


def eighth_root(value: int) -> int:
    """floor(value^(1/8)): the floor of a root of a floor is the floor of the root."""
    return math.isqrt(math.isqrt(math.isqrt(value)))


WEIGHTS = np.array([eighth_root(1 << (8 * 24 - v)) for v in range(LONGEST + 1)], np.int64)


def lengths_of(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(L,) positive probabilities to code lengths in eighths of a bit, (L,)."""
    eighths = np.rint(-8 * np.log2(probabilities / probabilities.sum()))
    return np.clip(eighths, 0, LONGEST).astype(np.uint8)


def tables_of(
    lengths: npt.NDArray[np.uint8], sizes: npt.NDArray[np.integer], lows: npt.NDArray[np.integer]
) -> TableFamily:
    """The tables that code lengths stand for; whole numbers in, whole numbers out.

    Args:
        lengths: all tables one after the other, the escape of each last.
        sizes: (T,) how many lengths each table has, its escape counted, at least 2.
        lows: (T,) smallest symbol of each.

    Raises:
        DamagedError: where they do not agree.
    """
    size = sizes.astype(np.int64)
    if (
        lengths.ndim != 1 or size.ndim != 1 or size.shape != lows.shape or not size.size
        or size.min() < 2 or size.max() > LARGEST or int(size.sum()) != lengths.size
    ):  # fmt: skip
        raise DamagedError("the code lengths of the model do not cut into its tables")
    low = lows.astype(np.int64)
    if low.min() < -(2**30) or low.max() > 2**30:
        raise DamagedError("a table of the model lies outside of all symbols")
    clipped = np.minimum(lengths, LONGEST)
    weights = WEIGHTS[clipped]
    starts = np.cumsum(size) - size
    sums = np.add.reduceat(weights, starts)
    total = 1 << PRECISION
    # everybody gets 1, and a share of the rest; what the floors leave goes to the most likely: the
    # shortest code, for long ones may round to the same weight
    shared = weights * np.repeat(total - size, size) // np.repeat(sums, size) + 1
    left = total - np.add.reduceat(shared, starts)
    for table, (start, count) in enumerate(zip(starts.tolist(), size.tolist(), strict=True)):
        shared[start + int(np.argmin(clipped[start : start + count]))] += left[table]
    ends = np.append(starts, size.sum()) + np.arange(size.size + 1)  # a cdf has one entry more than its table
    cdf = np.zeros(int(ends[-1]), np.int64)
    inside = np.ones(len(cdf), bool)
    inside[ends[:-1]] = False
    running = np.cumsum(shared)
    cdf[inside] = running - np.repeat(np.append(0, running[starts[1:] - 1]), size)
    return TableFamily(cdf, ends, low, PRECISION, escape=True)
