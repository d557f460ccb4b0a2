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
    4.28
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

    Every entry gets at least 1. Starting from the floor, the units left over go one by one where they save most bits,
    p * log((f + 1) / f).

    Args:
        probabilities: (K,) non-negative, any positive sum.
        precision: bits, 10 to 24.
        allow_zero: entries of probability zero get 0 all the same.

    Raises:
        TableError: on NaN, infinity, negative numbers, an empty list, or more entries than 2**precision.
    """
    _check_precision(precision)
    p = _floats(probabilities, "probabilities")
    if p.ndim != 1 or p.size == 0:
        raise TableError(f"a table needs a list of at least one probability, not shape {p.shape}")
    with np.errstate(over="ignore"):
        weight = float(p.sum())
    if not math.isfinite(weight) or (p < 0).any() or weight <= 0:
        raise TableError("probabilities must be finite, not negative, and not all zero")
    total = 1 << precision
    needed = (p > 0) if allow_zero else np.ones(p.size, bool)
    p = p / weight
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
    if not isinstance(precision, int | np.integer) or not PRECISION_MIN <= precision <= PRECISION_MAX:
        raise TableError(f"precision must be {PRECISION_MIN} to {PRECISION_MAX} bits, not {precision}")


def _floats(values: npt.ArrayLike, what: str) -> Floats:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"{what} must be numbers: {error}") from error


def _integers(values: npt.ArrayLike, what: str) -> Ints:
    try:
        array: npt.NDArray[Any] = np.asarray(values)
    except ValueError as error:
        raise TableError(f"{what} must be integers: {error}") from error
    if array.size and (array.dtype.kind not in "iub" or int(array.max()) >= 2**63):
        raise TableError(f"{what} must be integers, not {array.dtype}")
    return array.astype(np.int64)


class TableFamily:
    """Integer CDFs, one or many, of one precision.

    Args:
        cdf: tables one after the other, uint32; table t holds cdf[offsets[t] : offsets[t + 1]], which starts at 0,
            never falls and ends at 2**precision.
        offsets: (T + 1,) where each table starts, and where the last one ends.
        lows: (T,) the smallest value of each table's support.
        precision: bits, 10 to 24.
        escape: when true the last interval of each table is the escape: any int32 outside of the support is coded after
            it, so that no value is ever clipped.
    """

    def __init__(
        self, cdf: npt.ArrayLike, offsets: npt.ArrayLike, lows: npt.ArrayLike, precision: int, escape: bool
    ):
        _check_precision(precision)
        self.precision = int(precision)
        self.escape = bool(escape)
        total = 1 << self.precision
        sums, ends = _integers(cdf, "a cdf"), _integers(offsets, "offsets")
        self.lows = np.ascontiguousarray(_integers(lows, "lows"))
        count = len(self.lows) if self.lows.ndim == 1 else 0
        if sums.ndim != 1 or ends.shape != (count + 1,) or count == 0 or len(sums) >= 2**32:
            raise TableError("a family needs one cdf array, T lows and T + 1 offsets, T at least 1")
        cut = ends[0] == 0 and ends[-1] == len(sums) and (ends <= len(sums)).all()
        if not cut or (ends[1:] < ends[:-1] + 2).any():
            raise TableError("offsets must cut the cdf into tables of at least two entries")
        inside = np.ones(len(sums) - 1, bool)
        inside[ends[1:-1] - 1] = False  # from the end of a table to the start of the next
        if (sums[1:] < sums[:-1])[inside].any():
            raise TableError("a cdf must not fall")
        if (sums[ends[:-1]] != 0).any() or (sums[ends[1:] - 1] != total).any():
            raise TableError(f"a cdf must start at 0 and end at 2**{precision}")
        if self.escape and (sums[ends[1:] - 2] == total).any():
            raise TableError("the escape needs a frequency of at least 1")
        self.offsets = np.ascontiguousarray(ends[:-1])
        self.sizes = np.diff(ends) - 1 - int(self.escape)
        if (self.lows < -(2**31)).any() or (self.lows > 2**31 - self.sizes).any():
            raise TableError("a support must lie within int32")
        # what the loops read: see rans.py
        self.padded = np.append(sums, 0).astype(np.uint32)
        self.cdf = self.padded[:-1]
        zeros = np.zeros(count, np.int64)
        self.rows = np.stack([self.offsets, self.sizes, self.lows - self.offsets, zeros], axis=1).ravel()
        edges = np.arange(1 << BUCKET_BITS) << (self.precision - BUCKET_BITS)
        first = np.empty((count, 1 << BUCKET_BITS), np.uint32)
        for t in range(count):
            table = sums[ends[t] + 1 : ends[t + 1]]
            first[t] = ends[t] + np.searchsorted(table, edges, side="right")
        self.first = first.ravel()

    def __len__(self) -> int:
        """Number of tables."""
        return len(self.lows)

    def frequencies(self, table: int) -> Ints:
        """Frequencies of one table, escape last if there is one; they sum to 2**precision."""
        start = int(self.offsets[table])
        stop = start + int(self.sizes[table]) + 1 + int(self.escape)
        sums = self.cdf[start:stop].astype(np.int64)
        return sums[1:] - sums[:-1]

    def bits(self, symbols: npt.ArrayLike, index: npt.ArrayLike) -> Floats:
        """Ideal code length in bits of each symbol under its table, escapes included."""
        v, t = _integers(symbols, "symbols"), _integers(index, "a table index")
        if t.ndim and t.shape != v.shape:
            raise TableError(f"index has shape {t.shape}, the symbols {v.shape}")
        t = np.broadcast_to(t, v.shape)
        if t.size and (t.min() < 0 or t.max() >= len(self)):
            raise TableError(f"table index outside of 0 to {len(self) - 1}")
        relative = v - self.lows[t]
        size = self.sizes[t]
        inside = (relative >= 0) & (relative < size)
        entry = self.offsets[t] + np.where(inside, relative, size - (0 if self.escape else 1))
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
        rows = [_integers(f, "frequencies") for f in frequencies]
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
        p = np.atleast_2d(_floats(probabilities, "probabilities"))
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
        s, m = np.atleast_1d(_floats(scales, "scales")), np.atleast_1d(_floats(means, "means"))
        if s.ndim != 1 or m.ndim != 1 or s.size == 0 or (s.size != m.size and 1 not in (s.size, m.size)):
            raise TableError("scales and means must be numbers or lists of the same length")
        s, m = np.broadcast_arrays(s, m)
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
            with np.errstate(invalid="ignore"):  # tiny scales: -inf + inf
                right = np.array(z[:-1]) + np.array(z[1:]) > 0
            p = np.where(right, upper[:-1] - upper[1:], lower[1:] - lower[:-1])
            escape = float(lower[0] + upper[-1])
            rows.append(quantise(np.append(np.maximum(p, 0), escape), precision))
            lows.append(low)
        return cls.from_frequencies(rows, lows, precision, escape=True)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What must be stored to have the same family again: pass it to `from_state`."""
        ends = np.append(self.offsets, len(self.cdf))
        return {
            "cdf": self.cdf,
            "offsets": ends,
            "lows": self.lows,
            "precision_escape": np.array([self.precision, int(self.escape)], np.int64),
        }

    @classmethod
    def from_state(cls, state: dict[str, npt.NDArray[Any]]) -> TableFamily:
        """The family that `state` came from.

        Raises:
            TableError: for other arrays.
            KeyError: where one is missing.
        """
        unknown = state.keys() - {"cdf", "offsets", "lows", "precision_escape"}
        if unknown:
            raise TableError(f"a family of tables has no {', '.join(sorted(unknown)[:9])}")
        precision, escape = state["precision_escape"].tolist()
        return cls(state["cdf"], state["offsets"], state["lows"], precision, bool(escape))
