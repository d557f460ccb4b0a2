"""Blahut-Arimoto against formulas; its bounds against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from obverse.errors import InputError
from obverse.theory import (
    Banana,
    RateDistortionCurve,
    absolute_error,
    bernoulli_rate_bits,
    blahut_arimoto,
    conditional_blahut_arimoto,
    discretise,
    gaussian_rate_bits,
    hamming,
    laplace_rate_bits,
    point_at_distortion,
    rate_distortion_curve,
    squared_error,
)


@pytest.mark.parametrize("distortion", [0.01, 0.1, 0.25])
def test_bernoulli(distortion: float) -> None:
    point = point_at_distortion(lambda s: blahut_arimoto([0.7, 0.3], hamming(2), s).point, distortion)
    expected = bernoulli_rate_bits(0.3, distortion)
    assert point.rate_bits == pytest.approx(expected, abs=1e-4)
    assert point.lower_rate_bits - 1e-9 <= expected <= point.rate_bits + 1e-9


@pytest.mark.parametrize("distortion", [0.9, 0.5, 0.1, 0.01])
def test_gaussian(distortion: float) -> None:
    x, p = discretise(lambda x: np.exp(-(x**2) / 2), -6, 6, 400)
    point = point_at_distortion(lambda s: blahut_arimoto(p, squared_error(x, x), s).point, distortion)
    assert point.rate_bits == pytest.approx(gaussian_rate_bits(1, distortion), abs=1e-4)
    assert point.lower_rate_bits == pytest.approx(point.rate_bits, abs=1e-5)


@pytest.mark.parametrize("slope", [1.5, 2.0, 4.0])
def test_laplace_with_absolute_error(slope: float) -> None:
    x, p = discretise(lambda x: np.exp(-np.abs(x)), -12, 12, 601)
    point = blahut_arimoto(p, absolute_error(x, x), slope).point
    assert point.rate_bits == pytest.approx(laplace_rate_bits(1, point.distortion), abs=0.005)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float64, 5, elements=st.floats(0.01, 1)),
    hnp.arrays(np.float64, (5, 4), elements=st.floats(0, 3)),
    st.floats(0.05, 20),
    st.integers(1, 40),
)
def test_the_bounds_hold_however_early_it_stops(weights, distortion, slope, steps) -> None:
    p = weights / weights.sum()
    best = blahut_arimoto(p, distortion, slope).point
    early = blahut_arimoto(p, distortion, slope, math.inf, steps).point
    least = best.tangent_bits(0.0)
    assert early.tangent_bits(0.0) <= least + 2e-6
    assert early.rate_bits + slope * early.distortion / math.log(2) >= least - 2e-6
    assert best.rate_bits - best.lower_rate_bits <= 1.1e-6


def test_conditional_gaussian_needs_only_the_conditional_variance() -> None:
    x, y = np.linspace(-5, 5, 200), np.linspace(-4, 4, 41)
    joint = np.exp(-(y[None] ** 2) / 2 - (x[:, None] - y) ** 2 / 0.4)
    point = conditional_blahut_arimoto(joint / joint.sum(), squared_error(x, x), 1 / 0.1, 1e-5).point
    assert point.distortion == pytest.approx(0.05, rel=1e-3)
    assert point.rate_bits == pytest.approx(gaussian_rate_bits(0.2, point.distortion), abs=1e-3)


def test_conditional_of_independent_side_information_is_the_unconditional() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.4])
    given_y = conditional_blahut_arimoto(np.outer(p, q), hamming(3), 2.0).point
    assert given_y.rate_bits == pytest.approx(blahut_arimoto(p, hamming(3), 2.0).point.rate_bits, abs=1e-5)


def test_curve_between_its_points() -> None:
    curve = rate_distortion_curve([0.7, 0.3], hamming(2), np.linspace(1.2, 5, 30))
    for distortion in (0.03, 0.1, 0.2):
        expected = bernoulli_rate_bits(0.3, distortion)
        assert (
            curve.lower_rate_bits_at(distortion) - 1e-9 <= expected <= curve.rate_bits_at(distortion) + 1e-9
        )
        assert curve.rate_bits_at(distortion) - curve.lower_rate_bits_at(distortion) < 3e-3
    assert (np.diff(curve.distortion) > 0).all() and (np.diff(curve.rate_bits) < 0).all()
    with pytest.raises(InputError, match="begins at distortion"):
        curve.rate_bits_at(1e-4)
    with pytest.raises(InputError, match="no points"):
        RateDistortionCurve.through("nothing", [])


def test_rate_is_zero_beyond_the_greatest_distortion() -> None:
    point = point_at_distortion(lambda s: blahut_arimoto([0.7, 0.3], hamming(2), s).point, 0.4)
    assert point.rate_bits == point.lower_rate_bits == 0


def test_a_distortion_below_the_least_is_refused() -> None:
    with pytest.raises(InputError, match="no slope was found"):
        point_at_distortion(lambda s: blahut_arimoto([0.5, 0.5], [[1.0, 2.0], [2.0, 1.0]], s).point, 0.5)


def test_banana_density_integrates_to_one_and_matches_its_samples() -> None:
    banana = Banana()
    points, p = banana.grid(0.25)
    assert banana.density(points).sum() * 0.25**2 == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(p @ points, banana.sample(200_000, 0).mean(0), atol=0.03)


@pytest.mark.parametrize(
    "source, distortion, slope, words",
    [
        ([0.5, 0.6], hamming(2), 1.0, "sum to 1"),
        ([0.5, math.nan], hamming(2), 1.0, "sum to 1"),
        ([], hamming(2), 1.0, "not empty"),
        ([0.5, 0.5], hamming(3), 1.0, "distortion matrix"),
        ([0.5, 0.5], -hamming(2), 1.0, ">= 0"),
        ([0.5, 0.5], hamming(2), 0.0, "slope"),
        ([0.5, 0.5], hamming(2), math.inf, "slope"),
    ],
)
def test_what_is_no_source_is_refused(source, distortion, slope, words) -> None:
    with pytest.raises(InputError, match=words):
        blahut_arimoto(source, distortion, slope)
