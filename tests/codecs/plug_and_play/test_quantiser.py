"""Variational Bayesian Quantization against a search in plain Python, and its limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.plug_and_play.point_grid import PointGrid, level_of_symbol
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.quantiser import choose, empirical_grid, normal_grid, published_bits
from obverse.errors import InputError


def some(seed: int, shape: tuple[int, int, int], spread: float = 1.0) -> Posterior:
    rng = np.random.default_rng(seed)
    return Posterior.of(rng.normal(0, 1.2, shape), np.exp(rng.normal(-2, spread, shape)))


def searched(
    mean: float, std: float, points: np.ndarray, bits: np.ndarray, depth: int, lmbda: float
) -> float:
    """The least cost over the two neighbours of the mean on each level, found by sorting."""
    level = level_of_symbol(depth)
    costs = []
    for n in range(1, depth + 1):
        symbols = np.flatnonzero(level == n)
        order = symbols[np.argsort(points[symbols], kind="stable")]
        at = int(np.searchsorted(points[order], mean, "right"))
        for place in (at - 1, at):
            if 0 <= place < len(order):
                s = order[place]
                costs.append((points[s] - mean) ** 2 / (2 * std**2) + lmbda * bits[s])
    return min(costs)


@given(st.integers(0, 10_000), st.sampled_from([6, 9, 12]), st.floats(1e-3, 1e3), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_choice_costs_no_more_than_that_of_a_search(seed, depth, lmbda, normal):
    posterior = some(seed, (2, 3, 4))
    grid = normal_grid(3, depth) if normal else empirical_grid(posterior.mean, depth)
    bits = published_bits(grid)
    symbols = choose(posterior, grid, bits, lmbda)
    z = grid.dequantise(symbols).astype(float)
    for a, g, b in np.ndindex(*posterior.shape):
        mean, std = float(posterior.mean[a, g, b]), float(posterior.std[a, g, b])
        cost = (z[a, g, b] - mean) ** 2 / (2 * std**2) + lmbda * bits[g, symbols[a, g, b]]
        wanted = searched(mean, std, grid.points[g].astype(float), bits[g], depth, lmbda)
        assert cost <= wanted * (1 + 1e-4) + 1e-4


def test_without_a_price_the_nearest_point_is_chosen():
    posterior = some(1, (1, 2, 500))
    grid = normal_grid(2, 8)
    z = grid.dequantise(choose(posterior, grid, published_bits(grid), 1e-12))
    nearest = np.abs(grid.points[None, :, None, :] - posterior.mean[..., None]).min(-1)
    np.testing.assert_allclose(np.abs(z - posterior.mean), nearest, atol=1e-6)


def test_at_a_high_price_everything_is_the_median():
    posterior = some(2, (3, 1, 50))
    grid = empirical_grid(posterior.mean)
    symbols = choose(posterior, grid, published_bits(grid), 1e12)
    assert (symbols == 0).all()
    assert grid.points[0, 0] == pytest.approx(np.median(posterior.mean), abs=1e-3)


def test_bits_fall_and_distortion_rises_with_the_price():
    posterior = some(3, (1, 1, 5000))
    grid = normal_grid(1, 10)
    bits = published_bits(grid)
    rates, errors = [], []
    for lmbda in 2.0 ** np.arange(-6, 6):
        symbols = choose(posterior, grid, bits, lmbda)
        rates.append(bits[0, symbols].mean())
        errors.append(np.square((grid.dequantise(symbols) - posterior.mean) / posterior.std).mean())
    assert (np.diff(rates) < 0).all() and (np.diff(errors) > 0).all()


def test_certain_latents_get_more_bits():
    mean = np.random.default_rng(4).normal(size=(1, 1, 20_000))
    grid = normal_grid(1, 12)
    bits = published_bits(grid)
    levels = []
    for std in (0.01, 0.04, 0.16):
        symbols = choose(Posterior.of(mean, np.full(mean.shape, std)), grid, bits, 1.0)
        levels.append(bits[0, symbols].mean())
    # up to four times as wide: about two bits fewer, and less where levels run out
    assert (np.diff(levels) < -1.2).all() and (np.diff(levels) > -2.3).all()


def test_measured_bits_take_the_place_of_levels():
    posterior = Posterior.of(np.full((1, 1, 1), 0.6), np.full((1, 1, 1), 0.5))
    grid = normal_grid(1, 6)
    bits = published_bits(grid)
    assert choose(posterior, grid, bits, 1.0)[0, 0, 0] == 0
    bits[0, 2] = 0.01  # the upper quartile, 0.67
    assert choose(posterior, grid, bits, 1.0)[0, 0, 0] == 2


@pytest.mark.parametrize("lmbda", [0, -1.0, float("nan"), float("inf"), True, "1", None, 1e-300])
def test_a_lmbda_that_is_no_price_is_refused(lmbda):
    posterior = some(5, (1, 1, 3))
    grid = normal_grid(1)
    with pytest.raises(InputError, match="lmbda"):
        choose(posterior, grid, published_bits(grid), lmbda)


def test_a_grid_of_other_groups_is_refused():
    with pytest.raises(InputError, match="groups"):
        choose(some(6, (1, 2, 3)), normal_grid(3), published_bits(normal_grid(3)), 1.0)
    with pytest.raises(InputError, match="groups"):
        uniform = PointGrid("uniform", np.ones((2, 2), np.float32))
        choose(some(6, (1, 2, 3)), uniform, np.ones((2, 1)), 1.0)


def test_extremes_of_mean_and_std_are_quantised_all_the_same():
    mean = np.array([[[-1e12, 1e12, 0, 1e-30]]])
    std = np.array([[[1e-12, 1e12, 1e12, 1e-12]]])
    grid = empirical_grid(mean.astype(np.float32), 8)
    for lmbda in (1e-12, 1.0, 1e12):
        symbols = choose(Posterior.of(mean, std), grid, published_bits(grid), lmbda)
        assert np.isfinite(grid.dequantise(symbols)).all()
