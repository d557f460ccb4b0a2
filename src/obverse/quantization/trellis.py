"""Trellis-coded quantisation: most of the 1.53 dB that a scalar quantiser leaves, at a cost linear in samples.

    x ──► nearest point of each of 4 subsets ──► Viterbi: the cheapest path through the trellis ──► points j
                                                                      reconstruction  x̂ = step * j

Every integer j stands for the point j * step, and belongs to subset D(j mod 4). A state of the trellis allows two
of the subsets: D0 and D2, or D1 and D3. So the lowest bit z0 of j follows from the state, the next bit z1 is the
choice of a branch and leads to the next state, and the higher bits say which point of the subset. Whoever knows
the first state and the bits z1 knows z0 at every sample: j then costs one bit for z1 and what the higher bits
cost, which Slepian-Wolf coding makes little (`obverse.coding.slepian_wolf`).

    >>> import numpy as np
    >>> x = np.random.default_rng(1).uniform(-50, 50, 20_000)
    >>> trellis = Trellis.of(256)
    >>> first, points = trellis.quantise(x)
    >>> bool((trellis.low_bits(first, points >> 1 & 1) == points % 4).all())
    True
    >>> gain = 4 / 12 / np.mean((x - points) ** 2)  # over the scalar quantiser of the same rate, whose step is 2
    >>> round(float(10 * np.log10(gain)), 1)  # in dB, of 1.53
    1.3

Marcellin and Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources" (1990). Up to 256
states the codes are those of Ungerboeck, "Trellis-coded modulation with redundant signal sets" (1987, Table I);
beyond, the best of a random search (`benchmarks/trellis.py`). Codes are given in parity-check form: the sequences
z0 and z1 obey h0 * z0 + h1 * z1 = 0 as polynomials over GF(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from obverse.errors import InputError

# number of states -> parity checks (h0, h1)
CODES = {
    4: (0o5, 0o2),
    8: (0o13, 0o4),
    16: (0o23, 0o4),
    32: (0o45, 0o10),
    64: (0o103, 0o24),
    128: (0o235, 0o126),
    256: (0o515, 0o362),
    512: (0o1167, 0o506),
    1024: (0o3451, 0o1572),
    2048: (0o4611, 0o3304),
    4096: (0o12575, 0o4632),
    8192: (0o30623, 0o13434),
}
LARGEST = 2.0**40  # |x| in steps: points stay exact in float64


@dataclass(frozen=True)
class Trellis:
    """A rate-1/2 code over the four subsets. h0, h1: its parity checks, bit i the coefficient of D**i."""

    states: int
    h0: int
    h1: int

    @classmethod
    def of(cls, states: int) -> Trellis:
        """The code with so many states: a power of two from 4 to 8192. Raises InputError."""
        if states not in CODES:
            raise InputError(f"a trellis has {', '.join(map(str, CODES))} states, not {states}")
        return cls(states, *CODES[states])

    def quantise(self, x: npt.ArrayLike) -> tuple[int, npt.NDArray[np.int64]]:
        """The sequence of points with the least sum of squared errors.

        x: (n,) in steps. Returns the first state and (n,) points j, whose bit 1 is z1. Takes n * states / 8
        bytes of memory. Raises InputError for what is not finite or beyond 2**40 steps.
        """
        values = np.ascontiguousarray(x, np.float64)
        if values.ndim != 1 or not (np.abs(values) < LARGEST).all():
            raise InputError("trellis quantisation takes a list of finite numbers, each below 2**40 steps")
        points = np.empty(values.size, np.int64)
        first = _viterbi(values, self.h0, self.h1, self.states, points)
        return int(first), points

    def low_bits(self, first: int, z1: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
        """(n,) z0 + 2 * z1 = j mod 4 of every sample, from the first state and the branches (n,)."""
        low = np.empty(z1.size, np.int64)
        _walk(first, z1.astype(np.int64), self.h0, self.h1, low)
        return low


@njit(cache=True, nogil=True)
def _viterbi(x: Any, h0: int, h1: int, states: int, points: Any) -> int:
    """Fills points; returns the first state. Any first and last state will do."""
    half = states // 2
    a, b = h0 >> 1, h1 >> 1  # next state = (state >> 1) ^ (z0 ? a : 0) ^ (z1 ? b : 0), z0 = state & 1
    # the two predecessors of target state t, one for each z1; z0 is the top bit of t, since a has it, b not
    before0 = np.empty(states, np.int32)
    before1 = np.empty(states, np.int32)
    for t in range(states):
        z0 = 1 if t >= half else 0
        base = t ^ (a if z0 else 0)
        before0[t] = (base << 1) | z0
        before1[t] = ((base ^ b) << 1) | z0
    cost = np.zeros(states, np.float32)
    new = np.empty(states, np.float32)
    row = np.empty((states + 7) // 8 * 8, np.uint8)
    row[:] = 0
    branch = np.empty((x.size, len(row) // 8), np.uint8)  # z1 of the best way into each state, 8 to a byte
    d = np.empty(4, np.float32)
    for i in range(x.size):
        for j in range(4):
            d[j] = (x[i] - _nearest(x[i], j)) ** 2
        for t in range(half):
            c0 = cost[before0[t]] + d[0]
            c1 = cost[before1[t]] + d[2]
            row[t] = c1 < c0
            new[t] = min(c0, c1)
        for t in range(half, states):
            c0 = cost[before0[t]] + d[1]
            c1 = cost[before1[t]] + d[3]
            row[t] = c1 < c0
            new[t] = min(c0, c1)
        cost, new = new, cost
        packed = branch[i]
        for k in range(packed.size):
            r = row[8 * k : 8 * k + 8]
            packed[k] = (
                r[0] | r[1] << 1 | r[2] << 2 | r[3] << 3 | r[4] << 4 | r[5] << 5 | r[6] << 6 | r[7] << 7
            )
        if i % 64 == 63:  # float32 costs stay small
            least = cost.min()
            for t in range(states):
                cost[t] -= least
    state = int(np.argmin(cost))
    for i in range(x.size - 1, -1, -1):
        z0 = 1 if state >= half else 0
        z1 = (branch[i, state >> 3] >> (state & 7)) & 1
        points[i] = np.int64(_nearest(x[i], z0 + 2 * z1))
        state = before1[state] if z1 else before0[state]
    return state


@njit(cache=True, nogil=True, inline="always")
def _nearest(x: float, subset: int) -> float:
    """The point of a subset nearest to x."""
    return float(4 * np.floor((x - subset) / 4 + 0.5) + subset)


@njit(cache=True, nogil=True)
def _walk(state: int, z1: Any, h0: int, h1: int, low: Any) -> None:
    for i in range(z1.size):
        z0 = state & 1
        low[i] = z0 + 2 * z1[i]
        state = (state >> 1) ^ (h0 >> 1 if z0 else 0) ^ (h1 >> 1 if z1[i] else 0)
