"""Limits of samples, against the limits of the sources that they were drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from obverse.errors import InputError
from obverse.theory import (
    RateDistortionCurve,
    RateDistortionPoint,
    blahut_arimoto,
    curve_at_slopes,
    discretise,
    discretise_pair,
    gaussian_rate_bits,
    gaussian_wyner_ziv_rate_bits,
    joint_density_of,
    laplace_rate_bits,
    limit_of_pairs,
    limit_of_scalars,
    squared_error,
    wyner_ziv_squared_error,
)
from obverse.theory.curves import NATS_PER_BIT
from obverse.theory.mixtures import fit_density
from obverse.theory.sample_limits import divergence_bits

Pairs = tuple[np.ndarray, np.ndarray]


def bell(z: np.ndarray, deviation: float) -> np.ndarray:
    return np.exp(-((z / deviation) ** 2) / 2) / deviation


def gaussian(n: int, rng: np.random.Generator) -> Pairs:
    y = rng.normal(size=n)
    return y + math.sqrt(0.1) * rng.normal(size=n), y


def mixture(n: int, rng: np.random.Generator) -> Pairs:
    """Noise of three widths: no one width of a kernel suits them."""
    y = rng.normal(size=n)
    return y + rng.choice([0.05, 0.2, 1.0], size=n, p=[0.5, 0.3, 0.2]) * rng.normal(size=n), y


def magnitude(n: int, rng: np.random.Generator) -> Pairs:
    """Y = |X| + N: two sharp branches, and no line through them."""
    x = rng.normal(size=n)
    return x, np.abs(x) + 0.1 * rng.normal(size=n)


def laplacian(n: int, rng: np.random.Generator) -> Pairs:
    y = rng.normal(size=n)
    return y + rng.laplace(scale=math.sqrt(0.05), size=n), y


DENSITIES: dict[
    Callable[[int, np.random.Generator], Pairs], Callable[[np.ndarray, np.ndarray], np.ndarray]
] = {
    gaussian: lambda x, y: bell(y, 1) * bell(x - y, math.sqrt(0.1)),
    mixture: lambda x, y: (
        bell(y, 1) * (0.5 * bell(x - y, 0.05) + 0.3 * bell(x - y, 0.2) + 0.2 * bell(x - y, 1.0))
    ),
    magnitude: lambda x, y: bell(x, 1) * bell(y - np.abs(x), 0.1),
    laplacian: lambda x, y: bell(y, 1) * np.exp(-np.abs(x - y) / math.sqrt(0.05)),
}


def true_point(source: Callable[..., Pairs], slope: float) -> RateDistortionPoint:
    """Of the density itself, on a fine grid."""
    x, y = np.linspace(-5, 5, 560), np.linspace(-4, 4.6, 130)
    joint = discretise_pair(DENSITIES[source], x, y)
    rows, columns = joint.sum(1) > 1e-12, joint.sum(0) > 1e-12
    joint = joint[np.ix_(rows, columns)]
    return wyner_ziv_squared_error(
        x[rows], joint / joint.sum(), slope, tolerance_bits=2e-5, bound=False
    ).point


@pytest.mark.slow
@pytest.mark.parametrize("source", DENSITIES)
def test_limits_of_pairs_are_near_the_truth_and_bracket_it(source) -> None:
    x, y = source(30_000, np.random.default_rng(1))
    found = limit_of_pairs(x, y, rates_bits=(0.5, 1.5, 2.5), around=False)
    for near, point in zip(found.curve.points, found.bracket.points, strict=True):
        truth = true_point(source, point.slope_nats)

        def on_tangent(p: RateDistortionPoint, at: RateDistortionPoint = point) -> float:
            return p.rate_bits - at.slope_nats * (at.distortion - p.distortion) / NATS_PER_BIT

        assert on_tangent(near) == pytest.approx(on_tangent(truth), abs=0.04)
        assert point.lower_rate_bits <= on_tangent(truth) + 1e-3
        assert on_tangent(truth) - 1e-3 <= point.rate_bits <= on_tangent(truth) + 0.15
    assert found.gaussian == (source is gaussian)


@pytest.mark.slow
def test_a_code_that_exists_is_never_below_the_bracket() -> None:
    """Scalar quantisers with ideal Slepian-Wolf coding, of |x| + noise: one of them takes 0.55 bit less than a kernel
    density allowed."""
    x, y = magnitude(100_000, np.random.default_rng(2))
    bracket = limit_of_pairs(x[:30_000], y[:30_000], rates_bits=(0.5, 2.0, 3.5), around=False).bracket
    for width in (4.0, 0.4, 0.2, 0.1):
        index = np.floor(x / width).astype(int)
        index -= index.min()
        # the receiver's table of the index for each of 400 values of y: made of one half, priced on the other
        place = np.searchsorted(np.quantile(y, np.arange(1, 400) / 400), y)
        half = np.arange(len(x)) % 2 == 0
        table = np.full((400, index.max() + 1), 1e-3)
        np.add.at(table, (place[half], index[half]), 1)
        sums = np.zeros_like(table)
        np.add.at(sums, (place[half], index[half]), x[half])
        chosen = place[~half], index[~half]
        rate = -np.log2((table / table.sum(1, keepdims=True))[chosen]).mean()
        distortion = np.mean((x[~half] - (sums / table)[chosen]) ** 2)
        assert rate > bracket.lower_rate_bits_at(distortion)


def test_gaussian_pairs_are_known_as_such_at_every_rate() -> None:
    """Rates beyond what a grid resolves, too."""
    found = limit_of_pairs(
        *gaussian(20_000, np.random.default_rng(3)), rates_bits=(1.0, 6.0, 9.0), around=False
    )
    assert found.gaussian and found.residual_variance == pytest.approx(0.1, rel=0.03)
    for point in found.bracket.points:
        truth = gaussian_wyner_ziv_rate_bits(0.1, point.distortion)
        assert point.lower_rate_bits <= truth <= point.rate_bits
        assert point.rate_bits - point.lower_rate_bits < 0.08
        assert found.curve.estimate_bits_at(point.distortion * 1.0001) == pytest.approx(truth, abs=0.03)


def test_side_information_of_a_few_symbols() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 12_000)
    x = 4.0 * y + np.array([0.5, 1.0, 2.0])[y] * rng.normal(size=12_000)
    found = limit_of_pairs(x, y, rates_bits=(2.0,), around=False)
    (point,) = found.bracket.points
    # reverse water-filling with all variances above the level: the mean of the three rates
    truth = np.mean([gaussian_rate_bits(v, point.distortion) for v in (0.25, 1.0, 4.0)])
    assert point.lower_rate_bits <= truth <= point.rate_bits < truth + 0.1
    assert found.curve.points[0].rate_bits == pytest.approx(truth, abs=0.04)


def test_scalars_with_narrow_parts() -> None:
    """Three narrow bumps far apart: a kernel of the width of all makes one broad hill of them."""
    rng = np.random.default_rng(4)
    x = rng.choice([-2.0, 0.0, 1.5], size=20_000) + 0.02 * rng.normal(size=20_000)
    found = limit_of_scalars(x, rates_bits=(1.0, 2.0, 4.0))

    def density(v: np.ndarray) -> np.ndarray:
        return sum(bell(v - centre, 0.02) for centre in (-2.0, 0.0, 1.5))

    grid, p = discretise(density, -2.2, 1.7, 1500)
    for point in found.bracket.points:
        truth = blahut_arimoto(p, squared_error(grid, grid), point.slope_nats, 1e-3).point
        at = truth.tangent_bits(point.distortion)
        assert point.lower_rate_bits <= at + 1e-3 and at - 1e-3 <= point.rate_bits < at + 0.06


def test_scalars_with_absolute_error() -> None:
    x = np.random.default_rng(5).laplace(size=20_000)
    found = limit_of_scalars(x, "abs", rates_bits=(0.5, 2.0, 3.0))
    for point in found.bracket.points:
        truth = laplace_rate_bits(1.0, point.distortion)
        assert point.lower_rate_bits <= truth + 0.005 and truth - 0.005 <= point.rate_bits < truth + 0.12


def test_rounded_numbers_are_as_before_beyond_their_step() -> None:
    rng = np.random.default_rng(6)
    y = rng.normal(size=20_000)
    x = np.round(20 * (y + math.sqrt(0.1) * rng.normal(size=y.size))) / 20
    found = limit_of_pairs(x, y, rates_bits=(1.0,), around=False)
    (point,) = found.bracket.points
    assert point.lower_rate_bits <= gaussian_wyner_ziv_rate_bits(0.1, point.distortion) <= point.rate_bits


def test_a_mixture_is_as_likely_as_the_density_itself() -> None:
    rng = np.random.default_rng(7)
    x, y = mixture(20_000, rng)
    fresh, side = mixture(20_000, rng)
    density = fit_density(x, y, None)
    noise = fresh - side
    exact = np.log(
        sum(w * bell(noise, s) / math.sqrt(2 * math.pi) for w, s in ((0.5, 0.05), (0.3, 0.2), (0.2, 1.0)))
    )
    assert density.log_density(fresh, side).mean() == pytest.approx(exact.mean(), abs=0.01)
    # the other views of it agree with that one
    grid = np.linspace(-6, 6, 4001)
    cells = density.cells(grid, side[:5])
    np.testing.assert_allclose(cells.sum(1), 1)
    np.testing.assert_allclose(
        cells[2] / (grid[1] - grid[0]), np.exp(density.log_density(grid, np.full(4001, side[2]))), atol=0.03
    )
    u = density.distribution_at(fresh, side)
    assert divergence_bits(u, side) < 0.01
    guess = density.expectation(fresh + 0.3 * rng.normal(size=len(fresh)), side, 0.09)
    assert np.mean((guess - fresh) ** 2) < 0.9 * 0.09


def test_what_a_density_misses_shows_in_samples_kept_out() -> None:
    x, y = magnitude(20_000, np.random.default_rng(8))
    u = np.argsort(np.argsort(x - 0.5 * y)) / len(x)  # uniform, but not given y
    assert divergence_bits(u, y) > 0.5
    assert divergence_bits(np.random.default_rng(9).random(20_000), y) < 0.01


def test_between_points_an_estimate_follows_the_slopes() -> None:
    grid, p = discretise(lambda v: np.exp(-np.abs(v)), -12, 12, 301)
    d = squared_error(grid, grid)

    def solve(slope: float) -> RateDistortionPoint:
        return blahut_arimoto(p, d, slope, 1e-5).point

    curve = curve_at_slopes("R(D)", solve, [0.35, 1.0, 3.0])
    between = solve(1.7)
    assert curve.estimate_bits_at(between.distortion) == pytest.approx(between.rate_bits, abs=0.003)
    assert curve.rate_bits_at(between.distortion) > between.rate_bits + 0.02
    formula = RateDistortionCurve.of_formula("R(D)", lambda v: gaussian_rate_bits(1, v), [0.01, 0.1, 1])
    assert formula.estimate_bits_at(0.03) == pytest.approx(gaussian_rate_bits(1, 0.03))
    with pytest.raises(InputError, match="begins at"):
        formula.estimate_bits_at(0.001)


def test_densities_on_a_grid_are_probabilities() -> None:
    grid, joint = joint_density_of(*magnitude(5000, np.random.default_rng(0)), 200, 60)
    assert joint.shape[0] == len(grid) <= 200 and joint.shape[1] <= 60
    assert joint.sum() == pytest.approx(1) and (joint >= 0).all() and (joint.sum(1) > 0).all()


def test_a_curve_through_a_distortion_has_points_on_both_sides_of_it() -> None:
    x, y = magnitude(5000, np.random.default_rng(0))
    found = limit_of_pairs(x, y, distortions=[0.05], through=0.05, around=False)
    distortions = found.curve.distortion
    assert distortions[0] < 0.05 < distortions[-1]
    assert np.abs(np.log(distortions / 0.05)).min() < 0.3
