"""Grids: exact on every machine, ordered by level, and refused where they are none."""

import hashlib
from statistics import NormalDist

import numpy as np
import pytest

from obverse.codecs.plug_and_play.k_means import centres_of
from obverse.codecs.plug_and_play.point_grid import (
    DEEPEST,
    PointGrid,
    knots,
    level_of_symbol,
    normal_quantiles,
    rising_of_symbol,
    symbol_of_rising,
)
from obverse.codecs.plug_and_play.quantiser import empirical_grid, normal_grid
from obverse.errors import DamagedError, InputError


def test_the_first_symbol_is_the_median_and_the_next_the_quartiles():
    points = normal_grid(1, 8).points[0]
    quantile = NormalDist().inv_cdf
    np.testing.assert_allclose(
        points[:7], [0, *map(quantile, (0.25, 0.75, 0.125, 0.375, 0.625, 0.875))], atol=1e-5
    )


@pytest.mark.parametrize("depth", [6, 10, 12])
def test_symbols_and_places_are_inverse(depth):
    places = rising_of_symbol(depth)
    assert sorted(places) == list(range(2**depth - 1))
    np.testing.assert_array_equal(symbol_of_rising(depth)[places + 1], np.arange(2**depth - 1))
    # the level is what k / 2^depth needs
    k = places + 1
    needed = depth - np.array([(int(value) & -int(value)).bit_length() - 1 for value in k])
    np.testing.assert_array_equal(level_of_symbol(depth), needed)


def test_no_quantile_is_near_a_rounding_edge():
    """What another machine's logarithm might move: none is, so the rounded numbers are the same everywhere."""
    exact = np.array([-NormalDist().inv_cdf(k / 4096) * 2**20 for k in range(1, 2048)])
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-7
    scaled = np.rint(normal_quantiles(DEEPEST) * 2**20).astype("<i8")
    assert hashlib.sha256(scaled.tobytes()).hexdigest()[:16] == "df01c78bb6791572"


def test_an_empirical_grid_is_made_of_its_knots_and_rises():
    samples = np.random.default_rng(0).standard_t(3, (2, 3, 4000)).astype(np.float32)
    grid = empirical_grid(samples, 10)
    np.testing.assert_array_equal(grid.rising[:, knots(10) - 1], grid.parameters)
    assert (np.diff(grid.rising, axis=1) >= 0).all()
    assert (grid.rising[:, 0] < samples.min((0, 2))).all() and (
        grid.rising[:, -1] > samples.max((0, 2))
    ).all()
    # half of the points are spread evenly, the other half lie where samples do
    inside = np.abs(grid.rising) < np.quantile(np.abs(samples), 0.5)
    assert 0.2 < inside.mean() < 0.5


def test_constant_samples_have_a_grid():
    grid = empirical_grid(np.full((1, 1, 10), 3.5, np.float32))
    assert np.isfinite(grid.points).all()
    assert grid.points[0, 0] == pytest.approx(3.5)


def test_uniform_points_are_multiples_to_the_last_bit():
    grid = PointGrid("uniform", np.array([[0.5, 0.1]], np.float32))
    symbols = np.array([[[-7, 0, 3, 1 << 20]]], np.int32)
    step = float(np.float32(0.1))
    np.testing.assert_array_equal(
        grid.dequantise(symbols)[0, 0], np.float32([0.5 + step * s for s in (-7, 0, 3, 1 << 20)])
    )


@pytest.mark.parametrize(
    ("kind", "parameters", "depth"),
    [
        ("normal", [[0, 1]], 5),
        ("normal", [[0, 0]], 8),
        ("normal", [[0, 1, 2]], 8),
        ("empirical", [[0, 1]], 8),
        ("uniform", [[0, -1]], 0),
        ("uniform", [[0, 1]], 8),
        ("uniform", [[np.nan, 1]], 0),
        ("points", [[1, 0]], 0),
        ("points", [[1e31]], 0),
        ("points", np.zeros((1, 5000)), 0),
        ("other", [[0, 1]], 0),
    ],
)
def test_what_is_no_grid_is_refused(kind, parameters, depth):
    with pytest.raises(InputError):
        PointGrid(kind, np.array(parameters, np.float32), depth)


@pytest.mark.parametrize("symbol", [-1, 255, 2**31 - 1, -(2**31)])
def test_a_symbol_without_a_point_is_damage(symbol):
    with pytest.raises(DamagedError):
        normal_grid(1, 8).dequantise(np.array([[[symbol]]], np.int32))


def test_a_symbol_far_out_on_a_uniform_grid_is_damage():
    grid = PointGrid("uniform", np.ones((1, 2), np.float32))
    with pytest.raises(DamagedError):
        grid.dequantise(np.array([[[-(2**31)]]], np.int32))


def test_centres_rest_where_their_samples_balance():
    rng = np.random.default_rng(1)
    samples = np.concatenate([rng.normal(c, 0.1, 400) for c in (-4, 0, 1, 9)])
    centres = centres_of(samples, 4)
    np.testing.assert_allclose(centres, [-4, 0, 1, 9], atol=0.05)
    nearest = np.abs(samples[:, None] - centres[None]).argmin(1)
    np.testing.assert_allclose(centres, [samples[nearest == k].mean() for k in range(4)], rtol=1e-5)


def test_more_centres_than_samples_do_no_harm():
    assert np.isfinite(centres_of(np.array([1.0, 2.0]), 16)).all()
