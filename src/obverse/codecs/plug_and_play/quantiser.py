"""Variational Bayesian Quantization: coarse where the posterior is wide, fine where it is narrow.

    mean, std ──► for each level n the two points next to the mean ──► the point of least
                  (z - mean)^2 / (2 std^2) + lmbda * R(z)               ──► symbol

Points are the dyadic quantiles of a prior F (point_grid.py). At first the rate R of a point of level n is n bits, the
length of its k / 2^N; once symbols have been chosen, their measured code lengths take its place, in the context of
what has been chosen before (activity.py). lmbda is what a bit may cost in units of the left term, which has none. One
trained model serves every lmbda.

Source: Yang, Bamler, Mandt, "Variational Bayesian Quantization", ICML 2020, equation 9 and algorithm 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.activity import Contexts, grown
from obverse.codecs.plug_and_play.point_grid import (
    DYADIC,
    EMPIRICAL,
    NORMAL,
    PointGrid,
    knots,
    level_of_symbol,
    rising_of_symbol,
    symbol_of_rising,
)
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.errors import InputError, OptionError
from obverse.jit import njit

DEPTH = 12
BROAD = 0.5  # weight of the uniform part of an empirical prior
_DIGITS = 11  # bits of an empirical quantile, relative to the reach
REACH = 2.0  # how far that part goes, in parts of the farthest sample: other data will have farther ones

compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


def normal_grid(groups: int, depth: int = DEPTH) -> PointGrid:
    """The quantiles of N(0, 1) for each group: the prior of most VAEs."""
    return PointGrid(NORMAL, np.tile(np.float32([0, 1]), (groups, 1)), depth)


def empirical_grid(
    means: npt.NDArray[np.floating[Any]], depth: int = DEPTH, reach: float = REACH
) -> PointGrid:
    """The quantiles of the posterior means (A, G, B) that a model gave to some data.

    Part of the prior is uniform, `reach` times as far on both sides of the median as the farthest sample lies: rare
    large values have a point near by, and where posteriors are equally wide everywhere, equally spaced points cost
    least.
    """
    at = knots(depth) / (1 << depth)
    parameters = np.empty((means.shape[1], len(at)), np.float32)
    for group in range(means.shape[1]):
        samples = np.sort(means[:, group].ravel()).astype(np.float64)
        middle = float(np.median(samples))
        farthest = max(samples[-1] - middle, middle - samples[0])
        half = farthest * reach + 1e-6 * max(1.0, abs(middle))
        # F is the mixture; its inverse is read off at every sample and at both ends
        x = np.concatenate([[middle - half], samples, [middle + half]])
        rank = np.concatenate([[0], (np.arange(len(samples)) + 0.5) / len(samples), [1]])
        f = (1 - BROAD) * rank + BROAD * (x - x[0]) / (x[-1] - x[0])
        # whole multiples of a small part of the reach: in a file, half the bytes of arbitrary numbers
        unit = 2.0 ** (math.floor(math.log2(half)) - _DIGITS)
        parameters[group] = np.rint(np.interp(at, f, x) / unit) * unit
    return PointGrid(EMPIRICAL, np.maximum.accumulate(parameters, axis=1), depth)


def published_bits(grid: PointGrid) -> npt.NDArray[np.float32]:
    """(G, K) the rate of each symbol before anything is measured: its level, in bits."""
    return np.tile(level_of_symbol(grid.depth).astype(np.float32), (grid.groups, 1))


def choose(
    posterior: Posterior,
    grid: PointGrid,
    bits: npt.NDArray[np.floating[Any]],
    lmbda: float,
    contexts: Contexts | None = None,
) -> npt.NDArray[np.int32]:
    """The symbol of each latent (A, G, B).

    posterior: (A, G, B). grid: dyadic, of G groups. bits: (G, K) the rate of each symbol; with contexts (G * C, K), in
    each of the C contexts of a group. Raises InputError for a lmbda that is not above 0.
    """
    check_lmbda(lmbda)
    contexts = contexts or Contexts.alone(grid.groups)
    if grid.kind not in DYADIC or posterior.mean.ndim != 3 or posterior.shape[1] != grid.groups:
        raise InputError(
            f"a dyadic grid of {grid.groups} groups does not fit latents of shape {posterior.shape}"
        )
    if contexts.groups != grid.groups or bits.shape != (grid.groups * contexts.count, grid.count):
        raise InputError(
            f"rates of shape {bits.shape} do not fit {grid.groups} groups of {contexts.count} contexts"
        )
    top = 1 << grid.depth
    values = np.zeros((grid.groups, top + 1), np.float32)
    rates = np.full((len(bits), top + 1), np.inf, np.float32)  # both ends are no points
    values[:, 1:top] = grid.rising
    rates[:, rising_of_symbol(grid.depth) + 1] = bits
    symbols = np.empty(posterior.shape, np.int32)
    _choose(
        posterior.mean, posterior.std, values, rates, np.float64(lmbda), grid.depth,
        symbol_of_rising(grid.depth), contexts.thresholds, symbols,
    )  # fmt: skip
    return symbols


def check_lmbda(lmbda: float) -> None:
    """Raises OptionError."""
    if isinstance(lmbda, bool) or not isinstance(lmbda, int | float | np.number):
        raise OptionError(f"lmbda must be a number, not {lmbda!r}")
    if not 0 < float(lmbda) < math.inf:
        raise OptionError(
            f"lmbda must be a number above 0, not {lmbda}: small for quality, large for few bits"
        )
    if not 1e-12 <= float(lmbda) <= 1e12:
        raise OptionError(f"lmbda must lie within 1e-12 and 1e12, not {lmbda}")


@compiled
def _choose(mean, std, values, rates, lmbda, depth, symbol_of, thresholds, symbols):  # type: ignore[no-untyped-def]
    """values (G, 2^depth + 1) and rates (G * C, 2^depth + 1) by k, with infinite rates at k = 0 and k = 2^depth."""
    top = 1 << depth
    count = thresholds.shape[1] + 1
    activity = np.zeros((mean.shape[0], mean.shape[2]), np.int32)
    for g in range(mean.shape[1]):  # the points and rates of a group stay in the cache
        v = values[g]
        for a in range(mean.shape[0]):
            for b in range(mean.shape[2]):
                m = mean[a, g, b]
                s = np.float64(std[a, g, b])
                weight = np.float32(min(0.5 / (s * s * lmbda), 1e30))
                context = g * count
                for t in thresholds[g]:
                    context += activity[a, b] >= t
                r = rates[context]
                below = 0  # the last point that is not above the mean
                for n in range(depth - 1, -1, -1):
                    other = below + (1 << n)
                    below = other if v[other] <= m else below
                best, least = top >> 1, np.float32(np.inf)
                for n in range(depth):  # level depth - n: odd multiples of 2^n
                    odd = ((below >> n) - 1) | 1
                    low = max(odd << n, 0)
                    high = min((odd + 2) << n, top)
                    d = v[low] - m
                    cost = d * d * weight + r[low]
                    best, least = (low, cost) if cost < least else (best, least)
                    d = v[high] - m
                    cost = d * d * weight + r[high]
                    best, least = (high, cost) if cost < least else (best, least)
                symbols[a, g, b] = symbol_of[best]
                if count > 1:
                    activity[a, b] = grown(activity[a, b], symbol_of[best], 0)
