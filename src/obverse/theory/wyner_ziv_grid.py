"""Wyner-Ziv R(D) of scalar pairs (x, y) with squared error, from their density on a grid.

The alternation of `wyner_ziv`, with strategies that need no grid: the best t_u(y) for squared error is the
mean of x given u and y. The letters begin as u = x + noise on a lattice of points, the shape that is optimal
for Gaussians, and move from there. What comes out is an achievable rate of the discretised pair and, below
it, its conditional R_{X|Y}(D); for jointly Gaussian pairs the two agree (Wyner and Ziv 1976, Wyner 1978), for
others the difference is at most half a bit (Zamir 1996) and R_WZ(D) is between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.blahut_arimoto import TOLERANCE_BITS, check_slope, conditional_blahut_arimoto
from obverse.theory.curves import (
    NATS_PER_BIT,
    Array,
    RateDistortionCurve,
    RateDistortionPoint,
    point_at_distortion,
)
from obverse.theory.wyner_ziv import WynerZiv, alternate, check_joint, point_of, stalled

MAX_LETTERS = 400
MAX_STEPS = 1500
BOUND_TOLERANCE_BITS = 1e-4


def wyner_ziv_squared_error(
    x: npt.ArrayLike,
    joint: npt.ArrayLike,
    slope_nats: float,
    letters: int | None = None,
    tolerance_bits: float = TOLERANCE_BITS,
    max_steps: int = MAX_STEPS,
    bound: bool = True,
) -> WynerZiv:
    """The point of slope -slope_nats of the Wyner-Ziv curve of a scalar x on a grid, squared error.

    The grid's step should be well below the square root of the distortion.

    Args:
        x: (symbols,) the values.
        joint: (symbols, side values) p(x, y); what y is does not matter.
        slope_nats: s > 0 in nats per unit of squared error; near 1 / (2 D) for the point at D.
        letters: of u, by default as many as the range of x holds at this distortion.
        tolerance_bits: stop when 20 alternations gain less.
        max_steps: stop after so many at the latest.
        bound: whether to compute the lower bound, the conditional R(D), too (NaN without).

    Raises:
        InputError: for values or probabilities that are none.
    """
    p_xy = check_joint(joint)
    values = np.asarray(x, dtype=np.float64)
    if values.shape != (len(p_xy),) or not np.isfinite(values).all():
        raise InputError(f"x must be {len(p_xy)} finite numbers, one for each row of the joint distribution")
    slope = check_slope(slope_nats)
    p_x, p_y = p_xy.sum(1), p_xy.sum(0)
    centred = values - p_x @ values
    p_y_x = p_xy / p_x[:, None]
    weighted = centred[:, None] * p_xy
    mean = weighted.sum(0) / p_y
    least_error = float(p_x @ centred**2 - p_y @ mean**2)  # of x given y, with no rate at all
    target = 1 / (2 * slope)
    noise = math.sqrt(target / max(1 - target / max(least_error, 1e-300), 0.05))
    span = float(np.ptp(centred))
    count = letters or int(min(max(math.ceil(span / noise) + 1, 2), MAX_LETTERS))
    points = np.linspace(centred.min(), centred.max(), count)
    width = max(noise, 0.7 * span / max(count - 1, 1))
    channel = np.exp(-((centred[:, None] - points) ** 2) / (2 * width**2))
    channel = np.maximum(channel, 1e-30)
    channel /= channel.sum(1, keepdims=True)
    decoder = np.zeros((count, p_xy.shape[1]))

    def cost(q: Array) -> Array:
        # E[x | u, y], a convex combination; where (u, y) never happens, the mean of x given y
        chance = q.T @ p_xy
        np.copyto(decoder, np.where(chance > 1e-280, (q.T @ weighted) / np.maximum(chance, 1e-280), mean))
        np.clip(decoder, centred[0], centred[-1], out=decoder)
        expected = centred[:, None] ** 2 - 2 * centred[:, None] * (p_y_x @ decoder.T) + p_y_x @ (decoder**2).T
        return np.asarray(np.maximum(expected, 0))

    start = (channel.T @ p_xy) / p_y
    state, steps = alternate(p_xy, slope, start, cost, max_steps, stalled(tolerance_bits), channel)
    floor = math.nan
    if bound:
        d = (values[:, None] - values) ** 2
        below = conditional_blahut_arimoto(p_xy, d, slope, BOUND_TOLERANCE_BITS).point
        floor = below.tangent_bits(0.0) * NATS_PER_BIT
    return WynerZiv(point_of(state, slope, floor), state.channel, decoder + p_x @ values, steps)


def grid_rd(
    x: npt.ArrayLike,
    joint: npt.ArrayLike,
    slopes_nats: Iterable[float],
    name: str = "Wyner-Ziv R(D)",
    bound: bool = False,
) -> RateDistortionCurve:
    """The Wyner-Ziv curve of a scalar pair on a grid, squared error, by `wyner_ziv_squared_error` at each slope."""
    points = [wyner_ziv_squared_error(x, joint, s, bound=bound).point for s in slopes_nats]
    return RateDistortionCurve.through(name, points)


def grid_rate_bits(x: npt.ArrayLike, joint: npt.ArrayLike, distortion: float) -> float:
    """The Wyner-Ziv rate of a scalar pair on a grid at one mean squared error, bits per sample.

    Args:
        x: (symbols,) values.
        joint: (symbols, side values) p(x, y).
        distortion: the mean squared error.

    Raises:
        InputError: for a distortion <= 0.
    """

    def solve(slope: float) -> RateDistortionPoint:
        return wyner_ziv_squared_error(x, joint, slope, bound=False).point

    return point_at_distortion(solve, distortion, tolerance_bits=1e-5).rate_bits
