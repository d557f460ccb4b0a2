"""Scalar Wyner-Ziv designs on a grid: the scores are right, the iteration falls, binning is found."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from obverse.codecs.wyner_ziv.grid_design import (
    JointGrid,
    count_intervals,
    default_widths,
    design,
    entropy_bits,
    evaluate,
    lloyd,
    periodic_labels,
    residual_deviation,
)
from obverse.errors import InputError

VARIANCE = 0.1
SIGMA = math.sqrt(VARIANCE)


def gaussian(cells: int = 1200, points: int = 600) -> JointGrid:
    def density(x, y):
        return np.exp(-(y**2) / 2 - (x - y) ** 2 / (2 * VARIANCE))

    return JointGrid.of_density(density, (-6.5, 6.5), (-6, 6), cells, points)


@pytest.fixture(scope="module")
def grid() -> JointGrid:
    return gaussian()


def test_no_information_sent_leaves_the_residual_variance(grid):
    labels = np.zeros(len(grid.x), np.int64)
    score = evaluate(grid, labels, grid.y[None], 1)
    assert score.mse == pytest.approx(VARIANCE, rel=1e-3)
    assert abs(score.marginal_bits) < 1e-9 and abs(score.conditional_bits) < 1e-9
    assert score.intervals.tolist() == [1]


def test_score_agrees_with_samples(grid):
    labels = periodic_labels(grid.x, 0.6, 0.3, 4)
    found = lloyd(grid, labels, 4, "marginal", 30.0, iterations=0)
    rng = np.random.default_rng(1)
    y = rng.normal(size=400_000)
    x = y + SIGMA * rng.normal(size=y.size)
    u = labels[((x - grid.x[0]) / grid.cell).round().astype(int)]
    at = ((y - grid.y[0]) / (grid.y[1] - grid.y[0])).round().astype(int)
    error = np.mean((x - found.reconstruction[u, at]) ** 2)
    assert found.score.mse == pytest.approx(error, rel=0.02)
    assert found.score.marginal_bits == pytest.approx(entropy_bits(np.bincount(u) / u.size), abs=0.01)


def test_fine_uniform_quantiser_costs_a_quarter_of_a_bit(grid):
    # conditional entropy of a uniform quantiser with all its indices: log2(2 pi e / 12) / 2 above the limit
    labels = np.floor((grid.x + 7) / 0.2).astype(np.int64)
    found = lloyd(grid, labels, int(labels.max()) + 1, "conditional", 6 / 0.2**2, iterations=0)
    gap = found.score.conditional_bits - 0.5 * math.log2(VARIANCE / found.score.mse)
    assert gap == pytest.approx(0.5 * math.log2(2 * math.pi * math.e / 12), abs=0.004)


@pytest.mark.parametrize("objective", ["marginal", "conditional"])
def test_every_iteration_lowers_the_cost(grid, objective):
    labels = np.random.default_rng(3).integers(4, size=40).repeat(30)
    costs = [lloyd(grid, labels, 4, objective, 40.0, iterations=n).cost for n in (0, 1, 2, 4, 8, 30)]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(costs))
    assert costs[-1] < costs[0] - 0.1


@pytest.mark.parametrize(("indices", "mse", "gap"), [(2, 0.0622, 0.66), (4, 0.02435, 0.98)])
def test_marginal_designs_are_the_known_ones(grid, indices, mse, gap):
    lmbda = 1 / mse
    widths = default_widths(SIGMA, indices, "marginal", lmbda, 3)
    found = design(grid, indices, "marginal", lmbda, widths, phases=1, random_starts=0)
    assert found.score.mse == pytest.approx(mse, rel=0.02)
    rate = found.score.marginal_bits
    assert rate - 0.5 * math.log2(VARIANCE / found.score.mse) == pytest.approx(gap, abs=0.01)
    assert (found.score.intervals >= 3).all()  # binning


def test_conditional_design_is_the_known_one(grid):
    lmbda = 1 / (2 * 0.01004)
    found = design(grid, 14, "conditional", lmbda, default_widths(SIGMA, 14, "conditional", lmbda, 2), 1, 0)
    gap = found.score.conditional_bits - 0.5 * math.log2(VARIANCE / found.score.mse)
    assert gap == pytest.approx(0.2545, abs=0.004)


def test_density_from_samples_is_close_to_the_true_one():
    rng = np.random.default_rng(4)
    y = rng.normal(size=200_000)
    x = y + SIGMA * rng.normal(size=y.size)
    assert residual_deviation(x, y, False) == pytest.approx(SIGMA, rel=0.03)
    estimated = JointGrid.of_samples(x, y, 1200, 600)
    assert estimated.p.sum() == pytest.approx(1) and (estimated.p >= 0).all()
    labels = periodic_labels(estimated.x, 0.57, 0.0, 4)
    curves = lloyd(estimated, labels, 4, "marginal", 40.0, iterations=0).reconstruction
    assert evaluate(estimated, labels, curves, 4).mse == pytest.approx(0.0246, rel=0.06)


def test_discrete_side_information_keeps_its_values():
    rng = np.random.default_rng(5)
    y = rng.integers(3, size=20_000)
    x = 4.0 * y + rng.normal(size=y.size)
    estimated = JointGrid.of_samples(x, y, 600, 100)
    assert estimated.y.tolist() == [0, 1, 2] and estimated.p.shape == (600, 3)
    assert residual_deviation(x, y, True) == pytest.approx(1.0, rel=0.03)


def test_intervals_without_probability_do_not_count(grid):
    labels = (np.abs(grid.x) > 5.9).astype(np.int64)
    assert count_intervals(grid, labels, 2).tolist() == [1, 0]
    labels = (np.abs(grid.x) > 1).astype(np.int64)
    assert count_intervals(grid, labels, 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("indices", "objective", "lmbda"),
    [
        (1, "marginal", 1.0),
        (300, "marginal", 1.0),
        (4, "joint", 1.0),
        (4, "marginal", 0.0),
        (4, "marginal", math.nan),
    ],
)
def test_what_cannot_be_designed_is_refused(grid, indices, objective, lmbda):
    with pytest.raises(InputError):
        design(grid, indices, objective, lmbda, [0.5])


def test_a_design_needs_a_start(grid):
    with pytest.raises(InputError, match="start"):
        design(grid, 4, "marginal", 1.0, [], random_starts=0)
