"""Entropy-constrained quantisation against closed forms and against trying everything."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.quantization.entropy_constrained import (
    MOST_LEVELS,
    SHIFT_UNIT,
    SortedSamples,
    curve,
    design,
    slope,
    step_of,
)


def samples(kind: str, n: int = 40_000) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=n) if kind == "gaussian" else rng.laplace(size=n)


def test_fine_steps_follow_theory():
    """D = step^2 / 12 or step / 4, R = h - log2(step)."""
    x = SortedSamples.of(samples("gaussian"))
    steps = np.array([0.1, 0.2])
    entropy = 0.5 * math.log2(2 * math.pi * math.e)
    for absolute, expected in ((False, steps**2 / 12), (True, steps / 4)):
        rates, distortions = curve(x, steps, absolute)
        np.testing.assert_allclose(distortions, expected, rtol=0.02)
        np.testing.assert_allclose(rates, entropy - np.log2(steps), atol=0.02)
    assert step_of(slope(0.3, False), False) == pytest.approx(0.3)
    assert step_of(slope(0.3, True), True) == pytest.approx(0.3)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
@pytest.mark.parametrize("absolute", [False, True])
def test_better_than_rounding(kind, absolute):
    """At low rates thresholds and centroids that know the cost of bits save both."""
    values = samples(kind)
    x = SortedSamples.of(values)
    steps = np.array([1.5, 2.0, 3.0])
    rates, distortions = curve(x, steps, absolute)
    for step, rate, distortion in zip(steps, rates, distortions, strict=True):
        symbols = np.floor(values / step + 0.5)
        error = np.abs(values - symbols * step)
        plain = error.mean() if absolute else np.square(error).mean()
        p = np.unique(symbols, return_counts=True)[1] / len(values)
        bits = -(p * np.log2(p)).sum()
        lmbda = slope(step, absolute)
        assert distortion + lmbda * rate < plain + lmbda * bits


@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=60),
    st.floats(0.2, 20),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_what_is_reported_is_what_the_levels_do(values, step, absolute):
    x = SortedSamples.of(values)
    lmbda = slope(step, absolute)
    found = design(x, step, lmbda, absolute)
    assert found.counts.sum() == len(values) and (np.abs(found.shifts) <= 127).all()
    k = found.low + np.repeat(np.arange(len(found.counts)), found.counts)
    levels = (k + found.shifts[np.clip(k, -2, 2) + 2] / SHIFT_UNIT) * step
    error = np.abs(x.values - levels)
    measured = error.mean() if absolute else np.square(error).mean()
    # shifts are rounded to 256ths of the step
    assert measured == pytest.approx(found.distortion, abs=(0.01 if absolute else 0.02 * step) * step * 2)


def test_outliers_take_an_escape():
    """One sample far away must not cost all others their levels."""
    values = np.append(samples("gaussian"), [1e9, -1e7])
    x = SortedSamples.of(values)
    rates, distortions = curve(x, np.array([0.2]), False)
    plain = curve(SortedSamples.of(values[:-2]), np.array([0.2]), False)
    assert rates[0] == pytest.approx(plain[0][0], rel=0.01) and distortions[0] == pytest.approx(
        plain[1][0], rel=0.01
    )
    found = design(x, 0.2, slope(0.2, False), False)
    assert found.outside == 2 and found.counts.sum() + found.outside == len(values)
    assert len(found.counts) < 60


def test_too_many_levels_are_told():
    x = SortedSamples.of([0.0, 1.0, 0.5])
    rates, distortions = curve(x, np.array([0.5 / MOST_LEVELS, 1.0]), False)
    assert np.isinf(rates[0]) and np.isinf(distortions[0])
    assert np.isfinite(rates[1]) and np.isfinite(distortions[1])


def test_spread():
    assert SortedSamples.of([-1.0, 3.0]).spread(absolute=True) == 2
    assert SortedSamples.of([-1.0, 3.0]).spread(absolute=False) == 5
    assert SortedSamples.of([]).spread(absolute=False) == 0
