"""The rate-distortion functions that have a formula. Rates in bits per sample, distortions per sample.

Sources: Cover and Thomas, "Elements of Information Theory", chapter 10; Berger, "Rate Distortion Theory"
(1971); Wyner and Ziv (1976), section II; Wyner (1978); Zhang, Qian, Chen, Khisti, "Universal rate-distortion-
perception representations", NeurIPS 2021, Theorem 1, after Blau and Michaeli (2019).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.curves import Array


def gaussian_rate_bits(variance: float, distortion: float) -> float:
    """R(D) of a Gaussian, squared error: 1/2 log2(variance / D), 0 from D = variance on.

    >>> gaussian_rate_bits(1.0, 0.0625)
    2.0
    """
    _positive(variance=variance, distortion=distortion)
    return max(0.5 * math.log2(variance / distortion), 0.0)


def gaussian_distortion(variance: float, rate_bits: float) -> float:
    """D(R) of a Gaussian, squared error: variance 2^(-2R)."""
    _positive(variance=variance)
    return variance * 2 ** (-2 * _rate(rate_bits))


def laplace_rate_bits(scale: float, distortion: float) -> float:
    """R(D) of a Laplacian of density exp(-|x| / b) / 2b, absolute error: log2(b / D), 0 from D = b on.

    >>> laplace_rate_bits(2.0, 0.5)
    2.0
    """
    _positive(scale=scale, distortion=distortion)
    return max(math.log2(scale / distortion), 0.0)


def binary_entropy_bits(p: float) -> float:
    """h(p) = -p log2 p - (1 - p) log2(1 - p)."""
    _probability(p)
    return 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def bernoulli_rate_bits(p: float, distortion: float) -> float:
    """R(D) of a coin with probability p, share of wrong symbols: h(p) - h(D), 0 from D = min(p, 1 - p) on.

    >>> round(bernoulli_rate_bits(0.3, 0.1), 6)
    0.412295
    """
    _probability(p)
    if not distortion >= 0:
        raise InputError(f"a distortion must be a number >= 0, not {distortion}")
    if distortion >= min(p, 1 - p):
        return 0.0
    return binary_entropy_bits(p) - binary_entropy_bits(distortion)


def binary_wyner_ziv_rate_bits(p: float, distortion: float) -> float:
    """Wyner-Ziv R(D) of fair x and y = x flipped with probability p <= 1/2, share of wrong symbols.

    The lower convex envelope of g(d) = h(p * d) - h(d), p * d = p (1 - d) + (1 - p) d, and the point (p, 0),
    where the decoder answers y. Below the critical d_c it is g; from there on the straight line that touches g
    at d_c and ends in (p, 0): time sharing.
    """
    if not 0 <= p <= 0.5:
        raise InputError(f"y is x flipped with a probability of 0 to 1/2, not {p}")
    if not distortion >= 0:
        raise InputError(f"a distortion must be a number >= 0, not {distortion}")
    if distortion >= p:
        return 0.0
    critical = binary_wyner_ziv_critical(p)
    if distortion <= critical:
        return _binary_g(p, distortion)
    return _binary_g(p, critical) * (p - distortion) / (p - critical)


def binary_wyner_ziv_critical(p: float) -> float:
    """d_c, where time sharing begins: g(d) / (d - p) = g'(d). By bisection, to full precision."""
    if not 0 <= p <= 0.5:
        raise InputError(f"y is x flipped with a probability of 0 to 1/2, not {p}")

    def beyond(d: float) -> bool:
        mixed = p * (1 - d) + (1 - p) * d
        slope = (1 - 2 * p) * math.log2((1 - mixed) / mixed) - math.log2((1 - d) / d)
        return slope * (d - p) <= _binary_g(p, d)  # the tangent at d ends below (p, 0)

    low, high = 0.0, p
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return low


def _binary_g(p: float, d: float) -> float:
    return binary_entropy_bits(p * (1 - d) + (1 - p) * d) - binary_entropy_bits(d)


def gaussian_conditional_variance(variance_x: float, variance_y: float, covariance: float) -> float:
    """Variance of x given y for a Gaussian pair: variance_x - covariance^2 / variance_y.

    x = y + n, variances 1 and 0.1: `gaussian_conditional_variance(1.1, 1.0, 1.0)` is 0.1.
    """
    _positive(variance_x=variance_x, variance_y=variance_y)
    rest = variance_x - covariance**2 / variance_y
    if not rest >= -1e-12 * variance_x:
        raise InputError(
            f"a covariance of {covariance} is too great for variances {variance_x}, {variance_y}"
        )
    return max(rest, 0.0)


def gaussian_wyner_ziv_rate_bits(conditional_variance: float, distortion: float) -> float:
    """Wyner-Ziv R(D) of a Gaussian pair, squared error: 1/2 log2(variance of x given y / D).

    It is also the conditional R(D), where the encoder sees y as well: not seeing it costs nothing.
    """
    return gaussian_rate_bits(conditional_variance, distortion)


def gaussian_rdp_rate_bits(variance: float, distortion: float, perception: float = 0.0) -> float:
    """Rate-distortion-perception function of a Gaussian, bits.

    >>> round(gaussian_rdp_rate_bits(1.0, 0.3), 4), round(gaussian_rdp_rate_bits(1.0, 0.3, math.inf), 4)
    (0.9247, 0.8685)

    Args:
        variance: of the source.
        distortion: mean squared error at most this.
        perception: squared 2-Wasserstein distance between the distributions of x and its reconstruction at most this; 0
            is perfect realism, math.inf no constraint.
    """
    _positive(variance=variance, distortion=distortion)
    if not perception >= 0:
        raise InputError(f"a perception constraint must be a number >= 0, not {perception}")
    sigma = math.sqrt(variance)
    # how wide the best reconstruction is without the constraint, and how narrow the constraint lets it be
    free = math.sqrt(max(variance - distortion, 0.0))
    width = max(sigma - math.sqrt(perception), 0.0)
    if width <= free or distortion >= variance + width**2:
        return gaussian_rate_bits(variance, distortion) if width <= free else 0.0
    correlation = (variance + width**2 - distortion) / (2 * sigma * width)
    return max(-0.5 * math.log2(1 - correlation**2), 0.0)


def water_level(variances: npt.ArrayLike, distortion: float) -> float:
    """theta with mean(min(theta, variances)) = distortion; their maximum where that cannot be reached."""
    values = np.sort(_variances(variances))
    _positive(distortion=distortion)
    if distortion >= values.mean():
        return float(values[-1])
    # with the k least variances below the level: theta = (n D - their sum) / (n - k)
    below = np.concatenate([[0.0], np.cumsum(values)[:-1]])
    levels = (len(values) * distortion - below) / np.arange(len(values), 0, -1)
    return float(levels[np.argmax(levels <= values)])


def parallel_gaussians_rate_bits(variances: npt.ArrayLike, distortion: float) -> float:
    """R(D) of independent Gaussians by reverse water-filling, squared error; both means per component.

    >>> parallel_gaussians_rate_bits([4.0, 1.0], 1.0)
    0.5

    Args:
        variances: (n,) variances, or samples of a power spectral density at equal steps of frequency: then D and R are
            per sample of the process.
        distortion: D.
    """
    theta = water_level(variances, distortion)
    values = _variances(variances)
    return float(0.5 * np.log2(np.maximum(values / theta, 1.0)).mean())


def gaussian_vector_rate_bits(covariance: npt.ArrayLike, distortion: float) -> float:
    """R(D) of a Gaussian vector of this (n, n) covariance, squared error; both means per component."""
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise InputError(f"a covariance must be a square matrix of finite numbers, not {matrix.shape}")
    if not np.allclose(matrix, matrix.T):
        raise InputError("a covariance must be symmetric")
    eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] < -1e-9 * max(eigenvalues[-1], 1e-300):
        raise InputError(f"a covariance has no negative eigenvalues; this one has {eigenvalues[0]:.3g}")
    return parallel_gaussians_rate_bits(np.maximum(eigenvalues, 0), distortion)


def _variances(variances: npt.ArrayLike) -> Array:
    values = np.asarray(variances, dtype=np.float64).ravel()
    if not values.size or not np.isfinite(values).all() or (values < 0).any() or not values.max() > 0:
        raise InputError("variances must be finite numbers >= 0, at least one of them above 0")
    return values


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name.replace('_', ' ')} must be a finite number above 0, not {value}")


def _probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise InputError(f"a probability must be a number from 0 to 1, not {p}")


def _rate(rate_bits: float) -> float:
    if not rate_bits >= 0:
        raise InputError(f"a rate must be a number >= 0, not {rate_bits}")
    return rate_bits
