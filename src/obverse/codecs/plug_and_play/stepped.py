"""Variational Bayesian Quantization on a uniform grid, one step for each group.

    mean, std, step ──► of the multiples near the mean the one of least
                        (z - mean)^2 / (2 std^2) + lmbda * R(z)                ──► symbol

The cost is that of quantiser.py, and the steps are those of uniform_grid. Equally spaced points have no end, so they
reach whatever a model can do, and where posteriors differ in width mostly between groups they cost less than
quantiles; where they differ within a group, quantiles may. What is least is this cost, not the squared error of the
decoded data: far from the mean the two part, as the left term knows a decoder only near the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.activity import grown
from obverse.codecs.plug_and_play.baselines import nearest_multiple
from obverse.codecs.plug_and_play.point_grid import UNIFORM, PointGrid
from obverse.codecs.plug_and_play.point_tables import PointTables
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.quantiser import check_lmbda
from obverse.errors import InputError
from obverse.jit import njit

FARTHEST = 256  # multiples from the nearest one that are looked at, on either side

compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


def choose_multiple(
    posterior: Posterior, grid: PointGrid, tables: PointTables, lmbda: float
) -> npt.NDArray[np.int32]:
    """The symbol of each latent (A, G, B) on a uniform grid, by its cost with these tables. Raises InputError."""
    check_lmbda(lmbda)
    if grid.kind != UNIFORM or posterior.mean.ndim != 3 or posterior.shape[1] != grid.groups:
        raise InputError(
            f"a uniform grid of {grid.groups} groups does not fit latents of shape {posterior.shape}"
        )
    symbols = nearest_multiple(posterior.mean, grid)
    rates = _Rates.of(tables)
    parameters = grid.parameters.astype(np.float64)
    _choose(
        posterior.mean, posterior.std, parameters[:, 0].copy(), parameters[:, 1].copy(),
        np.float64(lmbda),
        rates.named, rates.starts, rates.sizes, rates.lows, rates.escapes, rates.likeliest,
        tables.contexts.usual, tables.contexts.thresholds, symbols,
    )  # fmt: skip
    return symbols


@dataclass(frozen=True)
class _Rates:
    """Bits of the symbols of all tables: those that a table names, and its escape, to which the distance is added.

    likeliest: of the named symbols of each table.
    """

    named: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    lows: npt.NDArray[np.int64]
    escapes: npt.NDArray[np.float64]
    likeliest: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tables: PointTables) -> _Rates:
        family = tables.family
        named = family.precision - np.log2(np.diff(family.cdf.astype(np.int64)).clip(1))
        starts, sizes = family.offsets.astype(np.int64), tables.sizes.astype(np.int64) - 1
        lows, escapes = tables.lows.astype(np.int64), named[starts + sizes]
        spans = zip(starts.tolist(), sizes.tolist(), strict=True)
        best = np.array([np.argmin(named[start : start + size]) for start, size in spans], np.int64)
        return cls(named, starts, sizes, lows, escapes, best + lows)


@njit(cache=True, nogil=True, inline="always")
def _bits(table, symbol, named, starts, sizes, lows, escapes):  # type: ignore[no-untyped-def]
    at = symbol - lows[table]
    if 0 <= at < sizes[table]:
        return named[starts[table] + at]
    away = -at if at < 0 else at - sizes[table] + 1
    return escapes[table] + 7 + math.floor(math.log2(away))


@compiled
def _choose(  # type: ignore[no-untyped-def]
    mean,
    std,
    offsets,
    steps,
    lmbda,
    named,
    starts,
    sizes,
    lows,
    escapes,
    likeliest,
    usual,
    thresholds,
    symbols,
):
    """symbols: the nearest multiples, which are replaced."""
    count = thresholds.shape[1] + 1
    activity = np.zeros((mean.shape[0], mean.shape[2]), np.int32)
    for g in range(mean.shape[1]):
        step = steps[g]
        for a in range(mean.shape[0]):
            for b in range(mean.shape[2]):
                off = (mean[a, g, b] - offsets[g]) / step  # in steps
                s = std[a, g, b] / step
                weight = 0.5 / (s * s * lmbda)
                table = g * count
                for t in thresholds[g]:
                    table += activity[a, b] >= t
                nearest = np.int64(symbols[a, g, b])
                best = nearest
                d = nearest - off
                least = d * d * weight + _bits(table, nearest, named, starts, sizes, lows, escapes)
                for way in (-1, 1):
                    for n in range(1, FARTHEST):
                        other = nearest + way * n
                        d = other - off
                        error = d * d * weight
                        if error >= least:  # no rate is below 0
                            break
                        cost = error + _bits(table, other, named, starts, sizes, lows, escapes)
                        if cost < least:
                            best, least = other, cost
                other = likeliest[table]
                d = other - off
                cost = d * d * weight + _bits(table, other, named, starts, sizes, lows, escapes)
                if cost < least:
                    best = other
                symbols[a, g, b] = best
                if count > 1:
                    activity[a, b] = grown(activity[a, b], best, usual[g])
