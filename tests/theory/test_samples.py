"""Estimates from samples, against what is known of the sources they were drawn from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.errors import InputError
from obverse.theory import (
    Banana,
    blahut_arimoto,
    density_of,
    gaussian_rate_bits,
    gaussian_wyner_ziv_rate_bits,
    grid_rd,
    joint_density_of,
    parallel_gaussians_rate_bits,
    squared_error,
    wasserstein_gd,
)
from obverse.theory.densities import symbols_of
from obverse.theory.sandwich import SandwichRecipe, sandwich
from obverse.theory.supremum import log_sum_of_bumps, supremum


def gaussian_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.normal(size=count)
    return y + math.sqrt(0.1) * rng.normal(size=count), y


# -- kernel densities ---------------------------------------------------------------------------------------


def test_density_keeps_mean_and_variance_and_gives_the_rate() -> None:
    x = np.random.default_rng(1).normal(2, 3, 20_000)
    grid, p = density_of(x, 300)
    assert p @ grid == pytest.approx(x.mean(), abs=1e-2)
    assert p @ grid**2 - (p @ grid) ** 2 == pytest.approx(x.var(), rel=1e-3)
    point = blahut_arimoto(p, squared_error(grid, grid), 1.0, 1e-4).point
    assert point.rate_bits == pytest.approx(gaussian_rate_bits(9, point.distortion), abs=0.02)


def test_joint_density_does_not_smear_a_strong_dependence() -> None:
    curve = grid_rd(*joint_density_of(*gaussian_pairs(20_000), 200, 100), [6.25, 14.0, 50.0])
    for point in curve.points:
        expected = gaussian_wyner_ziv_rate_bits(0.1, point.distortion)
        assert point.rate_bits == pytest.approx(expected, abs=0.03)


def test_joint_density_of_discrete_side_information() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 9000)
    x = 4.0 * y + rng.normal(size=9000)
    grid, joint = joint_density_of(x, y, 200)
    assert joint.shape == (len(grid), 3)
    np.testing.assert_allclose(joint.sum(0), np.bincount(y) / 9000, atol=1e-9)
    point = grid_rd(grid, joint, [2.0]).points[0]
    assert point.rate_bits == pytest.approx(gaussian_wyner_ziv_rate_bits(1.0, point.distortion), abs=0.04)


def test_pairs_that_are_none_are_refused() -> None:
    x, y = gaussian_pairs(200)
    for a, b, words in (
        (x, y[:-1], "199"),
        (x, np.zeros(200), "constant"),
        (np.where(x > 1, np.nan, x), y, "NaN"),
        (2 * y + 1, y, "linear function"),
        (x.astype(complex), y, "real numbers"),
        (x[:10], y[:10], "at least 50"),
    ):
        with pytest.raises(InputError, match=words):
            joint_density_of(a, b)
    with pytest.raises(InputError, match="more than the 64"):
        symbols_of(x)


# -- the supremum -------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 30), st.floats(0.2, 5), st.integers(0, 10**6))
def test_the_certified_supremum_is_above_every_value_and_tight(dims, count, slope, seed) -> None:
    rng = np.random.default_rng(seed)
    x, log_w = rng.normal(size=(count, dims)), rng.normal(size=count)
    top = supremum(x, log_w, slope, 1e-2)
    assert top.certified
    # float64 here, against float32 sums with their rounding added there
    z = np.concatenate([x, rng.normal(size=(2000, dims)), top.at[None]])
    exact = np.log(np.exp(log_w - slope * ((z[:, None] - x) ** 2).sum(2)).sum(1))
    assert exact.max() <= top.value <= exact[-1] + 2e-2
    np.testing.assert_allclose(log_sum_of_bumps(z, x, log_w, slope), exact, atol=1e-3)


def test_a_narrow_bump_far_from_the_others_is_found() -> None:
    x = np.concatenate([np.random.default_rng(0).normal(size=(500, 2)), [[40.0, 40.0]]])
    log_w = np.concatenate([np.full(500, -4.0), [2.0]])
    top = supremum(x, log_w, 1.0)
    np.testing.assert_allclose(top.at, [40, 40], atol=0.05)
    assert top.certified


def test_many_dimensions_are_not_certified() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5))
    assert not supremum(x, np.zeros(200), 1.0).certified


# -- bounds from samples ------------------------------------------------------------------------------------


def test_wasserstein_gd_on_a_gaussian_vector() -> None:
    x = np.random.default_rng(0).normal(size=(20_000, 2)) * [1.0, 0.5]
    found = wasserstein_gd(x, 2.0, particles=300, steps=60, batch=1000)
    expected = 2 * parallel_gaussians_rate_bits([1.0, 0.25], found.point.distortion / 2)
    assert found.point.rate_bits == pytest.approx(expected, abs=0.03 + 3 * found.standard_error_bits)
    assert found.standard_error_bits < 0.03
    assert math.isnan(found.point.lower_rate_bits)


def test_wasserstein_gd_is_near_blahut_arimoto_on_the_banana() -> None:
    points, p = Banana().grid(0.4, 1e-4)
    exact = blahut_arimoto(p, squared_error(points, points), 0.5, 5e-3, 100).point
    found = wasserstein_gd(Banana().sample(20_000, 0), 0.5, particles=400, steps=80, batch=1000)
    free = found.point.rate_bits + 0.5 * found.point.distortion / math.log(2)
    assert free == pytest.approx(exact.tangent_bits(0.0), abs=0.03 + 3 * found.standard_error_bits)


def test_sandwich_closes_on_a_gaussian() -> None:
    x = np.random.default_rng(0).normal(size=(120_000, 2)) * [1.0, 0.5]
    found = sandwich(x, 0.9, SandwichRecipe(steps=200, k=4096))
    expected = 2 * parallel_gaussians_rate_bits([1.0, 0.25], found.point.distortion / 2)
    assert found.certified
    assert found.point.rate_bits == pytest.approx(expected, abs=0.05)
    assert found.point.lower_rate_bits == pytest.approx(expected, abs=0.05)
    assert found.point.lower_rate_bits <= expected + 2 * found.lower_error_bits
    assert found.point.rate_bits >= expected - 2 * found.upper_error_bits


def test_sandwich_encloses_blahut_arimoto_on_the_banana() -> None:
    points, p = Banana().grid(0.4, 1e-4)
    exact = blahut_arimoto(p, squared_error(points, points), 0.5, 5e-3, 100).point
    found = sandwich(Banana().sample(40_000, 0), 0.5, SandwichRecipe(steps=250, k=2048))
    at = found.point.distortion
    assert found.certified
    assert found.point.lower_rate_bits - 2 * found.lower_error_bits <= exact.tangent_bits(at)
    assert exact.tangent_bits(at) <= found.point.rate_bits + 2 * found.upper_error_bits
    assert found.point.rate_bits - found.point.lower_rate_bits < 0.25


def test_sandwich_repeats_and_leaves_torch_alone() -> None:
    import torch

    x = np.random.default_rng(0).normal(size=(2000, 4))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (sandwich(x, 0.6, SandwichRecipe(steps=10, k=256)) for _ in range(2))
    assert first == second and not first.certified
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("estimate", [wasserstein_gd, sandwich])
@pytest.mark.parametrize(
    "samples, words",
    [
        (np.ones(500), "same"),
        (np.full((500, 2), np.nan), "NaN"),
        (np.zeros(3), "at least"),
        (np.zeros((2, 2, 2)), "must be"),
        (np.array(["a"] * 500), "real numbers"),
    ],
)
def test_samples_that_cannot_be_used_are_refused(estimate, samples, words) -> None:
    with pytest.raises(InputError, match=words):
        estimate(samples, 1.0)
