"""Trellis-coded quantisation: most of the 1.53 dB that a scalar quantiser leaves, at a cost linear in samples.

    x ──► nearest point of each of 4 subsets ──► Viterbi: the cheapest path through the trellis ──► points j
                                                                      reconstruction  x̂ = step * j

Every integer j stands for the point j * step. A trellis in one dimension has a step for each sample and the subsets
D(j mod 4); one in two dimensions has a step for each two samples and the subsets D0, D1, D2, D3 of pairs (even, even),
(odd, even), (odd, odd), (even, odd). A state allows two of the subsets: D0 and D2, or D1 and D3. So the lowest bit
z0 of the subset's number follows from the state, and the next bit z1 is the choice of a branch, which leads to the
next state. Whoever knows the first state and the bits z1 knows the subset of every sample; which point of the
subset costs little with Slepian-Wolf coding (`obverse.coding.slepian_wolf`).

    >>> import numpy as np
    >>> x = np.random.default_rng(1).uniform(-50, 50, 20_000)
    >>> trellis = Trellis.of(256)
    >>> first, branches, points = trellis.quantise(x)
    >>> bool((trellis.low(first, branches, x.size) == points % trellis.modulus).all())
    True
    >>> gain = trellis.volume**2 / 12 / np.mean((x - points) ** 2)  # over the scalar quantiser of the same rate
    >>> round(float(10 * np.log10(gain)), 1)  # in dB, of 1.53
    1.3

At the same error, points repeat after a longer way in one dimension (4 steps of V / 2, V the volume a sample) than
in two (2 steps of V / 1.41): bits z1 sent raw are a waste in so far as side information tells them, and two
dimensions waste less of them at low rates, for 0.08 dB of gain.

Marcellin and Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources" (1990). In one dimension and
up to 256 states the codes are those of Ungerboeck, "Trellis-coded modulation with redundant signal sets" (1987, Table
I); all others are the best of a random search (`benchmarks/trellis.py`). Codes are given in parity-check form: the
sequences z0 and z1 obey h0 * z0 + h1 * z1 = 0 as polynomials over GF(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.jit import njit

# (dimensions, states) -> parity checks (h0, h1)
CODES = {
    (1, 4): (0o5, 0o2),
    (1, 8): (0o13, 0o4),
    (1, 16): (0o23, 0o4),
    (1, 32): (0o45, 0o10),
    (1, 64): (0o103, 0o24),
    (1, 128): (0o235, 0o126),
    (1, 256): (0o515, 0o362),
    (1, 512): (0o1167, 0o506),
    (1, 1024): (0o3451, 0o1572),
    (1, 2048): (0o4611, 0o3304),
    (1, 4096): (0o12575, 0o4632),
    (1, 8192): (0o30623, 0o13434),
    (2, 4): (0o5, 0o2),
    (2, 8): (0o17, 0o4),
    (2, 16): (0o31, 0o12),
    (2, 32): (0o51, 0o26),
    (2, 64): (0o135, 0o42),
    (2, 128): (0o265, 0o172),
    (2, 256): (0o665, 0o242),
    (2, 1024): (0o2537, 0o1146),
    (2, 2048): (0o4441, 0o2312),
    (2, 4096): (0o15411, 0o5272),
    (2, 8192): (0o36067, 0o10222),
}
STATES = tuple(states for dimensions, states in CODES if dimensions == 1)
LARGEST = 2.0**40  # |x| in steps: points stay exact in float64

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Trellis:
    """A rate-1/2 code over four subsets of the integers (1 dimension) or of pairs of them (2).

    Attributes:
        dimensions: 1 or 2.
        states: how many, a power of two.
        h0: a parity check, bit i the coefficient of D**i.
        h1: the other one.
    """

    dimensions: int
    states: int
    h0: int
    h1: int

    @classmethod
    def of(cls, states: int, dimensions: int = 1) -> Trellis:
        """The code with so many states.

        Args:
            states: a power of two from 4 to 8192.
            dimensions: 1 or 2.

        Raises:
            InputError: for other numbers.
        """
        if (dimensions, states) not in CODES:
            raise InputError(
                f"there are trellises in 1 and 2 dimensions with {', '.join(map(str, STATES))} states, "
                f"not in {dimensions} with {states}"
            )
        return cls(dimensions, states, *CODES[dimensions, states])

    @property
    def modulus(self) -> int:
        """The path fixes each point up to multiples of this."""
        return 4 // self.dimensions

    @property
    def volume(self) -> float:
        """Steps a sample between the points that the paths, taken together, distinguish: rate 0 in high resolution
        is h(x) - log2(volume * step) bits."""
        return 2.0 ** (1 / self.dimensions)

    def steps(self, n: int) -> int:
        """Branches of n samples."""
        return -(-n // self.dimensions)

    def quantise(self, x: npt.ArrayLike) -> tuple[int, Bits, Ints]:
        """The sequence of points with the least sum of squared errors. Takes n * states / 8 bytes of memory.

        Args:
            x: (n,) in steps.

        Returns:
            The first state.
            (steps(n),) branches z1.
            (n,) points j.

        Raises:
            InputError: for what is not finite or beyond 2**40 steps.
        """
        values = np.asarray(x, np.float64)
        if values.ndim != 1 or not (np.abs(values) < LARGEST).all():
            raise InputError("trellis quantisation takes a list of finite numbers, each below 2**40 steps")
        steps = self.steps(values.size)
        padded = np.zeros(steps * self.dimensions)
        padded[: values.size] = values
        branches, points = np.empty(steps, np.uint8), np.empty(padded.size, np.int64)
        first = _viterbi(padded, self.dimensions, self.h0, self.h1, self.states, branches, points)
        return int(first), branches, points[: values.size]

    def low(self, first: int, branches: Bits, n: int) -> Ints:
        """(n,) points modulo `modulus`, from the first state and the branches."""
        low = np.empty(branches.size * self.dimensions, np.int64)
        _walk(first, branches, self.dimensions, self.h0, self.h1, low)
        return low[:n]


@njit(cache=True, nogil=True)
def _viterbi(x: Any, dimensions: int, h0: int, h1: int, states: int, branches: Any, points: Any) -> int:
    """Fills branches and points; returns the first state. Any first and last state will do."""
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
    row = np.zeros((states + 7) // 8 * 8, np.uint8)
    ways = np.empty(
        (branches.size, len(row) // 8), np.uint8
    )  # z1 of the best way into each state, 8 to a byte
    d = np.empty(4, np.float32)
    for i in range(branches.size):
        for j in range(4):
            if dimensions == 1:
                d[j] = (x[i] - _nearest(x[i], j, 4)) ** 2
            else:
                p0, p1 = _parities(j)
                error0 = x[2 * i] - _nearest(x[2 * i], p0, 2)
                error1 = x[2 * i + 1] - _nearest(x[2 * i + 1], p1, 2)
                d[j] = error0**2 + error1**2
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
        packed = ways[i]
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
    for i in range(branches.size - 1, -1, -1):
        z0 = 1 if state >= half else 0
        z1 = (ways[i, state >> 3] >> (state & 7)) & 1
        subset = z0 + 2 * z1
        branches[i] = z1
        if dimensions == 1:
            points[i] = np.int64(_nearest(x[i], subset, 4))
        else:
            p0, p1 = _parities(subset)
            points[2 * i] = np.int64(_nearest(x[2 * i], p0, 2))
            points[2 * i + 1] = np.int64(_nearest(x[2 * i + 1], p1, 2))
        state = before1[state] if z1 else before0[state]
    return state


@njit(cache=True, nogil=True, inline="always")
def _parities(subset: int) -> tuple[int, int]:
    """Of the two samples in a subset of pairs: D0 (0, 0), D1 (1, 0), D2 (1, 1), D3 (0, 1)."""
    return ((subset + 1) >> 1) & 1, subset >> 1


@njit(cache=True, nogil=True, inline="always")
def _nearest(x: float, low: int, modulus: int) -> float:
    """The integer nearest to x among low + modulus * m."""
    return float(modulus * np.floor((x - low) / modulus + 0.5) + low)


@njit(cache=True, nogil=True)
def _walk(state: int, branches: Any, dimensions: int, h0: int, h1: int, low: Any) -> None:
    for i in range(branches.size):
        z0 = state & 1
        subset = z0 + 2 * branches[i]
        if dimensions == 1:
            low[i] = subset
        else:
            low[2 * i], low[2 * i + 1] = _parities(subset)
        state = (state >> 1) ^ (h0 >> 1 if z0 else 0) ^ (h1 >> 1 if branches[i] else 0)
