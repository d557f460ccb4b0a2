"""Blahut-Arimoto: R(D) of a discrete source, with the bound from below that proves it.

    source p(x), distortion d(x, z) ──► q(z) ◄──► p(z|x) = q(z) e^{-s d(x, z)} / c(x)
                                          └──► rate that is achieved, rate that is necessary

At slope s the minimum of R + s D is that of F(q) = -sum_x p(x) ln c(x), c(x) = sum_z q(z) e^{-s d(x, z)}: a
convex function of the reproduction's distribution q alone. Blahut's step multiplies q by
w(z) = sum_x p(x) e^{-s d(x, z)} / c(x); wherever it stops, F(q) - ln max_z w(z) is below the minimum.
The step is slow where the best q has few atoms, as it mostly has (Fix 1978, Rose 1994), so it is
extrapolated (SQUAREM), and what is left is done by Newton steps.

Sources: Blahut, "Computation of channel capacity and rate-distortion functions", IEEE Trans. IT 18 (1972),
Theorems 5 and 6; Csiszar (1974); Varadhan and Roland, "SQUAREM" (2008).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.curves import NATS_PER_BIT, Array, RateDistortionCurve, RateDistortionPoint

TOLERANCE_BITS = 1e-6
MAX_STEPS = 300  # of Blahut-Arimoto, before Newton
FLOOR = 1e-8  # of q, summed; far from all atoms c(x) would else vanish and the lower bound with it
NEWTON_MAX_SIZE = 1500  # reproductions; a Newton step costs their number cubed


@dataclass(frozen=True)
class BlahutArimoto:
    """A solution at one slope.

    Attributes:
        point: distortion, rate and the certified bound, which differ by the tolerance unless the steps ran out.
        reproduction: (reproductions,) float64, the best q(z); for a conditional R(D) (side values, reproductions).
        steps: how many Blahut-Arimoto and Newton steps it took.
    """

    point: RateDistortionPoint
    reproduction: Array
    steps: int


def blahut_arimoto(
    source: npt.ArrayLike,
    distortion: npt.ArrayLike,
    slope_nats: float,
    tolerance_bits: float = TOLERANCE_BITS,
    max_steps: int = MAX_STEPS,
    start: Array | None = None,
) -> BlahutArimoto:
    """The point of R(D) where its slope is -slope_nats.

    Args:
        source: (symbols,) probabilities.
        distortion: (symbols, reproductions), >= 0.
        slope_nats: s > 0 in nats per unit of distortion.
        tolerance_bits: stop when rate_bits - lower_rate_bits is at most that.
        max_steps: of Blahut-Arimoto, which Newton steps follow where there are at most 1,500 reproductions; the bounds
            hold however far it came.
        start: (reproductions,) a q to begin with, all > 0.

    Raises:
        InputError: for probabilities or distortions that are none.
    """
    p = check_probabilities(source, "source", 1)
    d = check_distortion(distortion, len(p))
    q = None if start is None else start[None]
    result = _solve(p[None], np.ones(1), d, check_slope(slope_nats), tolerance_bits, max_steps, q)
    return BlahutArimoto(result.point, result.reproduction[0], result.steps)


def conditional_blahut_arimoto(
    joint: npt.ArrayLike,
    distortion: npt.ArrayLike,
    slope_nats: float,
    tolerance_bits: float = TOLERANCE_BITS,
    max_steps: int = MAX_STEPS,
) -> BlahutArimoto:
    """The point of the conditional R_{X|Y}(D) of slope -slope_nats: encoder and decoder both know y.

    The optimum spends one slope everywhere, so it is the ordinary problem for each y (Gray 1973). It is a lower bound
    on Wyner and Ziv's rate. Other arguments, result and errors as in `blahut_arimoto`.

    Args:
        joint: (symbols, side values) p(x, y).
    """
    p_xy = check_probabilities(joint, "joint distribution", 2)
    d = check_distortion(distortion, len(p_xy))
    p_y = p_xy.sum(0)
    p_xy, p_y = p_xy[:, p_y > 0], p_y[p_y > 0]
    return _solve((p_xy / p_y).T, p_y, d, check_slope(slope_nats), tolerance_bits, max_steps)


def rate_distortion_curve(
    source: npt.ArrayLike,
    distortion: npt.ArrayLike,
    slopes_nats: Iterable[float],
    name: str = "R(D)",
    tolerance_bits: float = TOLERANCE_BITS,
) -> RateDistortionCurve:
    """R(D) by `blahut_arimoto` at each slope."""
    points = [blahut_arimoto(source, distortion, s, tolerance_bits).point for s in slopes_nats]
    return RateDistortionCurve.through(name, points)


def conditional_curve(
    joint: npt.ArrayLike,
    distortion: npt.ArrayLike,
    slopes_nats: Iterable[float],
    name: str = "R(D) of x given y",
    tolerance_bits: float = TOLERANCE_BITS,
) -> RateDistortionCurve:
    """Conditional R(D) by `conditional_blahut_arimoto` at each slope."""
    points = [conditional_blahut_arimoto(joint, distortion, s, tolerance_bits).point for s in slopes_nats]
    return RateDistortionCurve.through(name, points)


def _solve(
    p: Array,
    weights: Array,
    d: Array,
    slope: float,
    tolerance_bits: float,
    max_steps: int,
    start: Array | None = None,
) -> BlahutArimoto:
    """R(D) of several sources p (sources, symbols) with one slope, averaged with `weights` (sources,)."""
    least = d.min(1)
    kernel = np.exp(-slope * (d - least[:, None]))  # at least one 1 in a row: c(x) never underflows to 0
    tolerance = tolerance_bits * NATS_PER_BIT

    def step(q: Array) -> tuple[Array, Array, Array]:
        """w (sources, reproductions); F and the gap between upper and lower bound (sources,), nats."""
        c = np.maximum(q @ kernel.T, 1e-300)
        w = (p / c) @ kernel
        new = q * w
        # upper: -sum new ln w is D(new || q) short of the rate with respect to the new q
        gap = np.log(w.max(1)) - (new * np.log(np.maximum(w, 1e-300))).sum(1)
        return w, -(p * np.log(c)).sum(1), gap

    count = d.shape[1]

    def floored(q: Array) -> Array:
        return np.asarray((q + FLOOR / count) / (1 + FLOOR))

    q = np.full((len(p), count), 1 / count) if start is None else start / start.sum(1, keepdims=True)
    w, _, gap = step(q)
    steps = 1
    while weights @ gap > tolerance and steps < max_steps:
        if steps % 32 == 1 and steps > 1:
            point = _point(p, weights, d, kernel, least, slope, q, w)  # with a better bound, which costs more
            if point.rate_bits - point.lower_rate_bits <= tolerance_bits:
                break
        # SQUAREM on ln q: two steps show where the sequence goes; take it as far as F allows
        q1 = floored(q * w)
        w1, f1, gap1 = step(q1)
        first, second = np.log(np.maximum(w, 1e-300)), np.log(np.maximum(w1, 1e-300))
        size = np.sqrt((q1 * first**2).sum(1) / np.maximum((q1 * (second - first) ** 2).sum(1), 1e-300))
        size = np.clip(size, 1.0, 1000.0)[:, None]
        log_far = np.log(np.maximum(q, 1e-300)) + 2 * size * first + size**2 * (second - first)
        far = np.exp(np.clip(log_far - log_far.max(1, keepdims=True), -690, 0))
        far = floored(far / far.sum(1, keepdims=True))
        w_far, f_far, gap_far = step(far)
        better = f_far <= f1 + FLOOR
        q = np.where(better[:, None], far, q1)
        w, gap = np.where(better[:, None], w_far, w1), np.where(better, gap_far, gap1)
        steps += 2
    point = _point(p, weights, d, kernel, least, slope, q, w)
    if (
        point.rate_bits - point.lower_rate_bits > tolerance_bits
        and count * len(p) ** (1 / 3) <= NEWTON_MAX_SIZE
    ):
        for index in np.flatnonzero(gap > tolerance):
            q[index], more = _newton(p[index], kernel, q[index], tolerance)
            steps += more
        w, _, gap = step(q)
        point = _point(p, weights, d, kernel, least, slope, q, w)
    return BlahutArimoto(point, q * w, steps)


def _point(
    p: Array, weights: Array, d: Array, kernel: Array, least: Array, slope: float, q: Array, w: Array
) -> RateDistortionPoint:
    """Distortion and rates of the channel q(z) e^{-s d} / c(x), in bits, averaged over the sources."""
    c = np.maximum(q @ kernel.T, 1e-300)
    distortion = weights @ ((p / c) * (q @ (kernel * d).T)).sum(1)
    log_c = (p * (np.log(c) - slope * least)).sum(1)
    new = q * w
    upper = -slope * distortion - weights @ (log_c + (new * np.log(np.maximum(w, 1e-300))).sum(1))
    bound = -log_c - np.log(w.max(1))
    if -slope * distortion + weights @ bound < upper - 1e-9:
        # F(q) - ln max w is a bound for every q: with a little mass everywhere the maximum is often far less
        for share in (1e-5, 1e-4, 1e-3, 1e-2):
            c_mixed = (1 - share) * c + share * kernel.mean(1)
            w_mixed = ((p / c_mixed) @ kernel).max(1)
            mixed = -(p * (np.log(c_mixed) - slope * least)).sum(1) - np.log(w_mixed)
            bound = np.maximum(bound, mixed)
    lower = -slope * distortion + weights @ bound
    return RateDistortionPoint(
        float(slope),
        float(distortion),
        max(float(upper) / NATS_PER_BIT, 0.0),
        float(lower) / NATS_PER_BIT,
    )


def _newton(p: Array, kernel: Array, q: Array, tolerance: float, max_steps: int = 60) -> tuple[Array, int]:
    """Minimise F(q) + sum q over q >= 0 by a primal-dual interior-point method; its q sums to 1 at the end.

    p: (symbols,). kernel: (symbols, reproductions). q: where to start. The optimality conditions are
    q (1 - w) = 0 and w <= 1 (the same that Blahut-Arimoto stops at); the method follows q z = mu to mu = 0
    for z = 1 - w + residual. Returns q and the number of steps.
    """
    q = np.maximum(q, 1e-6 / len(q))
    q /= q.sum()
    z = np.maximum(1 - (p / np.maximum(kernel @ q, 1e-300)) @ kernel, 1e-3)
    best, best_gap = q, math.inf
    steps = 0
    while steps < max_steps:
        steps += 1
        c = np.maximum(kernel @ q, 1e-300)
        w = (p / c) @ kernel
        scaled = q / q.sum()
        gap = float(np.log(w.max()) - (scaled * w * np.log(np.maximum(w, 1e-300))).sum() + math.log(q.sum()))
        if gap < best_gap:
            best, best_gap = scaled, gap
        if gap <= tolerance / 2:
            break
        mu = 0.1 * float(q @ z) / len(q)
        half = kernel * (np.sqrt(p) / c)[:, None]
        hessian = half.T @ half
        hessian[np.diag_indices_from(hessian)] += z / q
        try:
            move = np.asarray(np.linalg.solve(hessian, w - 1 + mu / q), np.float64)
        except np.linalg.LinAlgError:
            break
        move_z = np.asarray(mu / q - z - z / q * move)
        q = q + _longest(q, move) * move
        z = z + _longest(z, move_z) * move_z
    return best, steps


def _longest(values: Array, move: Array) -> float:
    """The longest step <= 1 that keeps values + step * move positive, with a little in hand."""
    falling = move < 0
    return float(min(1.0, 0.995 * np.min(-values[falling] / move[falling], initial=np.inf)))


def check_probabilities(values: npt.ArrayLike, what: str, dims: int) -> Array:
    """`values` as float64 probabilities that sum to 1.

    Args:
        values: what may be such.
        what: their name, for errors.
        dims: number of dimensions.

    Raises:
        InputError: where they are none.
    """
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != dims or not p.size:
        raise InputError(f"the {what} must be an array of {dims} dimension(s) and not empty, not {p.shape}")
    if not np.isfinite(p).all() or (p < 0).any() or abs(p.sum() - 1) > 1e-6:
        raise InputError(f"the {what} must be probabilities >= 0 that sum to 1; they sum to {p.sum():.6g}")
    return np.asarray(p / p.sum())


def check_distortion(values: npt.ArrayLike, symbols: int) -> Array:
    """`values` as a float64 matrix with a row for each symbol.

    Raises:
        InputError: where they are no such matrix, or not finite and >= 0.
    """
    d = np.asarray(values, dtype=np.float64)
    if d.ndim != 2 or d.shape[0] != symbols or not d.size:
        raise InputError(f"the distortion matrix must be ({symbols}, reproductions), not {d.shape}")
    if not np.isfinite(d).all() or (d < 0).any():
        raise InputError("distortions must be finite numbers >= 0")
    return d


def check_slope(slope_nats: float) -> float:
    """A slope in nats per unit of distortion.

    Raises:
        InputError: where it is not above 0.
    """
    if not (math.isfinite(slope_nats) and slope_nats > 0):
        raise InputError(f"a slope must be a number above 0 (nats per unit of distortion), not {slope_nats}")
    return float(slope_nats)
