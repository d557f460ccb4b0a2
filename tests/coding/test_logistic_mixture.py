"""Mixtures of discretised logistics: closed form, round trips, any bits can be popped."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.coding import LogisticMixtures, Message
from obverse.coding.logistic_mixture import (
    EXPONENTIAL,
    FRACTION,
    INVERSE_SCALE,
    SIGMOID,
    WEIGHT_TOTAL,
    nearest_scale,
    scale_of,
    weights_of,
)
from obverse.errors import MessageEmptyError, TableError


def mixtures(n, components, seed, low=0, high=255, edges=None):
    rng = np.random.default_rng(seed)
    return LogisticMixtures(
        weights_of(rng.integers(-60, 60, (n, components))),
        rng.integers(low * FRACTION - 200, high * FRACTION + 200, (n, components)),
        rng.integers(0, 160, (n, components)),
        low, high, edges,
    )  # fmt: skip


def test_probabilities_are_those_of_the_formula():
    m = mixtures(50, 3, 0)
    w, mean, s = m.weights / WEIGHT_TOTAL, m.means / FRACTION, scale_of(m.scales)
    values = np.arange(256)
    with np.errstate(over="ignore"):
        cdf = (w[..., None] / (1 + np.exp((mean[..., None] - (values - 0.5)) / s[..., None]))).sum(1)
    cdf[:, 0] = 0
    p = np.diff(cdf, axis=1, append=1.0)
    bits = np.stack([m.bits(np.full(50, v)) for v in values], axis=1)
    assert np.abs(2.0**-bits - p).max() < 3e-4
    np.testing.assert_allclose((2.0**-bits).sum(1), 1, rtol=1e-12)
    kl = (p * (np.log2(np.maximum(p, 1e-30)) + bits)).sum(1)  # what the integers cost
    assert kl.max() < 1e-3


def test_the_tables_are_those_that_files_were_written_with():
    digests = [
        hashlib.sha256(t.astype("<i8").tobytes()).hexdigest()[:16]
        for t in (SIGMOID, INVERSE_SCALE, EXPONENTIAL)
    ]
    assert digests == ["bd03f7d95b2f4896", "dcbd7e7cb01d70c3", "d6e4f8adf5af2699"]


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 5), st.integers(0, 1000), st.integers(0, 3))
def test_round_trip(n, components, seed, kind):
    low, high = ((0, 255), (-1000, 1000), (0, 65535), (7, 7))[kind]
    m = mixtures(n, components, seed, low, high)
    symbols = np.random.default_rng(seed).integers(low, high + 1, n)
    message = Message()
    message.push_mixtures(symbols, m)
    assert message.bits == pytest.approx(m.bits(symbols).sum(), abs=0.1 + 1e-5 * n)
    np.testing.assert_array_equal(message.pop_mixtures(m), symbols)
    assert message.empty


@settings(deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_arbitrary_bits_can_be_popped_and_come_back(seed, quantiles):
    edges = np.round(np.linspace(-3, 3, 257) ** 3 * 1000 * FRACTION).astype(np.int64) if quantiles else None
    m = mixtures(100, 2, seed, 0, 255, edges)
    message = Message.random(400, seed)
    before = message.copy()
    symbols = message.pop_mixtures(m)
    message.push_mixtures(symbols, m)
    assert message == before


def test_popping_more_than_there_is():
    with pytest.raises(MessageEmptyError):
        Message().pop_mixtures(mixtures(100, 2, 1))


def test_weights_sum_and_follow_the_logits():
    logits = np.random.default_rng(0).integers(-300, 300, (1000, 5))
    weights = weights_of(logits)
    assert (weights.sum(-1) == WEIGHT_TOTAL).all() and (weights >= 0).all()
    p = np.exp(logits / 16 - (logits / 16).max(-1, keepdims=True))
    np.testing.assert_allclose(weights / WEIGHT_TOTAL, p / p.sum(-1, keepdims=True), atol=6 / WEIGHT_TOTAL)


def test_the_ladder():
    np.testing.assert_array_equal(nearest_scale(scale_of(np.arange(256))), np.arange(256))
    assert scale_of(40) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"weights": np.array([[1, 2]])},
        {"weights": np.array([[5000, -904]])},
        {"means": np.array([[0.5, 1.0]])},
        {"means": np.array([[0, 2**30]])},
        {"means": np.array([0, 1])},
        {"means": np.array([[0, 2**32 + 5]])},  # these three would wrap around to something allowed
        {"weights": np.array([[2**32 + 4096, 0]])},
        {"scales": np.array([[40, 256 + 40]])},
        {"edges": np.arange(257) + 0.5},
        {"high": -1},
        {"edges": np.arange(5)},
        {"edges": np.zeros(257, np.int64)},
    ],
)
def test_what_is_no_mixture_is_refused(change):
    fields = {
        "weights": np.array([[4096, 0]]), "means": np.array([[0, 0]]), "scales": np.array([[40, 40]]),
        "low": 0, "high": 255,
    }  # fmt: skip
    with pytest.raises(TableError):
        LogisticMixtures(**(fields | change))


@pytest.mark.parametrize("symbols", [np.array([256]), np.array([-1]), np.array([1, 2]), np.array([0.5])])
def test_symbols_that_do_not_fit_are_refused(symbols):
    with pytest.raises(TableError):
        mixtures(1, 2, 0).intervals(symbols)
