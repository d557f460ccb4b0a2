"""The formulas: values of the literature, limits, and each against an independent computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from obverse.errors import InputError
from obverse.theory import (
    bernoulli_rate_bits,
    binary_wyner_ziv_critical,
    binary_wyner_ziv_rate_bits,
    gaussian_conditional_variance,
    gaussian_distortion,
    gaussian_rate_bits,
    gaussian_rdp_rate_bits,
    gaussian_vector_rate_bits,
    gaussian_wyner_ziv_rate_bits,
    laplace_rate_bits,
    parallel_gaussians_rate_bits,
    water_level,
)

positive = st.floats(1e-3, 1e3)


@given(positive, st.floats(0, 20))
def test_gaussian_rate_inverts_its_distortion(variance: float, rate: float) -> None:
    assert gaussian_rate_bits(variance, gaussian_distortion(variance, rate)) == pytest.approx(rate, abs=1e-9)


def test_known_values() -> None:
    assert bernoulli_rate_bits(0.3, 0.1) == pytest.approx(0.881291 - 0.468996, abs=1e-6)
    assert laplace_rate_bits(1.0, 0.25) == 2.0
    assert gaussian_wyner_ziv_rate_bits(0.1, 0.0354) == pytest.approx(0.749089, abs=1e-6)
    assert gaussian_conditional_variance(1.1, 1.0, 1.0) == pytest.approx(0.1)


def test_rates_end_at_zero() -> None:
    assert gaussian_rate_bits(1.0, 2.0) == laplace_rate_bits(1.0, 1.0) == bernoulli_rate_bits(0.3, 0.3) == 0
    assert binary_wyner_ziv_rate_bits(0.25, 0.25) == 0 and gaussian_rdp_rate_bits(1.0, 2.0) == 0


def test_binary_wyner_ziv_value_and_time_sharing() -> None:
    assert binary_wyner_ziv_rate_bits(0.25, 0.0796) == pytest.approx(0.467784, abs=1e-4)
    critical = binary_wyner_ziv_critical(0.25)
    assert 0.08 < critical < 0.1
    middle = (critical + 0.25) / 2  # half of the rate, half of the way
    assert binary_wyner_ziv_rate_bits(0.25, middle) == pytest.approx(
        binary_wyner_ziv_rate_bits(0.25, critical) / 2, abs=1e-12
    )


@pytest.mark.parametrize("p", [0.02, 0.1, 0.25, 0.4, 0.5])
def test_binary_wyner_ziv_is_the_convex_envelope(p: float) -> None:
    # the envelope by brute force: the best chord from a point of g to (p, 0)
    def entropy(q: np.ndarray) -> np.ndarray:
        q = np.clip(q, 1e-300, 1 - 1e-16)
        return -(q * np.log2(q) + (1 - q) * np.log2(1 - q))

    d = np.linspace(0, p, 20_001)[:-1]
    g = entropy(p * (1 - d) + (1 - p) * d) - entropy(d)
    for target in np.linspace(0.01, 0.99, 15) * p:
        chords = g[d <= target] * (p - target) / (p - d[d <= target])
        direct = np.interp(target, d, g)
        best = min(float(chords.min()), float(direct))
        assert binary_wyner_ziv_rate_bits(p, target) == pytest.approx(best, abs=1e-5)


def test_realism_costs_rate() -> None:
    assert gaussian_rdp_rate_bits(1.0, 0.3) == pytest.approx(0.9247, abs=5e-5)
    assert gaussian_rdp_rate_bits(1.0, 0.3, math.inf) == pytest.approx(0.8685, abs=5e-5)


@given(st.floats(0.02, 1.9), st.floats(0, 1), st.floats(0, 1))
def test_rdp_falls_with_both_constraints(distortion: float, first: float, second: float) -> None:
    loose, tight = max(first, second), min(first, second)
    rate = gaussian_rdp_rate_bits(1.0, distortion, loose)
    assert rate <= gaussian_rdp_rate_bits(1.0, distortion, tight) + 1e-12
    assert gaussian_rdp_rate_bits(1.0, distortion + 0.05, loose) <= rate + 1e-12
    assert rate >= gaussian_rate_bits(1.0, distortion) - 1e-12
    # half the distortion buys realism for free: postprocessing (Blau and Michaeli, Theorem 2)
    assert gaussian_rdp_rate_bits(1.0, distortion) <= gaussian_rate_bits(1.0, distortion / 2) + 1e-12


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.floats(1e-3, 200))
def test_water_level_fills_to_the_distortion(variances: list[float], distortion: float) -> None:
    if max(variances) < 1e-6:
        return
    theta = water_level(variances, distortion)
    filled = float(np.minimum(theta, variances).mean())
    assert filled == pytest.approx(min(distortion, float(np.mean(variances))), rel=1e-6)


def test_vector_and_parallel_agree_in_any_basis() -> None:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    variances = [4.0, 1.0, 0.2, 0.0]
    covariance = basis @ np.diag(variances) @ basis.T
    for distortion in (0.02, 0.3, 1.0, 5.0):
        expected = parallel_gaussians_rate_bits(variances, distortion)
        assert gaussian_vector_rate_bits(covariance, distortion) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_rate_bits(-1, 0.1),
        lambda: gaussian_rate_bits(1, 0),
        lambda: gaussian_rate_bits(1, math.nan),
        lambda: gaussian_distortion(1, -1),
        lambda: laplace_rate_bits(math.inf, 1),
        lambda: bernoulli_rate_bits(1.2, 0.1),
        lambda: bernoulli_rate_bits(0.2, math.nan),
        lambda: binary_wyner_ziv_rate_bits(0.7, 0.1),
        lambda: gaussian_conditional_variance(1, 1, 2),
        lambda: gaussian_rdp_rate_bits(1, 0.3, -1),
        lambda: parallel_gaussians_rate_bits([], 1),
        lambda: parallel_gaussians_rate_bits([0, 0], 1),
        lambda: gaussian_vector_rate_bits([[1, 2], [0, 1]], 1),
        lambda: gaussian_vector_rate_bits([[1, 2], [2, 1]], 1),
        lambda: gaussian_vector_rate_bits([1, 2], 1),
    ],
)
def test_what_is_no_source_is_refused(call) -> None:
    with pytest.raises(InputError):
        call()
