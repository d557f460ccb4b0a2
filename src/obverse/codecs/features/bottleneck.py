"""The entropy bottleneck of feature vectors: a transform, a step and an integer table for each coefficient.

    x ──► - mean, / scales ──► analysis ──► y ──► / steps, rounded at slope lmbda ──► z ──► tables ──► bits
    x̂ ◄── + mean, * scales ◄── basis    ◄── ŷ ◄── (z + shifts) * steps            ◄── z

Dubois, Bloem-Reddy, Ullrich and Maddison (NeurIPS 2021) learn z' = (z + b) exp(s) and a factorised density by gradient
descent; here mean and steps are b and exp(-s), and everything is found in closed form (codecs/features/fit.py). Only z
is parsed, with integer tables. The synthesis multiplies whole numbers in float64, where their sums are exact, so that
x̂ is the same to the last bit whichever vectors are decoded with it.

The basis is stored in integers, no finer than the number of vectors pays for. The analysis is its pseudoinverse, so
that a coarse basis costs a little rate and next to no distortion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding import TableFamily
from obverse.data.features import MOST_DIMENSIONS
from obverse.errors import DamagedError
from obverse.jit import njit
from obverse.priors.code_lengths import LARGEST, tables_of
from obverse.quantization.entropy_constrained import SHIFT_UNIT, SHIFTS

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Symbols = npt.NDArray[np.int32]

FIELDS = {
    "mean": "f", "scales": "f", "basis": "i", "basis_scales": "f", "kept": "i", "steps": "f", "shifts": "i",
    "lows": "i", "sizes": "i", "lengths": "u", "rule": "f",
}  # fmt: skip
FARTHEST = 2.0**30  # a symbol is an int32, with room for its neighbours
DIGIT_BITS = 15  # of a level in parts of a step: most have one such digit
SUM_BITS = 38  # of a column of the synthesis; with a digit's 14 and its sign below 53, where float64 ends to be exact


@dataclass(frozen=True)
class FeatureBottleneck:
    """d features a vector, of which K coefficients are coded.

    mean: (d,) float32 or float64. scales: (d,) float32, the unit in which distortion counts for each feature; or (0,)
    where it is 1 for all. basis: (K, d) integers with one scale a row in basis_scales (K,); or (0, d) where
    the coefficients are the features `kept` (K,) themselves. steps: (K,) float64. shifts: (K, 5) int8, in 256ths of a
    step. lows, sizes: (K,) smallest symbol and number of code lengths of each table; lengths: all code lengths, uint8.
    rule: (2,) whether distortion is absolute (1.0) or squared (0.0), and lmbda, distortion a bit: how to round.
    """

    mean: Array
    scales: Array
    basis: Array
    basis_scales: Floats
    kept: Array
    steps: Floats
    shifts: npt.NDArray[np.int8]
    lows: Array
    sizes: Array
    lengths: npt.NDArray[np.uint8]
    rule: Floats

    @property
    def dimensions(self) -> int:
        """Numbers in a feature vector, d."""
        return len(self.mean)

    @property
    def coefficients(self) -> int:
        """Symbols that are coded for a vector, K; the other directions are always the mean."""
        return len(self.steps)

    @property
    def width(self) -> int:
        """Symbols that a vector has in a file."""
        return self.coefficients

    @property
    def absolute(self) -> bool:
        """Whether the distortion is L1, else it is L2 squared."""
        return bool(self.rule[0])

    @property
    def lmbda(self) -> float:
        """Distortion that a bit must save."""
        return float(self.rule[1])

    @cached_property
    def tables(self) -> TableFamily | None:
        """One table a coefficient; None where no coefficient is coded."""
        return tables_of(self.lengths, self.sizes, self.lows) if self.coefficients else None

    # -- features to symbols ---------------------------------------------------------------------------------

    @cached_property
    def analysis(self) -> Floats:
        """(d, K): the pseudoinverse of the basis."""
        rows = self.basis * self.basis_scales[:, None]
        gram = rows @ rows.T
        gram[np.diag_indices_from(gram)] *= 1 + 1e-9  # rows that coincide, in a very coarse basis
        return np.linalg.solve(gram, rows).T

    def coefficients_of(self, features: Array) -> Floats:
        """(n, d) -> y (n, K)."""
        centred = features.astype(np.float64) - self.mean
        if self.scales.size:
            centred /= self.scales
        return centred @ self.analysis if len(self.basis) else centred[:, self.kept]

    def quantise(self, features: Array) -> Symbols:
        """(n, d) -> z (K, n): for each coefficient the symbol of least |y - level|^p + lmbda * bits.

        What cannot be told from a symbol is clipped to the farthest one. Nothing but the encoder calls this.
        """
        return self.choose(np.ascontiguousarray(self.coefficients_of(features).T))[0]

    def choose(self, coefficients: Floats) -> tuple[Symbols, Floats]:
        """y (K, n) -> z (K, n), and for each vector the cost of all of it, distortion + lmbda * bits, (n,)."""
        z = np.empty(coefficients.shape, np.int32)
        costs = np.zeros(coefficients.shape[1])
        if self.tables is not None:
            bits, starts = self._bits
            _choose(
                coefficients, self.steps, self._levels, self.lows.astype(np.int64), starts, bits, self.lmbda,
                self.absolute, z, costs,
            )  # fmt: skip
        return z, costs

    @cached_property
    def _bits(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Code lengths in bits of all tables, escapes last, and where each begins."""
        tables = self.tables
        if tables is None:
            return np.zeros(0), np.zeros(1, np.int64)
        rows = [tables.precision - np.log2(tables.frequencies(k)) for k in range(len(tables))]
        return np.concatenate(rows), np.cumsum([0] + [len(row) for row in rows])

    @cached_property
    def _levels(self) -> Floats:
        return self.shifts / SHIFT_UNIT

    def rate_bits(self, symbols: Symbols) -> Floats:
        """Ideal code length of each vector in bits, (n,), for z (K, n)."""
        if self.tables is None:
            return np.zeros(symbols.shape[1])
        index = np.broadcast_to(np.arange(self.coefficients)[:, None], symbols.shape)
        return np.asarray(self.tables.bits(symbols, index).sum(0))

    # -- symbols to features ---------------------------------------------------------------------------------

    def levels(self, symbols: Symbols) -> Floats:
        """z (K, n) -> ŷ (n, K), what coefficients are decoded to."""
        return _parts(symbols, self.shifts) * (self.steps / SHIFT_UNIT)

    @cached_property
    def _synthesis(self) -> tuple[Floats, Floats]:
        """Whole numbers (K, d), and the unit (d,) of each column, a power of two: what a part of a level adds.

        A column's numbers sum to at most 2^SUM_BITS, so that products with digits of DIGIT_BITS are exact in float64 in
        any order: whichever rows are asked for, with whatever threads, on whichever machine, a vector is the same.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            rows = self.basis * (self.basis_scales * self.steps)[:, None] / SHIFT_UNIT
            if self.scales.size:
                rows *= self.scales
            exponents = np.frexp(np.abs(rows).max(0, initial=0.0))[1].astype(np.int64)
            spare = SUM_BITS - max(1, self.coefficients).bit_length()
            units = np.ldexp(1.0, np.maximum(exponents - spare, -1000))
            return np.rint(rows / units), units

    def dequantise(self, symbols: Symbols, around: Floats | None = None) -> Array:
        """z (K, n) -> x̂ (n, d) in the mean's dtype: to the last bit the same, whatever else is asked for with it.

        around: (n, d), what the coefficients are added to in place of the mean.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            if len(self.basis):
                whole, units = self._synthesis
                sums = _exact_product(_parts(symbols, self.shifts), whole)
                sums *= units
                sums += self.mean if around is None else around
                return sums.astype(self.mean.dtype, copy=False)
            levels = np.empty(symbols.shape[::-1], self.mean.dtype)
            _synthesise(np.ascontiguousarray(symbols), self.steps, self._levels, levels)
            features = np.repeat(self.mean[None], len(levels), 0) if around is None else around
            features = features.astype(self.mean.dtype, copy=False)
            features[:, self.kept] += levels * self.scales[self.kept] if self.scales.size else levels
            return features

    # -- storage ---------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """Arrays to store: pass them to `from_state`."""
        return {name: smallest(getattr(self, name)) for name in FIELDS}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> FeatureBottleneck:
        """What `state` gave. Raises DamagedError for anything that no bottleneck can be."""
        if set(state) != set(FIELDS) or any(
            state[name].dtype.kind != kind and not (kind == "i" and state[name].dtype.kind == "u")
            for name, kind in FIELDS.items()
        ):
            raise DamagedError("the model of the features has other fields than it should")
        mean, basis, kept = state["mean"], state["basis"], state["kept"]
        floats = {
            name: state[name].astype(np.float64) for name in ("scales", "basis_scales", "steps", "rule")
        }
        d, k = mean.size, floats["steps"].size
        if (
            not 1 <= d <= MOST_DIMENSIONS or k > d or mean.shape != (d,) or mean.dtype.itemsize not in (4, 8)
            or floats["steps"].shape != (k,) or basis.ndim != 2
            or basis.shape not in ((0, d), (k, d)) or floats["basis_scales"].shape != (len(basis),)
            or kept.shape != ((0,) if len(basis) else (k,)) or state["shifts"].shape != (k, SHIFTS)
            or state["shifts"].dtype != np.int8 or state["lows"].shape != (k,) or state["sizes"].shape != (k,)
            or state["lengths"].dtype != np.uint8 or state["lengths"].size > k * LARGEST
            or floats["rule"].shape != (2,) or floats["scales"].shape not in ((0,), (d,))
        ):  # fmt: skip
            raise DamagedError("the model of the features has arrays of sizes that do not agree")
        numbers = [mean, *floats.values()]
        if (
            not all(np.isfinite(values).all() for values in numbers)
            or (floats["steps"] <= 0).any() or (floats["rule"] < 0).any() or (floats["basis_scales"] <= 0).any()
            or (floats["scales"] <= 0).any()
            or (kept.size and (int(kept.min()) < 0 or int(kept.max()) >= d))
        ):  # fmt: skip
            raise DamagedError("the model of the features holds numbers that cannot be")
        model = cls(
            mean, state["scales"], basis, floats["basis_scales"], kept.astype(np.int64), floats["steps"],
            state["shifts"], state["lows"].astype(np.int64), state["sizes"].astype(np.int64), state["lengths"],
            floats["rule"],
        )  # fmt: skip
        if model.tables is None and model.lengths.size:
            raise DamagedError("the model of the features has code lengths without tables")
        return model


def smallest(array: Array) -> Array:
    """Signed integers in the fewest bytes that hold them all; unsigned ones and floats as they are."""
    if array.dtype.kind != "i" or array.dtype == np.int8:
        return array
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if not array.size or (array.min() >= limits.min and array.max() <= limits.max):
            return array.astype(kind)
    return array


def _parts(symbols: Symbols, shifts: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """z (K, n) -> levels (n, K) in parts of a step, whole numbers."""
    parts = np.empty(symbols.shape[::-1], np.int64)
    _count_parts(np.ascontiguousarray(symbols), shifts.astype(np.int64), parts)
    return parts


def _exact_product(parts: npt.NDArray[np.int64], whole: Floats) -> Floats:
    """(n, K) whole numbers times (K, d) of `_synthesis`: digit by digit, each of which is exact."""
    half = 1 << (DIGIT_BITS - 1)
    digits = []
    while True:
        low = ((parts + half) & (2 * half - 1)) - half
        digits.append(low.astype(np.float64) @ whole)
        parts = (parts - low) >> DIGIT_BITS
        more = parts.any(0)
        if not more.any():
            break
        parts, whole = parts[:, more], whole[more]
    total = digits.pop()
    while digits:
        total *= 2.0**DIGIT_BITS
        total += digits.pop()
    return total


compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def _choose(y, steps, levels, lows, starts, bits, lmbda, absolute, z, costs):  # type: ignore[no-untyped-def]
    """z[k, i]: of the symbols around y[k, i], and the next one towards 0, that of least cost.

    costs[i] grows by what that costs.
    """
    for k in range(y.shape[0]):
        step, low, start = steps[k], lows[k], starts[k]
        size = starts[k + 1] - start - 1
        for i in range(y.shape[1]):
            u = min(max(y[k, i] / step, -FARTHEST), FARTHEST)
            nearest = np.int64(np.floor(u + 0.5))
            best, least = nearest, np.inf
            for candidate in range(nearest - 1, nearest + 2):
                error = abs(u - candidate - levels[k, min(max(candidate, -2), 2) + 2]) * step
                at = candidate - low
                if 0 <= at < size:
                    price = bits[start + at]
                else:  # sign, and the distance's Elias gamma code
                    distance = at - size if at >= size else -at - 1
                    price = bits[start + size] + 7 + 2 * np.floor(np.log2(distance + 1.0))
                cost = (error if absolute else error * error) + lmbda * price
                if cost < least:
                    best, least = candidate, cost
            z[k, i] = best
            costs[i] += least


@compiled
def _count_parts(z, shifts, out):  # type: ignore[no-untyped-def]
    """out[i, k] = z[k, i] * SHIFT_UNIT + shift, in blocks that stay in the cache."""
    rows, columns = z.shape
    for first in range(0, columns, 64):
        end = min(columns, first + 64)
        for k in range(rows):
            for i in range(first, end):
                symbol = np.int64(z[k, i])
                out[i, k] = symbol * SHIFT_UNIT + shifts[k, min(max(symbol, -2), 2) + 2]


@compiled
def _synthesise(z, steps, levels, out):  # type: ignore[no-untyped-def]
    """out[i, k] = (z[k, i] + shift) * step, in blocks that stay in the cache."""
    rows, columns = z.shape
    for first in range(0, columns, 64):
        end = min(columns, first + 64)
        for k in range(rows):
            step = steps[k]
            for i in range(first, end):
                symbol = z[k, i]
                out[i, k] = (symbol + levels[k, min(max(symbol, -2), 2) + 2]) * step
