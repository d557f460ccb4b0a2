"""Trellis-coded quantisation: it finds the best path, its path can be walked again, its gain is the published one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from obverse.errors import InputError
from obverse.quantization.trellis import CODES, Trellis


@pytest.mark.parametrize(("dimensions", "states"), CODES)
def test_branches_lead_along_the_points(dimensions, states):
    trellis = Trellis.of(states, dimensions)
    x = np.random.default_rng(1).normal(size=301) * 5
    first, branches, points = trellis.quantise(x)
    assert branches.size == trellis.steps(x.size)
    assert 0 <= first < states
    assert np.array_equal(trellis.low(first, branches, x.size), points % trellis.modulus)
    assert np.abs(x - points).max() < 2 * trellis.modulus


@pytest.mark.parametrize("dimensions", [1, 2])
def test_no_path_is_better(dimensions):
    """Against every path through a small trellis."""
    trellis = Trellis.of(4, dimensions)
    x = np.random.default_rng(2).uniform(-3, 3, 6 * dimensions)
    points = trellis.quantise(x)[2]
    least = np.inf
    for first in range(4):
        for path in itertools.product([0, 1], repeat=6):
            low = trellis.low(first, np.array(path, np.uint8), x.size)
            nearest = low + trellis.modulus * np.round((x - low) / trellis.modulus)
            least = min(least, np.sum((x - nearest) ** 2))
    assert np.sum((x - points) ** 2) == pytest.approx(least)


# Marcellin and Fischer 1990 (uniform source), Ungerboeck codes: 0.99, 1.09, 1.16, 1.22, 1.27, 1.31, 1.33 dB
@pytest.mark.parametrize(("states", "gain"), [(4, 0.99), (8, 1.09), (32, 1.22), (256, 1.33)])
def test_granular_gain(states, gain):
    trellis = Trellis.of(states)
    x = np.random.default_rng(3).uniform(-100, 100, 40_000)
    error = np.mean((x - trellis.quantise(x)[2]) ** 2)
    assert 10 * np.log10(trellis.volume**2 / 12 / error) == pytest.approx(gain, abs=0.03)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_more_states_gain_more(dimensions):
    x = np.random.default_rng(4).uniform(-100, 100, 20_000)
    errors = [np.mean((x - Trellis.of(s, dimensions).quantise(x)[2]) ** 2) for s in (4, 16, 64, 256, 1024)]
    assert errors == sorted(errors, reverse=True)


@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.sampled_from([1, 2]))
def test_any_numbers(values, dimensions):
    trellis = Trellis.of(8, dimensions)
    x = np.array(values, float)
    first, branches, points = trellis.quantise(x)
    assert points.shape == x.shape
    assert np.array_equal(trellis.low(first, branches, x.size), points % trellis.modulus)
    assert np.abs(x - points).max(initial=0) <= 2 * trellis.modulus


@pytest.mark.parametrize("x", [[np.nan], [np.inf], [1e30], np.zeros((2, 2))])
def test_what_cannot_be_quantised(x):
    with pytest.raises(InputError):
        Trellis.of(8).quantise(x)


def test_trellises_that_there_are_not():
    with pytest.raises(InputError):
        Trellis.of(7)
    with pytest.raises(InputError):
        Trellis.of(8, 3)
