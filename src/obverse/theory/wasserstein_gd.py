"""R(D) from samples, squared error: particles that move to where the best reproductions are.

    particles z_1..z_n ──► nu = their mean of atoms ──► F(nu) = -E_x ln 1/n sum_j e^{-s |x - z_j|^2}
         ▲                                                  │
         └───────────── z_j - step * grad psi(z_j) ◄────────┘    psi(z) = -E_x e^{-s |x - z|^2} / c(x)

Blahut-Arimoto moves mass on a fixed grid, which no grid can do in many dimensions; Wasserstein gradient
descent moves the atoms. For every set of particles F is an upper bound on min R + s D, and the
channel p(z_j|x) ~ e^{-s |x - z_j|^2} has a distortion and a rate on that line. n particles can describe no
more than ln n nats, so take many more than 2^R.

Source: Yang, Eckstein, Nutz, Mandt, "Estimating the rate-distortion function by Wasserstein gradient descent",
NeurIPS 2023, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.blahut_arimoto import check_slope
from obverse.theory.curves import NATS_PER_BIT, Array, RateDistortionPoint


@dataclass(frozen=True)
class WassersteinEstimate:
    """An upper estimate of R(D) at one slope.

    Attributes:
        point: distortion (sum over dimensions) and rate per sample vector on samples not used for descent; no lower
            bound (NaN).
        standard_error_bits: of rate + slope * distortion over those samples.
        particles: (n, dims) reproductions.
    """

    point: RateDistortionPoint
    standard_error_bits: float
    particles: Array


def wasserstein_gd(
    samples: npt.ArrayLike,
    slope_nats: float,
    particles: int = 1000,
    steps: int = 300,
    batch: int = 2000,
    step_size: float = 1.0,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> WassersteinEstimate:
    """An upper estimate of R(D) where its slope is -slope_nats, from samples alone.

    Args:
        samples: (n, dims) or (n,) for scalars; a fifth of them (at most 20,000) is kept apart to measure on.
        slope_nats: s > 0 in nats per unit of squared error, near dims / (2 D).
        particles: number of reproductions.
        steps: of the descent.
        batch: samples a step; all when there are no more.
        step_size: 1 is the step that minimises Blahut-Arimoto's majoriser; it falls to a tenth.
        seed: of all that is random.
        progress: called after each step.

    Raises:
        InputError: for samples that cannot be used.
    """
    x = check_samples(samples)
    slope = check_slope(slope_nats)
    if particles < 1 or steps < 0 or batch < 1:
        raise InputError("particles and batch must be at least 1, steps at least 0")
    rng = np.random.default_rng(seed)
    x = x[rng.permutation(len(x))]
    held = min(max(len(x) // 5, 1), 20_000)
    test, train = x[:held], x[held:]
    z = train[rng.integers(0, len(train), particles)] + rng.normal(
        0, math.sqrt(1 / (4 * slope)), (particles, x.shape[1])
    )
    for step in range(steps):
        chosen = train if len(train) <= batch else train[rng.integers(0, len(train), batch)]
        responsibility, _ = _posterior(chosen, z, slope)
        mass = responsibility.sum(0) * (particles / len(chosen))  # w(z_j): 1 at the optimum
        gradient = 2 * slope * (mass[:, None] * z - (responsibility.T @ chosen) * (particles / len(chosen)))
        size = step_size * 0.1 ** (step / max(steps - 1, 1))
        # where far more than its share of mass pulls at a particle, the full step would overshoot
        z = z - size / (2 * slope) * gradient / np.maximum(mass, 1.0)[:, None]
        progress()
    return _measure(test, z, slope)


def _posterior(x: Array, z: Array, slope: float) -> tuple[Array, Array]:
    """p(z_j|x_i) (samples, particles) and ln c(x_i) = ln mean_j e^{-s d} (samples,)."""
    exponent = 2 * slope * (x @ z.T) - slope * (z**2).sum(1)
    top = exponent.max(1, keepdims=True)
    p = np.exp(exponent - top)
    total = p.sum(1, keepdims=True)
    log_c = np.log(total[:, 0] / len(z)) + top[:, 0] - slope * (x**2).sum(1)
    return p / total, log_c


def _measure(test: Array, z: Array, slope: float) -> WassersteinEstimate:
    distortion, free = 0.0, []
    for part in np.array_split(test, max(len(test) * len(z) // 4_000_000, 1)):
        p, log_c = _posterior(part, z, slope)
        squares = np.maximum((part**2).sum(1)[:, None] - 2 * part @ z.T + (z**2).sum(1), 0)
        distortion += float((p * squares).sum()) / len(test)
        free.append(-log_c)
    values = np.concatenate(free)
    rate = (float(values.mean()) - slope * distortion) / NATS_PER_BIT
    error = float(values.std()) / math.sqrt(len(values)) / NATS_PER_BIT
    point = RateDistortionPoint(slope, distortion, max(rate, 0.0), math.nan)
    return WassersteinEstimate(point, error, z)


def check_samples(samples: npt.ArrayLike, least: int = 50) -> Array:
    """Samples as (n, dims) float64.

    Raises:
        InputError: where they are too few, not finite or constant.
    """
    x = np.asarray(samples)
    if x.dtype.kind not in "fiub":
        raise InputError(f"samples must be real numbers, not {x.dtype}")
    if x.ndim not in (1, 2) or len(x) < least or not x.size:
        raise InputError(f"samples must be (n,) or (n, dims) with n of at least {least}, not {x.shape}")
    x = x.astype(np.float64).reshape(len(x), -1)
    if not np.isfinite(x).all():
        raise InputError("the samples hold NaN or infinite values: remove them first")
    if not np.ptp(x, axis=0).max() > 0:
        raise InputError("all samples are the same: a constant needs no bits")
    return x
