"""Entropy-constrained scalar quantisation: which step, which thresholds and which levels cost least.

    sorted samples ──► bins of width step ──► counts ──► bits ──► thresholds that weigh distortion against bits
                              ▲                                            │
                              └──────────── centroids ◄────────────────────┘      a few times

At one slope lmbda of the rate-distortion curve, a sample goes to the level for which |x - level|^p + lmbda * bits is
least (Chou, Lookabaugh, Gray 1989, "Entropy-constrained vector quantization", for scalars). Levels are multiples of the
step, moved to the centroids near 0, where the density bends most. On sorted samples with their running sums a pass
costs one binary search a level, so whole operational rate-distortion curves are measured in milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.jit import njit

MOST_LEVELS = 4096
SHIFTS = 5  # levels -2 and below, -1, 0, 1, 2 and above are moved, each by its own part of the step
SHIFT_UNIT = 256  # parts of a step
PASSES = 3
ESCAPE_BITS = 32.0  # about what an escape costs: its own code, and a distance of some thousand steps
L2_SLOPE = (
    math.log(2) / 6
)  # lmbda = L2_SLOPE * step^2 where bins are fine: dD/dR of D = step^2 / 12, R = h - log2 step
L1_SLOPE = math.log(2) / 4  # lmbda = L1_SLOPE * step: the same of D = step / 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SortedSamples:
    """Samples of one dimension in order, with running sums and squares.

    sums[j] - sums[i] is the sum of those from i to j - 1. They run from the middle outwards, so that an outlier takes
    no digits from the sums of the others.
    """

    values: Floats
    sums: Floats
    squares: Floats

    @classmethod
    def of(cls, samples: npt.ArrayLike) -> SortedSamples:
        """From samples in any order, (n,)."""
        values = np.sort(np.asarray(samples, np.float64))
        return cls(values, _running(values), _running(np.square(values)))

    def spread(self, absolute: bool) -> float:
        """Distortion a sample if all become 0: mean |x| or mean x^2."""
        if not len(self.values):
            return 0.0
        return float(
            np.abs(self.values).mean()
            if absolute
            else (self.squares[-1] - self.squares[0]) / len(self.values)
        )


def _running(values: Floats) -> Floats:
    middle = len(values) // 2
    before = -np.cumsum(values[:middle][::-1])[::-1]
    return np.concatenate([before, [0.0], np.cumsum(values[middle:])])


@dataclass(frozen=True)
class Quantiser:
    """Levels (k + shifts[k] / SHIFT_UNIT) * step for the integers k from `low` on, and what they do to the samples.

    Attributes:
        step: between levels without shifts.
        low: the lowest k.
        counts: (L,) samples at each level.
        outside: samples far away, which have no level here and take an escape.
        shifts: (SHIFTS,) int8.
        rate_bits: a sample, as measured.
        distortion: a sample, as measured.
    """

    step: float
    low: int
    counts: npt.NDArray[np.int64]
    outside: int
    shifts: npt.NDArray[np.int8]
    rate_bits: float
    distortion: float


def slope(step: float, absolute: bool) -> float:
    """The slope lmbda, distortion a bit, at which a uniform quantiser of fine step is optimal."""
    return L1_SLOPE * step if absolute else L2_SLOPE * step * step


def step_of(lmbda: float, absolute: bool) -> float:
    """The inverse of `slope`."""
    return lmbda / L1_SLOPE if absolute else math.sqrt(lmbda / L2_SLOPE)


def curve(samples: SortedSamples, steps: Floats, absolute: bool) -> tuple[Floats, Floats]:
    """Rate in bits and distortion a sample for each step, (S,) each; infinite where the levels are too many."""
    work = _Work()
    rates, distortions = np.full(len(steps), np.inf), np.full(len(steps), np.inf)
    for i, step in enumerate(steps.tolist()):
        _, size, rate, distortion = work.run(samples, step, slope(step, absolute), absolute)
        if size > 0:
            rates[i], distortions[i] = rate, distortion
    return rates, distortions


def design(samples: SortedSamples, step: float, lmbda: float, absolute: bool) -> Quantiser:
    """The quantiser of this step at slope lmbda; the step must leave at most MOST_LEVELS levels."""
    work = _Work()
    low, size, rate, distortion = work.run(samples, step, lmbda, absolute)
    shifts = np.clip(np.rint(work.shifts * SHIFT_UNIT), -127, 127).astype(np.int8)
    counts = work.counts[: max(size, 0)].copy()
    outside = len(samples.values) - int(counts.sum())
    return Quantiser(step, low, counts, outside, shifts, rate, distortion)


class _Work:
    """The arrays that a run fills in."""

    def __init__(self) -> None:
        self.counts = np.zeros(MOST_LEVELS, np.int64)
        self.levels = np.zeros(MOST_LEVELS)
        self.bits = np.zeros(MOST_LEVELS)
        self.edges = np.zeros(MOST_LEVELS + 1, np.int64)
        self.shifts = np.zeros(SHIFTS)

    def run(
        self, samples: SortedSamples, step: float, lmbda: float, absolute: bool
    ) -> tuple[int, int, float, float]:
        low, size, rate, distortion = _lloyd(
            samples.values, samples.sums, samples.squares, step, lmbda, absolute,
            self.counts, self.levels, self.bits, self.edges, self.shifts, PASSES,
        )  # fmt: skip
        return int(low), int(size), float(rate), float(distortion)


compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def _below(values, threshold, begin):  # type: ignore[no-untyped-def]
    """How many of the sorted values are below the threshold; at least `begin` are."""
    low, high = begin, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < threshold:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _lloyd(values, sums, squares, step, lmbda, absolute, counts, levels, bits, edges, shifts, passes):  # type: ignore[no-untyped-def]
    """-> lowest level, number of levels (-1: too many), rate in bits, distortion; fills counts and shifts."""
    n = len(values)
    begin, end = 0, n
    first, last = math.floor(values[0] / step + 0.5), math.floor(values[n - 1] / step + 0.5)
    if not last - first < len(counts):
        # outliers have no level: they take an escape
        centre = math.floor(values[n // 2] / step + 0.5)
        begin = _below(values, (centre - len(counts) // 2 + 0.5) * step, 0)
        end = _below(values, (centre + len(counts) // 2 - 0.5) * step, begin)
        if n - (end - begin) > n // 64:
            return 0, -1, np.inf, np.inf
        first, last = math.floor(values[begin] / step + 0.5), math.floor(values[end - 1] / step + 0.5)
    low, size = np.int64(first), np.int64(last - first) + 1
    inside = end - begin
    shifts[:] = 0.0
    for turn in range(passes):
        # thresholds, as numbers of samples below them
        edges[0], edges[size] = begin, end
        for i in range(size - 1):
            if turn == 0:
                threshold = (low + i + 0.5) * step
            else:
                gap = levels[i + 1] - levels[i]
                threshold = 0.5 * (levels[i] + levels[i + 1])
                bias = lmbda * (bits[i + 1] - bits[i])
                if absolute:
                    threshold += min(max(0.5 * bias, -0.5 * gap), 0.5 * gap)
                else:
                    threshold += 0.5 * bias / gap
            edges[i + 1] = min(_below(values, threshold, edges[i]), end)
        # levels: centroids near 0
        moved = np.zeros(5)
        held = np.zeros(5)
        for i in range(size):
            a, b = edges[i], edges[i + 1]
            counts[i] = b - a
            if b > a:
                group = min(max(low + i, -2), 2) + 2
                if absolute and group != 0 and group != 4:
                    moved[group] += (b - a) * (values[(a + b) // 2] - (low + i) * step)
                else:
                    moved[group] += sums[b] - sums[a] - (b - a) * (low + i) * step
                held[group] += b - a
        for group in range(5):
            if held[group] > 0:
                shifts[group] = min(max(moved[group] / held[group] / step, -0.49), 0.49)
        for i in range(size):
            levels[i] = (low + i + shifts[min(max(low + i, -2), 2) + 2]) * step
            # half a sample for each level: what is rare here is not impossible elsewhere
            bits[i] = -math.log2((counts[i] + 0.5) / (inside + 0.5 * size))
    escaped = n - inside
    rate = escaped * ESCAPE_BITS
    distortion = escaped * (0.25 * step if absolute else step * step / 12)
    for i in range(size):
        a, b, level = edges[i], edges[i + 1], levels[i]
        rate += counts[i] * bits[i]
        if absolute:
            m = _below(values, level, a)
            m = min(m, b)
            distortion += level * (m - a) - (sums[m] - sums[a]) + (sums[b] - sums[m]) - level * (b - m)
        else:
            distortion += squares[b] - squares[a] - 2 * level * (sums[b] - sums[a]) + (b - a) * level * level
    return low, size, rate / n, max(distortion, 0.0) / n
