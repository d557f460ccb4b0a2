"""Labels repeat, yet with p(x|y) they name a point; the expectation is the mixture's posterior mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from obverse.codecs.wyner_ziv.labels import Labels


def one_gaussian(means, scale, low, step=0.5, noise=0.02, alphabet=8, modulus=4):
    means = np.asarray(means, float)[:, None]
    return Labels(np.ones_like(means), means, np.full_like(means, scale), low, modulus, step, noise, alphabet)


@given(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=30), st.sampled_from([2, 4]))
def test_points_near_the_mean_come_back(points, modulus):
    points = np.array(points)
    means = points * 0.5 + 0.6  # within half of the labels' period of 8 * modulus * 0.5
    labels = one_gaussian(means, 1.0, points % modulus, modulus=modulus)
    assert np.array_equal(labels.points(points // modulus % 8), points)


def test_log_q_is_the_density_at_the_points():
    labels = one_gaussian([3.0], 0.7, np.array([1]))
    rows = labels.log_q(0, 1)[0]
    for label in range(8):
        x = 0.5 * labels.points(np.array([label]))[0]
        assert rows[label] == pytest.approx(-0.5 * ((x - 3) ** 2 / 0.51 + np.log(0.51)), rel=1e-5)


def test_expectation_of_one_gaussian_is_wiener_s():
    labels = one_gaussian([1.0], 1.0, np.array([0]), noise=0.25)
    assert labels.expectation(np.array([8]))[0] == pytest.approx((4.0 * 1 + 1.0 * 0.25) / 1.25)


def test_expectation_of_a_mixture_follows_the_nearer_component():
    weights, means, scales = np.array([[0.5, 0.5]]), np.array([[-5.0, 5.0]]), np.array([[0.1, 0.1]])
    labels = Labels(weights, means, scales, np.array([0]), 4, 0.5, 0.01, 16)
    assert labels.expectation(np.array([8]))[0] == pytest.approx((4.0 * 0.01 + 5.0 * 0.01) / 0.02)


def test_a_vanished_weight_is_no_error():
    weights, means, scales = np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]])
    labels = Labels(weights, means, scales, np.array([0]), 4, 0.5, 0.01, 8)
    assert np.isfinite(labels.log_q(0, 1)).all()
    assert np.isfinite(labels.expectation(np.array([0]))).all()
