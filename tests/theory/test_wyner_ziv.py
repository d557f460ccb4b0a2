"""Wyner-Ziv rates against the two closed forms, and between the bounds everywhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from obverse.errors import InputError
from obverse.theory import (
    binary_wyner_ziv_rate_bits,
    blahut_arimoto,
    conditional_blahut_arimoto,
    discretise_pair,
    gaussian_wyner_ziv_rate_bits,
    grid_rate_bits,
    grid_rd,
    hamming,
    point_at_distortion,
    squared_error,
    wyner_ziv,
    wyner_ziv_auxiliary,
    wyner_ziv_squared_error,
)

DSBS = np.array([[0.375, 0.125], [0.125, 0.375]])
X, Y = np.linspace(-5, 5, 200), np.linspace(-4.2, 4.2, 100)


def test_doubly_symmetric_binary() -> None:
    point = point_at_distortion(lambda s: wyner_ziv(DSBS, hamming(2), s).point, 0.0796, 2.0)
    assert point.rate_bits == pytest.approx(0.467784, abs=1e-4)
    assert point.rate_bits == pytest.approx(binary_wyner_ziv_rate_bits(0.25, 0.0796), abs=2e-6)
    assert point.rate_bits - point.lower_rate_bits < 1e-5


@pytest.mark.parametrize("distortion", [0.1, 0.15, 0.22])
def test_time_sharing_line(distortion: float) -> None:
    # one slope has all distortions of the straight piece, so the search has to stop on a chord
    point = point_at_distortion(lambda s: wyner_ziv(DSBS, hamming(2), s).point, distortion, 2.0)
    assert point.rate_bits == pytest.approx(binary_wyner_ziv_rate_bits(0.25, distortion), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float64, (3, 2), elements=st.floats(0.02, 1)),
    hnp.arrays(np.float64, (3, 3), elements=st.floats(0, 2)),
    st.floats(0.3, 10),
)
def test_between_conditional_and_unconditional(weights, distortion, slope) -> None:
    joint = weights / weights.sum()
    point = wyner_ziv(joint, distortion, slope, 1e-5).point
    level = 0.0  # compare min R + s D, in bits
    both = conditional_blahut_arimoto(joint, distortion, slope).point.tangent_bits(level)
    none = blahut_arimoto(joint.sum(1), distortion, slope).point.tangent_bits(level)
    assert both - 1e-4 <= point.tangent_bits(level) <= none + 1e-4
    few = wyner_ziv_auxiliary(joint, distortion, slope, restarts=2).point
    achieved = few.rate_bits + slope * few.distortion / np.log(2)
    assert achieved >= point.tangent_bits(level) - 1e-6


def test_few_letters_reach_the_optimum_of_the_binary_source() -> None:
    every, few = wyner_ziv(DSBS, hamming(2), 2.0), wyner_ziv_auxiliary(DSBS, hamming(2), 2.0, letters=3)
    assert few.point.rate_bits == pytest.approx(every.point.rate_bits, abs=1e-4)
    assert few.point.lower_rate_bits < every.point.lower_rate_bits  # the conditional bound is loose here
    assert few.channel.shape == (2, 3) and few.decoder.shape == (3, 2)
    np.testing.assert_allclose(few.channel.sum(1), 1)


@pytest.mark.parametrize("distortion", [0.08, 0.0354, 0.01])
@pytest.mark.parametrize("model", ["x = y + n", "y = x + n"])
def test_quadratic_gaussian(distortion: float, model: str) -> None:
    if model == "x = y + n":
        variance = 0.1
        joint = discretise_pair(lambda x, y: np.exp(-(y**2) / 2 - (x - y) ** 2 / 0.2), X, Y)
    else:
        variance = 0.1 / 1.1
        joint = discretise_pair(lambda x, y: np.exp(-(x**2) / 2 - (x - y) ** 2 / 0.2), X, Y)
    rate = grid_rate_bits(X, joint, distortion)
    assert rate == pytest.approx(gaussian_wyner_ziv_rate_bits(variance, distortion), abs=0.01)


def test_laplacian_noise_is_between_the_bounds_and_any_start_ends_there() -> None:
    joint = discretise_pair(lambda x, y: np.exp(-(y**2) / 2 - np.abs(x - y) / 0.2236), X, Y)
    found = wyner_ziv_squared_error(X, joint, 25.0)
    unconditional = blahut_arimoto(joint.sum(1), squared_error(X, X), 25.0, 1e-4).point
    assert found.point.lower_rate_bits <= found.point.rate_bits <= found.point.lower_rate_bits + 0.03
    assert found.point.rate_bits < unconditional.rate_bits - 1
    more = wyner_ziv_squared_error(X, joint, 25.0, letters=90, bound=False)
    assert more.point.tangent_bits(0.0) != more.point.tangent_bits(0.0)  # no bound was asked for
    first, second = (p.rate_bits + 25 * p.distortion / np.log(2) for p in (found.point, more.point))
    assert first == pytest.approx(second, abs=1e-3)


def test_independent_side_information_is_no_help() -> None:
    x = np.linspace(-5, 5, 120)
    joint = discretise_pair(lambda x, y: np.exp(-(x**2) / 2) * np.exp(-(y**2) / 2), x, np.linspace(-3, 3, 20))
    curve = grid_rd(x, joint, [2.0, 8.0])
    for point in curve.points:
        assert point.rate_bits == pytest.approx(gaussian_wyner_ziv_rate_bits(1.0, point.distortion), abs=0.01)


def test_what_cannot_be_solved_is_refused() -> None:
    with pytest.raises(InputError, match="strategies"):
        wyner_ziv(np.full((4, 8), 1 / 32), hamming(4), 1.0)
    with pytest.raises(InputError, match="probability 0"):
        wyner_ziv(np.array([[0.5, 0.0], [0.5, 0.0]]), hamming(2), 1.0)
    with pytest.raises(InputError, match="at least one letter"):
        wyner_ziv_auxiliary(DSBS, hamming(2), 1.0, letters=0)
    with pytest.raises(InputError, match="finite numbers"):
        wyner_ziv_squared_error([0.0, np.nan], DSBS, 1.0)
    with pytest.raises(InputError, match="above 0"):
        grid_rate_bits([0.0, 1.0], DSBS, 0.0)
