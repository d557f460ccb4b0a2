"""Mixtures of discretised logistics in integers: probabilities that a network chooses for each symbol.

A table for each of 10**6 pixels would be too many; here the table is a formula, evaluated in integers where
it is needed. With means m_k and scales s_k, the cumulative probability at the boundary b between two values is

    F(b) = sum_k w_k sigmoid((b - m_k) / s_k)           sigmoid by a table, linear between its entries

(Salimans et al., "PixelCNN++", ICLR 2017, eq. 2). Means, boundaries and weights are integers, scales are
indices of a fixed ladder, so every machine computes the same F. Each value keeps at least 2**-24.

    >>> import numpy as np
    >>> from obverse.coding import Message
    >>> from obverse.coding.logistic_mixture import FRACTION, LogisticMixtures, nearest_scale, weights_of
    >>> pixels = LogisticMixtures(
    ...     weights=weights_of(np.array([[0, -16]])),          # the second component e times less likely
    ...     means=np.array([[100, 130]]) * FRACTION,
    ...     scales=nearest_scale(np.array([[2.0, 8.0]])),
    ...     low=0, high=255)
    >>> message = Message()
    >>> message.push_mixtures(np.array([103]), pixels)
    >>> message.pop_mixtures(pixels)
    array([103], dtype=int32)
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding.rans import compiled, inline, push_interval, refill
from obverse.errors import TableError

FRACTION = 64  # means and boundaries count in 1/64
WEIGHT_TOTAL = 1 << 12  # what the weights of a mixture sum to
LOGIT = 16  # logits of weights count in 1/16 nat
SCALES = 256  # the ladder: 2**((i - SCALE_ONE) / SCALE_STEPS), i = 0..255
SCALE_ONE, SCALE_STEPS = 40, 8
PRECISION = 24  # bits of a slot

_REACH = 16  # beyond so many scales from the mean a tail ends
_TABLE_STEP_BITS = 15  # 32 entries a scale: u counts in 2**-20 scales, entries lie 2**15 apart
_U_BITS = 20
_INVERSE_BITS = 12
_SIGMOID_BITS = 28

Array = npt.NDArray[Any]


def _make_tables() -> tuple[Array, Array, Array]:
    """Sigmoid, reciprocal scales and exp(-d / LOGIT), by decimal arithmetic: a libm's last bit is its own."""
    with localcontext(Context(prec=40)):
        # exp(-u) for entry u = 32 a + b of each scale is exp(-a) exp(-b / 32): a product for an exponential
        steps = (1 << _U_BITS) >> _TABLE_STEP_BITS
        coarse = [Decimal(_REACH - a).exp() for a in range(2 * _REACH + 1)]
        fine = [(Decimal(-b) / steps).exp() for b in range(steps)]
        one = Decimal(1 << _SIGMOID_BITS)
        sigmoid = [
            int((one / (1 + coarse[i // steps] * fine[i % steps])).to_integral_value())
            for i in range(2 * _REACH * steps + 1)
        ]
        sigmoid[0], sigmoid[-1] = 0, 1 << _SIGMOID_BITS
        top = Decimal(1 << (_U_BITS + _INVERSE_BITS)) / FRACTION
        octave = [Decimal(2) ** (Decimal(i) / SCALE_STEPS) for i in range(SCALE_STEPS)]
        inverse = [
            int((top * octave[i % SCALE_STEPS] * Decimal(2) ** (i // SCALE_STEPS)).to_integral_value())
            for i in range(SCALE_ONE, SCALE_ONE - SCALES, -1)
        ]
        exponential = [
            int((65536 * (Decimal(-d) / LOGIT).exp()).to_integral_value()) for d in range(12 * LOGIT)
        ]
    return np.array(sigmoid), np.array(inverse), np.array([*exponential, 0])


SIGMOID, INVERSE_SCALE, EXPONENTIAL = _make_tables()


def scale_of(index: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The scales that indices of the ladder stand for, in units of the values."""
    return np.asarray(2.0 ** ((np.asarray(index, np.float64) - SCALE_ONE) / SCALE_STEPS))


def nearest_scale(scale: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """The index of the ladder nearest to each scale > 0. For tests and tables: floats are not exact."""
    index = np.round(np.log2(np.asarray(scale, np.float64)) * SCALE_STEPS) + SCALE_ONE
    return np.asarray(np.clip(index, 0, SCALES - 1).astype(np.uint8))


def weights_of(logits: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Softmax in integers; what rounding leaves over goes to the first of the largest.

    Args:
        logits: (..., K) integers in 1/LOGIT nat.

    Returns:
        Weights (..., K) that sum to WEIGHT_TOTAL.
    """
    values = np.asarray(logits).astype(np.int64)
    exponentials = EXPONENTIAL[np.minimum(values.max(-1, keepdims=True) - values, len(EXPONENTIAL) - 1)]
    weights = exponentials * WEIGHT_TOTAL // exponentials.sum(-1, keepdims=True)
    largest = np.expand_dims(values.argmax(-1), -1)
    rest = WEIGHT_TOTAL - weights.sum(-1, keepdims=True)
    np.put_along_axis(weights, largest, np.take_along_axis(weights, largest, -1) + rest, -1)
    return np.asarray(weights.astype(np.int32))


@dataclass(frozen=True)
class LogisticMixtures:
    """One mixture for each symbol.

    Args:
        weights: (..., K) integers >= 0 that sum to WEIGHT_TOTAL along K.
        means: (..., K) integers in 1/FRACTION, |mean| < 2**30.
        scales: (..., K) indices of the ladder.
        low: the least value.
        high: the greatest value.
        edges: (high - low + 2,) rising integers in 1/FRACTION, the boundaries of the values; by default those of
            integers, value - 1/2 and value + 1/2. The outermost two are taken as minus and plus infinity.

    Raises:
        TableError: for numbers that are not such, or of shapes that differ.
    """

    weights: Array
    means: Array
    scales: Array
    low: int
    high: int
    edges: Array | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.weights)
        if len(shape) < 1 or np.shape(self.means) != shape or np.shape(self.scales) != shape:
            raise TableError("weights, means and scales of mixtures must have the same shape (..., K)")
        count = self.high - self.low + 1
        if not -(2**31) <= self.low <= self.high < 2**31 or count > 1 << 20:
            raise TableError(f"values {self.low} to {self.high} are none, or more than 2**20")
        edges = self.edges
        if edges is None:
            edges = (2 * np.arange(self.low, self.high + 2) - 1) * (FRACTION // 2)
        for name, kind in (("weights", np.int32), ("means", np.int32), ("scales", np.uint8)):
            value = np.asarray(getattr(self, name))
            if value.dtype.kind not in "iu":
                raise TableError(f"{name} of mixtures must be integers, not {value.dtype}")
            largest = np.iinfo(kind)  # beyond it the conversion would wrap around without a word
            if value.size and not (largest.min <= value.min() and value.max() <= largest.max):
                raise TableError(f"{name} of mixtures must lie within {largest.min} and {largest.max}")
            object.__setattr__(self, name, np.ascontiguousarray(value, kind))
        if np.asarray(edges).dtype.kind not in "iu":
            raise TableError("edges of mixtures must be integers")
        edges = np.ascontiguousarray(edges, np.int64)
        object.__setattr__(self, "edges", edges)
        if edges.shape != (count + 1,) or (np.diff(edges) <= 0).any() or np.abs(edges).max() >= 1 << 31:
            raise TableError(f"edges of {count} values must be {count + 1} rising integers within int32")
        if self.weights.size and (
            (self.weights < 0).any() or (self.weights.sum(-1, dtype=np.int64) != WEIGHT_TOTAL).any()
        ):
            raise TableError(f"the weights of a mixture must be >= 0 and sum to {WEIGHT_TOTAL}")
        if self.means.size and np.abs(self.means.astype(np.int64)).max() >= 1 << 30:
            raise TableError("means of mixtures must lie within 2**30 / FRACTION")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the symbols."""
        return self.weights.shape[:-1]

    def intervals(self, symbols: npt.ArrayLike) -> tuple[Array, Array]:
        """Start and length of each symbol's interval out of 2**PRECISION, both uint64 of the symbols' shape.

        Raises:
            TableError: for symbols of another shape or outside of low to high.
        """
        values = np.asarray(symbols)
        if values.shape != self.shape or (values.size and values.dtype.kind not in "iu"):
            raise TableError(
                f"symbols must be integers of shape {self.shape}, not {values.dtype} {values.shape}"
            )
        if values.size and (values.min() < self.low or values.max() > self.high):
            raise TableError(f"symbols must lie within {self.low} and {self.high}")
        starts, lengths = np.empty(values.size, np.uint64), np.empty(values.size, np.uint64)
        flat = np.ascontiguousarray(values.ravel().astype(np.int64) - self.low)
        _intervals(flat, *self.flat(), starts, lengths, INVERSE_SCALE, SIGMOID)
        return starts.reshape(values.shape), lengths.reshape(values.shape)

    def bits(self, symbols: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The information of each symbol, in bits."""
        return np.asarray(PRECISION - np.log2(self.intervals(symbols)[1].astype(np.float64)))

    def flat(self) -> tuple[Array, Array, Array, Array]:
        """Weights, means and scales as (n, K), and the edges: what the compiled loops take."""
        components = self.weights.shape[-1]
        flat = (a.reshape(-1, components) for a in (self.weights, self.means, self.scales))
        w, m, s = flat
        return w, m, s, np.asarray(self.edges)


@inline
def sigmoid(edge, mean, inverse, table):  # type: ignore[no-untyped-def]
    """sigmoid((edge - mean) / scale) out of 2**28, where `inverse` is the scale's entry of INVERSE_SCALE."""
    t = (((edge - mean) * inverse) >> 12) + (16 << 20)
    t = min(max(t, 0), (32 << 20) - 1)
    at = t >> 15
    low = table[at]
    return low + (((table[at + 1] - low) * (t & 32767)) >> 15)


@inline
def cumulative(v, i, count, weights, means, scales, edges, inverse, table):  # type: ignore[no-untyped-def]
    """F at the lower boundary of value number v = 0 .. count, out of 2**24."""
    if v <= 0:
        return np.int64(0)
    if v >= count:
        return np.int64(1) << 24
    total = np.int64(0)
    edge = edges[v]
    for k in range(weights.shape[1]):
        total += weights[i, k] * sigmoid(edge, np.int64(means[i, k]), inverse[scales[i, k]], table)
    return v + (((total >> 8) * ((np.int64(1) << 24) - count)) >> 32)


@compiled
def _intervals(values, weights, means, scales, edges, starts, lengths, inverse, table):  # type: ignore[no-untyped-def]
    count = len(edges) - 1
    for i in range(len(values)):
        low = cumulative(values[i], i, count, weights, means, scales, edges, inverse, table)
        high = cumulative(values[i] + 1, i, count, weights, means, scales, edges, inverse, table)
        starts[i], lengths[i] = np.uint64(low), np.uint64(high - low)


@compiled
def push_intervals(x, words, n, starts, lengths, precision):  # type: ignore[no-untyped-def]
    """Push intervals, last first; `words` has room. -> state, words used."""
    for i in range(len(starts) - 1, -1, -1):
        if lengths[i] >> precision == 0:  # else the only value there is
            x, n = push_interval(x, words, n, starts[i], lengths[i], precision)
    return x, n


@compiled
def pop_mixtures(x, words, n, symbols, low, weights, means, scales, edges, inverse, table):  # type: ignore[no-untyped-def]
    """Pop into symbols, first first, by bisection. -> state, words left (-1: empty)."""
    count = len(edges) - 1
    for i in range(len(symbols)):
        slot = np.int64(x & np.uint64(0xFFFFFF))
        first, end = 0, count
        start, stop = np.int64(0), np.int64(1) << 24
        while end - first > 1:
            middle = (first + end) >> 1
            f = cumulative(middle, i, count, weights, means, scales, edges, inverse, table)
            if f <= slot:
                first, start = middle, f
            else:
                end, stop = middle, f
        symbols[i] = first + low
        if stop - start < np.int64(1) << 24:
            x = np.uint64(stop - start) * (x >> np.uint64(24)) + np.uint64(slot - start)
            x, n = refill(x, words, n)
            if n < 0:
                return x, -1
    return x, n
