"""Probability tables of integers: what a model hands to the coder.

A `TableFamily` is a set of tables with one precision; each symbol of a message chooses its table by an
index. Frequencies are integers that sum to 2**precision, so sender and receiver agree on every machine
once the family itself is shared (build it once, store it with the model: floating-point `erf` and `exp`
are not the same everywhere).

    >>> import numpy as np
    >>> family = TableFamily.gaussian([0.5, 4.0])
    >>> family.frequencies(0).sum() == 2**family.precision
    np.True_
    >>> round(float(family.bits(np.array([0, 3]), np.array([0, 1])).sum()), 2)
    3.88
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding.rans import BUCKET_BITS
from obverse.errors import TableError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRECISION_MIN, PRECISION_MAX = BUCKET_BITS, 24


def quantise(probabilities: npt.ArrayLike, precision: int = 16, allow_zero: bool = False) -> Ints:
    """Integer frequencies that sum to 2**precision and cost least against `probabilities`.

    probabilities: (K,) non-negative, any positive sum. Every entry gets at least 1, except that with
    `allow_zero` entries of probability zero get 0. Starting from the floor, the units left over go one
    by one where they save most bits, p * log((f + 1) / f). Raises TableError on NaN, infinity, negative
    numbers, an empty list, or more entries than 2**precision.
    """
    _check_precision(precision)
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 1 or p.size == 0:
        raise TableError(f"a table needs a list of at least one probability, not shape {p.shape}")
    if not np.isfinite(p).all() or (p < 0).any() or p.sum() <= 0:
        raise TableError("probabilities must be finite, not negative, and not all zero")
    total = 1 << precision
    p = p / p.sum()
    needed = (p > 0) if allow_zero else np.ones(p.size, bool)
    if needed.sum() > total:
        raise TableError(f"{int(needed.sum())} symbols do not fit a precision of {precision} bits")
    f = np.where(needed, np.maximum(np.floor(p * total), 1), 0).astype(np.int64)
    excess = int(f.sum()) - total
    if excess > 0:  # the floors of 1 took too much: take it back where it costs least
        heap = [(float(p[i] * math.log(f[i] / (f[i] - 1))), int(i)) for i in np.flatnonzero(f > 1)]
        heapq.heapify(heap)
        for _ in range(excess):
            _, i = heapq.heappop(heap)
            f[i] -= 1
            if f[i] > 1:
                heapq.heappush(heap, (float(p[i] * math.log(f[i] / (f[i] - 1))), i))
    elif excess < 0:
        heap = [(-float(p[i] * math.log((f[i] + 1) / f[i])), int(i)) for i in np.flatnonzero(f > 0)]
        heapq.heapify(heap)
        for _ in range(-excess):
            _, i = heap[0]
            f[i] += 1
            heapq.heapreplace(heap, (-float(p[i] * math.log((f[i] + 1) / f[i])), i))
    return f


def _check_precision(precision: int) -> None:
    if not PRECISION_MIN <= precision <= PRECISION_MAX:
        raise TableError(f"precision must be {PRECISION_MIN} to {PRECISION_MAX} bits, not {precision}")


class TableFamily:
    """Integer CDFs, one or many, of one precision.

    cdf: tables one after the other, uint32; table t holds cdf[offsets[t] : offsets[t + 1]], which starts
        at 0, never falls and ends at 2**precision.
    lows: (T,) the smallest value of each table's support.
    escape: when true the last interval of each table is the escape: any int32 outside of the support is
        coded after it, so that no value is ever clipped.
    """

    def __init__(
        self, cdf: npt.ArrayLike, offsets: npt.ArrayLike, lows: npt.ArrayLike, precision: int, escape: bool
    ):
        _check_precision(precision)
        self.precision = precision
        self.escape = bool(escape)
        self.cdf = np.ascontiguousarray(cdf, np.uint32)
        ends = np.asarray(offsets, np.int64)
        self.lows = np.ascontiguousarray(lows, np.int64)
        count = len(self.lows)
        if self.cdf.ndim != 1 or ends.shape != (count + 1,) or count == 0:
            raise TableError("a family needs one cdf array, T lows and T + 1 offsets, T at least 1")
        if ends[0] != 0 or ends[-1] != len(self.cdf) or (np.diff(ends) < 2).any():
            raise TableError("offsets must cut the cdf into tables of at least two entries")
        steps = np.diff(self.cdf.astype(np.int64))
        inside = np.ones(len(steps), bool)
        inside[ends[1:-1] - 1] = False  # from the end of a table to the start of the next
        if (steps[inside] < 0).any():
            raise TableError("a cdf must not fall")
        if (self.cdf[ends[:-1]] != 0).any() or (self.cdf[ends[1:] - 1] != 1 << precision).any():
            raise TableError(f"a cdf must start at 0 and end at 2**{precision}")
        if (np.abs(self.lows) >= 2**31).any():
            raise TableError("a support must lie within int32")
        self.offsets = np.ascontiguousarray(ends[:-1], np.uint64)
        self.sizes = np.diff(ends) - 1 - int(self.escape)
        if self.escape and (self.cdf[ends[1:] - 2] == 1 << precision).any():
            raise TableError("the escape needs a frequency of at least 1")
        # first[t, b]: the first interval that reaches into bucket b, where the linear search starts
        edges = np.arange(1 << BUCKET_BITS, dtype=np.uint32) << np.uint32(precision - BUCKET_BITS)
        self.first = np.empty((count, 1 << BUCKET_BITS), np.int32)
        for t in range(count):
            table = self.cdf[ends[t] + 1 : ends[t + 1]]
            self.first[t] = np.searchsorted(table, edges, side="right")

    def __len__(self) -> int:
        """Number of tables."""
        return len(self.lows)

    def frequencies(self, table: int) -> Ints:
        """Frequencies of one table, escape last if there is one; they sum to 2**precision."""
        start = int(self.offsets[table])
        stop = start + int(self.sizes[table]) + 1 + int(self.escape)
        return np.diff(self.cdf[start:stop].astype(np.int64))

    def bits(self, symbols: npt.ArrayLike, index: npt.ArrayLike) -> Floats:
        """Ideal code length in bits of each symbol under its table, escapes included."""
        v = np.asarray(symbols, np.int64)
        t = np.broadcast_to(np.asarray(index, np.int64), v.shape)
        if t.size and (t.min() < 0 or t.max() >= len(self)):
            raise TableError(f"table index outside of 0 to {len(self) - 1}")
        relative = v - self.lows[t]
        size = self.sizes[t]
        inside = (relative >= 0) & (relative < size)
        entry = self.offsets[t].astype(np.int64) + np.where(inside, relative, size - (0 if self.escape else 1))
        freq = self.cdf[entry + 1].astype(np.float64) - self.cdf[entry]
        if not self.escape:
            freq = np.where(inside, freq, 0)
        with np.errstate(divide="ignore"):
            bits = self.precision - np.log2(freq)
        distance = np.where(relative >= size, relative - size, -relative - 1)
        length = np.floor(np.log2(np.maximum(distance, 0) + 1.0))
        return np.asarray(np.where(inside, bits, bits + (7 + length if self.escape else 0)), np.float64)

    @classmethod
    def from_frequencies(
        cls, frequencies: Sequence[npt.ArrayLike], lows: npt.ArrayLike, precision: int, escape: bool
    ) -> TableFamily:
        """Tables from lists of integer frequencies, the escape's last."""
        rows = [np.asarray(f, np.int64) for f in frequencies]
        for row in rows:
            if row.ndim != 1 or row.size == 0 or (row < 0).any() or row.sum() != 1 << precision:
                raise TableError(f"frequencies must not be negative and must sum to 2**{precision}")
        if not rows:
            raise TableError("a family needs at least one table")
        cdf = np.concatenate([np.concatenate([[0], np.cumsum(row)]) for row in rows])
        offsets = np.cumsum([0] + [len(row) + 1 for row in rows])
        return cls(cdf, offsets, lows, precision, escape)

    @classmethod
    def categorical(cls, probabilities: npt.ArrayLike, precision: int = 16, low: int = 0) -> TableFamily:
        """(K,) or (T, K) probabilities of the values low .. low + K - 1; zeros stay impossible; no escape."""
        p = np.atleast_2d(np.asarray(probabilities, np.float64))
        if p.ndim != 2:
            raise TableError("categorical tables need (K,) or (T, K) probabilities")
        rows = [quantise(row, precision, allow_zero=True) for row in p]
        return cls.from_frequencies(rows, np.full(len(rows), low), precision, escape=False)

    @classmethod
    def uniform(cls, count: int, precision: int = 16, low: int = 0) -> TableFamily:
        """One table: `count` equally likely values from `low` on. Exact when count is a power of two."""
        if count < 1:
            raise TableError(f"a uniform table needs at least one value, not {count}")
        return cls.categorical(np.ones(count), precision, low)

    @classmethod
    def gaussian(cls, scales: npt.ArrayLike, means: npt.ArrayLike = 0.0, precision: int = 16) -> TableFamily:
        """Integers k with probability Phi((k + .5 - mean) / scale) - Phi((k - .5 - mean) / scale)."""
        return cls._discretised(lambda z: 0.5 * math.erfc(z / math.sqrt(2)), scales, means, precision)

    @classmethod
    def laplace(cls, scales: npt.ArrayLike, means: npt.ArrayLike = 0.0, precision: int = 16) -> TableFamily:
        """Discretised Laplace of density exp(-|x - mean| / scale) / (2 scale)."""
        return cls._discretised(
            lambda z: 0.5 * math.exp(-z) if z > 0 else 1 - 0.5 * math.exp(z), scales, means, precision
        )

    @classmethod
    def logistic(cls, scales: npt.ArrayLike, means: npt.ArrayLike = 0.0, precision: int = 16) -> TableFamily:
        """Discretised logistic of CDF 1 / (1 + exp(-(x - mean) / scale))."""
        return cls._discretised(
            lambda z: math.exp(-z) / (1 + math.exp(-z)) if z > 0 else 1 / (1 + math.exp(z)),
            scales,
            means,
            precision,
        )

    @classmethod
    def _discretised(
        cls, survival: Callable[[float], float], scales: npt.ArrayLike, means: npt.ArrayLike, precision: int
    ) -> TableFamily:
        """survival: P(X > z) of the standard, symmetric distribution. The support ends where a tail holds
        less than half a unit of 2**-precision; the escape takes the rest."""
        _check_precision(precision)
        s, m = np.broadcast_arrays(
            np.atleast_1d(np.asarray(scales, np.float64)), np.atleast_1d(np.asarray(means, np.float64))
        )
        if s.ndim != 1 or s.size == 0:
            raise TableError("scales and means must be numbers or lists of the same length")
        if not (np.isfinite(s).all() and np.isfinite(m).all()) or (s <= 0).any():
            raise TableError("scales must be positive and finite, means finite")
        tail = 0.5 * 2.0**-precision
        reach = 1.0
        while survival(reach) > tail:
            reach += 0.05
        widest = (1 << precision) // 4  # so that floors of 1 never eat up a table
        rows, lows = [], []
        for scale, mean in zip(s.tolist(), m.tolist(), strict=True):
            half = min(max(1, math.ceil(reach * scale - 0.5)), widest)
            centre = round(mean)
            if abs(centre) + half >= 2**31:
                raise TableError(f"a table around {mean} does not lie within int32")
            low, high = centre - half, centre + half
            # differences of whichever tail is small, so that no probability is lost to cancellation
            z = [(k - 0.5 - mean) / scale for k in range(low, high + 2)]
            upper = np.array([survival(a) for a in z])
            lower = np.array([survival(-a) for a in z])
            p = np.where(np.array(z[:-1]) + np.array(z[1:]) > 0, upper[:-1] - upper[1:], lower[1:] - lower[:-1])
            escape = float(lower[0] + upper[-1])
            rows.append(quantise(np.append(np.maximum(p, 0), escape), precision))
            lows.append(low)
        return cls.from_frequencies(rows, lows, precision, escape=True)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What must be stored to have the same family again: pass it to `from_state`."""
        ends = np.append(self.offsets.astype(np.int64), len(self.cdf))
        return {
            "cdf": self.cdf,
            "offsets": ends,
            "lows": self.lows,
            "precision_escape": np.array([self.precision, int(self.escape)], np.int64),
        }

    @classmethod
    def from_state(cls, state: dict[str, npt.NDArray[Any]]) -> TableFamily:
        """The family that `state` came from."""
        precision, escape = state["precision_escape"].tolist()
        return cls(state["cdf"], state["offsets"], state["lows"], precision, bool(escape))
