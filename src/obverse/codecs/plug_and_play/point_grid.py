"""Which values a latent may take after quantisation: a list of points for each group, the same on every machine.

    kind, parameters (G, P) float32 ──► points (G, K) float32 in the order of the symbols ──► symbol ──► ẑ

A group is a channel or dimension of the latents with a grid of its own, or all of them. Dyadic grids list the values
F^-1(k / 2^N), 0 < k < 2^N, of a prior's cumulative distribution F level by level: first the median, then the quartiles,
and so on, so that the coarse points have the small symbols. Level n = 1 .. N holds the 2^(n-1) values whose k / 2^N
needs n bits. The parameters are float32, and one IEEE product and sum makes a point of them, so no machine has another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.errors import DamagedError, InputError

Array = npt.NDArray[Any]
Floats32 = npt.NDArray[np.float32]

NORMAL, EMPIRICAL, UNIFORM, POINTS = "normal", "empirical", "uniform", "points"
KINDS = (NORMAL, EMPIRICAL, UNIFORM, POINTS)
DYADIC = (NORMAL, EMPIRICAL)
SHALLOWEST, DEEPEST = 6, 12  # levels of a dyadic grid
MOST_POINTS = 4096  # of a list of points
REACH = 1 << 30  # symbols of a uniform grid lie within
_CELLS = 16  # of equal probability between the inner knots of an empirical grid
_QUANTILE_UNIT = 1 << 20


@dataclass(frozen=True)
class PointGrid:
    """The points of all groups.

    kind: "normal", parameters mean and standard deviation; "empirical", parameters F^-1 at `knots(depth)`; "uniform",
    parameters offset and step; "points", the points themselves in rising order. parameters: (G, P) float32.
    depth: the levels N of a dyadic grid, else 0. Raises InputError for what is no grid.
    """

    kind: str
    parameters: Floats32
    depth: int = 0

    def __post_init__(self) -> None:
        p = self.parameters
        widths = {NORMAL: 2, UNIFORM: 2, POINTS: p.shape[-1] if p.ndim else 0}
        if self.kind not in KINDS or p.ndim != 2 or p.dtype != np.float32 or min(p.shape) < 1:
            raise InputError("a grid has a kind and parameters (G, P) of float32")
        if self.kind in DYADIC and not SHALLOWEST <= self.depth <= DEEPEST:
            raise InputError(f"a dyadic grid has {SHALLOWEST} to {DEEPEST} levels, not {self.depth}")
        if self.kind not in DYADIC and self.depth != 0:
            raise InputError("only a dyadic grid has levels")
        if p.shape[1] != (widths[self.kind] if self.kind in widths else len(knots(self.depth))):
            raise InputError(f"a grid of the kind {self.kind} has another number of parameters")
        rising = self.kind in (EMPIRICAL, POINTS)
        if (
            not np.isfinite(p).all()
            or np.abs(p).max() > 1e30
            or (rising and (np.diff(p, axis=1) < 0).any())
            or (not rising and p[:, 1].min() <= 0)
            or p.shape[1] > MOST_POINTS
        ):
            raise InputError(
                "the parameters of a grid must be finite, at most 1e30, rising or with a spread above 0"
            )

    @property
    def groups(self) -> int:
        return len(self.parameters)

    @property
    def count(self) -> int | None:
        """Points of a group; None where there is no end of them."""
        if self.kind == UNIFORM:
            return None
        return (1 << self.depth) - 1 if self.kind in DYADIC else self.parameters.shape[1]

    @cached_property
    def rising(self) -> Floats32:
        """(G, K): the points in rising order, of kinds that have an end."""
        p = self.parameters.astype(np.float64)
        if self.kind == NORMAL:
            return (p[:, :1] + p[:, 1:] * normal_quantiles(self.depth)).astype(np.float32)
        if self.kind == EMPIRICAL:
            at = knots(self.depth)
            k = np.arange(1, 1 << self.depth)
            cell = np.clip(np.searchsorted(at, k, "right") - 1, 0, len(at) - 2)
            part = (k - at[cell]) / (at[cell + 1] - at[cell])  # dyadic, so exact
            return (p[:, cell] + (p[:, cell + 1] - p[:, cell]) * part).astype(np.float32)
        if self.kind == POINTS:
            return self.parameters
        raise InputError("a uniform grid has no list of points")

    @cached_property
    def points(self) -> Floats32:
        """(G, K): the points in the order of the symbols 0 .. K - 1."""
        return (
            np.ascontiguousarray(self.rising[:, rising_of_symbol(self.depth)])
            if self.kind in DYADIC
            else self.rising
        )

    def dequantise(self, symbols: npt.NDArray[np.int32]) -> Floats32:
        """(A, G, B) symbols, or (A, 1, B) where all share one group, to values. Raises DamagedError."""
        if self.kind == UNIFORM:
            if symbols.size and max(-int(symbols.min()), int(symbols.max())) > REACH:
                raise DamagedError("a latent lies outside of its grid")
            p = self.parameters.astype(np.float64)
            offset, step = p[:, 0, None], p[:, 1, None]
            with np.errstate(over="ignore"):
                return (offset + step * symbols).astype(np.float32)
        points = self.points
        if symbols.size and (symbols.min() < 0 or symbols.max() >= points.shape[1]):
            raise DamagedError("a latent lies outside of its grid")
        return np.asarray(points[np.arange(self.groups)[:, None], symbols])


@cache
def normal_quantiles(depth: int) -> npt.NDArray[np.float64]:
    """Phi^-1(k / 2^depth) for 0 < k < 2^depth, rounded to 2^-20, which hides the last bits of a machine's log."""
    normal = NormalDist()
    upper = [round(-normal.inv_cdf(k / (1 << depth)) * _QUANTILE_UNIT) for k in range(1, 1 << (depth - 1))]
    return np.array([*(-q for q in upper), 0, *upper[::-1]]) / _QUANTILE_UNIT


@cache
def knots(depth: int) -> npt.NDArray[np.int64]:
    """Numbers k of the points at which an empirical grid stores F^-1: every 16th part, and finer in the tails."""
    if not SHALLOWEST <= depth <= DEEPEST:
        raise InputError(f"a dyadic grid has {SHALLOWEST} to {DEEPEST} levels, not {depth}")
    cell = (1 << depth) // _CELLS
    tail = [1 << i for i in range(int(math.log2(cell)))]
    top = 1 << depth
    return np.array([*tail, *range(cell, top, cell), *(top - k for k in tail[::-1])])


@cache
def rising_of_symbol(depth: int) -> npt.NDArray[np.int64]:
    """For each symbol of a dyadic grid the place of its point in rising order, k - 1."""
    levels = [(2 * np.arange(1 << (n - 1)) + 1) << (depth - n) for n in range(1, depth + 1)]
    return np.concatenate(levels) - 1


@cache
def symbol_of_rising(depth: int) -> npt.NDArray[np.int32]:
    """The inverse of `rising_of_symbol`, over k = 0 .. 2^depth; both ends, which are no points, are 0."""
    inverse = np.zeros((1 << depth) + 1, np.int32)
    inverse[rising_of_symbol(depth) + 1] = np.arange((1 << depth) - 1, dtype=np.int32)
    return inverse


@cache
def level_of_symbol(depth: int) -> npt.NDArray[np.int64]:
    """The level n of each symbol of a dyadic grid: the bits that k / 2^depth takes."""
    return np.repeat(np.arange(1, depth + 1), [1 << (n - 1) for n in range(1, depth + 1)])
