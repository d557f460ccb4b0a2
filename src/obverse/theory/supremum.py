"""sup_z ln sum_i w_i e^{-s |x_i - z|^2}: the maximum of a sum of Gaussian bumps, which Csiszar's bound needs.

Without the *global* maximum a lower bound on R(D) is none. In up to 3 dimensions it is certified: the Hessian of
this logarithm is -2 s plus 4 s^2 times a covariance, so at least -2 s, and its gradient vanishes at the maximum.
So the box that holds it, of centre c and half-diagonal r, has f(c) >= max - s r^2. Boxes whose centre is lower
than that are dropped, the others halved. Sums are in float32, and its rounding is added to the bound. In more
dimensions the maximum is searched by ascent from many starts, and can be missed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from obverse.errors import InputError
from obverse.theory.curves import Array

CERTIFIED_DIMS = 3
MAX_BOXES = 400_000


@dataclass(frozen=True)
class Supremum:
    """What `supremum` found.

    Attributes:
        value: in nats, an upper bound on the supremum where certified, else the best found.
        at: (dims,), where the best value was found.
        certified: whether nothing greater exists.
    """

    value: float
    at: Array
    certified: bool


def log_sum_of_bumps(z: Array, x: Array, log_w: Array, slope: float) -> Array:
    """ln sum_i w_i e^{-s |x_i - z_j|^2} for (m, dims) points z: (m,), right to `rounding`."""
    parts = []
    scaled = (2 * slope * x).astype(np.float32)
    constant = (log_w - slope * (x**2).sum(1)).astype(np.float32)
    for part in np.array_split(z, max(len(z) * len(x) // 2_000_000, 1)):
        exponent = part.astype(np.float32) @ scaled.T
        exponent += constant
        top = exponent.max(1)
        exponent -= top[:, None]
        total = np.exp(exponent, out=exponent).sum(1, dtype=np.float64)
        parts.append(np.log(total) + top - slope * (part**2).sum(1))
    return np.concatenate(parts)


def rounding(x: Array, log_w: Array, slope: float) -> float:
    """What float32 can cost `log_sum_of_bumps` for points in the box of the centres, in nats."""
    dims = x.shape[1]
    largest = 4 * slope * float((x**2).sum(1).max()) * dims + float(np.abs(log_w).max())
    return float(4 * dims * largest * float(np.finfo(np.float32).eps))


def ascend(z: Array, x: Array, log_w: Array, slope: float, steps: int) -> Array:
    """Mean-shift: each z moves to the weighted mean of the x that it sees. It never descends."""
    constant = log_w - slope * (x**2).sum(1)
    for _ in range(steps):
        exponent = 2 * slope * (z @ x.T) + constant
        p = np.exp(exponent - exponent.max(1, keepdims=True))
        z = (p @ x) / p.sum(1, keepdims=True)
    return z


def supremum(
    x: Array, log_w: Array, slope: float, tolerance_nats: float = 1e-3, starts: int = 200
) -> Supremum:
    """The supremum over all z.

    Certified to tolerance_nats in up to 3 dimensions. Otherwise, or where that takes more than 400,000 boxes: the best
    of mean-shift ascents from `starts` of the centres, `certified` False.

    Args:
        x: (n, dims) centres.
        log_w: (n,) ln w_i.
        slope: s > 0.
        tolerance_nats: to which it is certified.
        starts: how many ascents there are.
    """
    if x.ndim != 2 or len(x) != len(log_w) or not len(x):
        raise InputError(f"centres (n, dims) and n weights are needed, not {x.shape} and {log_w.shape}")
    # the heaviest centres, which can stand alone, and the best of a spread of others
    some = x[np.concatenate([np.argsort(-log_w)[:500], np.arange(0, len(x), max(len(x) // 500, 1))])]
    values = log_sum_of_bumps(some, x, log_w, slope)
    first = ascend(some[np.argsort(-values)[:starts]], x, log_w, slope, 15)
    values = log_sum_of_bumps(first, x, log_w, slope)
    best, at = float(values.max()), first[int(values.argmax())]
    if x.shape[1] > CERTIFIED_DIMS:
        return Supremum(best, at, False)
    low, high = x.min(0), x.max(0)  # z outside of the centres' box has a better one in it
    cells = np.maximum(np.ceil((high - low) * math.sqrt(slope * x.shape[1])).astype(int), 1)
    while cells.prod() > MAX_BOXES // 10:
        cells = np.maximum(cells // 2, 1)
    half = (high - low) / cells / 2
    axes = [low[i] + half[i] * (2 * np.arange(cells[i]) + 1) for i in range(len(cells))]
    centres = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], 1)
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * x.shape[1], indexing="ij"), -1).reshape(-1, x.shape[1])
    seen = 0
    error = rounding(x, log_w, slope)
    tolerance_nats = max(tolerance_nats, 2 * error)
    while True:
        seen += len(centres)
        if seen > MAX_BOXES:
            return Supremum(best, at, False)
        slack = slope * float(half @ half) + error
        values = log_sum_of_bumps(centres, x, log_w, slope)
        if values.max() > best:
            best, at = float(values.max()), centres[int(values.argmax())]
        if slack <= tolerance_nats:
            return Supremum(max(best, float(values.max()) + slack), at, True)
        centres = centres[values + slack >= best - error]
        if not len(centres):
            return Supremum(best + error, at, True)
        half = half / 2
        centres = (centres[:, None] + corners * (2 * half)).reshape(-1, x.shape[1])
