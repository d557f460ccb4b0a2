"""The baselines: uniform and k-means quantisation."""

import math

import numpy as np
import pytest

from obverse.codecs.plug_and_play.baselines import nearest_multiple, typical_std, uniform_grid
from obverse.codecs.plug_and_play.k_means import k_means_grid, nearest_centre
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.errors import InputError


def posterior(seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    std = np.array([0.1, 0.4])[None, :, None] * np.ones((50, 2, 40))
    return Posterior.of(rng.normal(0, 2, std.shape), std)


def test_a_bit_less_costs_lmbda_where_steps_are_fine():
    p = posterior()
    lmbda = 0.05
    steps = uniform_grid(p, lmbda, scaled=True).parameters[:, 1]
    np.testing.assert_allclose(steps[1] / steps[0], 4, rtol=1e-5)
    # the slope of s^2 / 24 / std^2 over -log2 s
    slope = steps.astype(float) ** 2 / 12 * math.log(2) / np.array([0.1, 0.4]) ** 2
    np.testing.assert_allclose(slope, lmbda, rtol=1e-5)


def test_without_scaling_all_groups_have_one_step():
    steps = uniform_grid(posterior(), 1.0).parameters[:, 1]
    assert steps[0] == steps[1]
    assert typical_std(posterior(), False)[0] == pytest.approx(1 / math.sqrt((100 + 6.25) / 2))


def test_means_go_to_the_nearest_multiple():
    p = posterior()
    grid = uniform_grid(p, 0.3)
    z = grid.dequantise(nearest_multiple(p.mean, grid))
    assert np.abs(z - p.mean).max() <= grid.parameters[0, 1] / 2 * 1.0001


def test_a_step_that_is_too_small_is_refused():
    p = Posterior.of(np.full((1, 1, 2), 1e9), np.full((1, 1, 2), 1e-10))
    with pytest.raises(InputError, match="raise lmbda"):
        nearest_multiple(p.mean, uniform_grid(p, 1e-6))


def test_means_go_to_the_nearest_centre():
    p = posterior()
    grid = k_means_grid(p, 0.3)
    symbols = nearest_centre(p.mean, grid)
    distance = np.abs(grid.parameters[None, :, None, :] - p.mean[..., None])
    chosen = np.take_along_axis(distance, symbols[..., None], -1)[..., 0]
    np.testing.assert_allclose(chosen, distance.min(-1), atol=1e-6)


def test_finer_prices_make_more_centres():
    counts = [k_means_grid(posterior(), lmbda).count for lmbda in (0.1, 1.0, 10.0)]
    assert counts[0] > counts[1] > counts[2] >= 2
