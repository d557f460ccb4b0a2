"""The bottleneck: it rounds to the cheapest symbol, and trusts no arrays."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.features.bottleneck import FIELDS, FeatureBottleneck
from obverse.codecs.features.fit import Target, fit
from obverse.errors import DamagedError
from obverse.quantization.entropy_constrained import SHIFT_UNIT
from tests.codecs.features.cases import DAMAGES, damaged


def correlated(n: int, d: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) * np.exp(-np.arange(d) / 3)
    return (rng.normal(size=(n, d)) @ mixing.T + 5).astype(np.float32)


@pytest.fixture(scope="module", params=["l2", "identity", "l1", "scaled", "scaled identity"])
def model(request):
    how = {
        "l2": {},
        "identity": {"transform": "identity"},
        "l1": {"distortion": "l1"},
        "scaled": {"standardise": True},
        "scaled identity": {"standardise": True, "transform": "identity"},
    }[request.param]
    return fit(correlated(3000), Target(loss=0.1), **how)


def test_each_symbol_is_the_cheapest(model):
    """Against all symbols near, priced by the tables themselves."""
    x = correlated(40, seed=1)
    z, y = model.quantise(x), model.coefficients_of(x).T
    assert z.shape == (model.coefficients, 40) and z.dtype == np.int32
    reach = np.arange(-3, 4)
    for k in range(model.coefficients):
        near = np.floor(y[k] / model.steps[k] + 0.5).astype(int)[:, None] + reach
        bits = model.tables.bits(near, np.full(near.shape, k))
        levels = (near + model.shifts[k, np.clip(near, -2, 2) + 2] / SHIFT_UNIT) * model.steps[k]
        error = np.abs(y[k][:, None] - levels)
        costs = (error if model.absolute else error**2) + model.lmbda * bits
        at = z[k][:, None] == near
        assert at.any(1).all()
        np.testing.assert_allclose(costs[at], costs.min(1), rtol=0.05, atol=1e-9)


def test_synthesis_is_what_it_says(model):
    x = correlated(70, seed=2)
    z = model.quantise(x)
    clipped = np.clip(z, -2, 2) + 2
    levels = (z + model.shifts[np.arange(len(z))[:, None], clipped] / SHIFT_UNIT) * model.steps[:, None]
    scales = model.scales if model.scales.size else np.ones(12)
    if len(model.basis):
        expected = levels.T @ (model.basis * model.basis_scales[:, None]) * scales + model.mean
    else:
        expected = np.repeat(model.mean[None].astype(float), 70, 0)
        expected[:, model.kept] += levels.T * scales[model.kept]
    np.testing.assert_allclose(model.dequantise(z), expected, rtol=1e-5, atol=1e-4)
    assert model.dequantise(z).dtype == np.float32
    assert model.rate_bits(z).shape == (70,) and (model.rate_bits(z) > 0).all()


def test_synthesis_is_exact_for_symbols_of_any_size():
    """Symbols of one to three digits, together and alone, against whole numbers without bounds."""
    model = fit(correlated(3000), Target(loss=0.01), transform="klt")
    rng = np.random.default_rng(0)
    z = rng.integers(-(2**30), 2**30, (model.coefficients, 40)) >> rng.integers(0, 30, (1, 40))
    z = z.astype(np.int32)
    together = model.dequantise(z)
    for i in range(40):
        np.testing.assert_array_equal(model.dequantise(z[:, i : i + 1])[0], together[i])
    whole, units = model._synthesis
    assert np.abs(whole).sum(0).max() <= 2**38 and np.array_equal(whole, np.rint(whole))
    parts = z.T.astype(object) * SHIFT_UNIT + model.shifts[np.arange(len(z)), np.clip(z.T, -2, 2) + 2].astype(
        int
    )
    exact = parts @ whole.astype(np.int64).astype(object)
    expected = exact.astype(np.float64) * units + model.mean
    np.testing.assert_allclose(together, expected.astype(np.float32), rtol=1e-6)


def test_state_makes_the_same_model(model):
    again = FeatureBottleneck.from_state(model.state())
    x = correlated(50, seed=3)
    np.testing.assert_array_equal(again.quantise(x), model.quantise(x))
    z = model.quantise(x)
    np.testing.assert_array_equal(again.dequantise(z), model.dequantise(z))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))


def test_a_coarse_basis_is_still_inverted():
    """What the analysis gives, the synthesis takes back, however coarse the basis."""
    x = correlated(2000)
    model = fit(x, Target(loss=0.01), transform="klt", copies=40)
    assert np.abs(model.basis).max() < 100
    rows = model.basis * model.basis_scales[:, None]
    np.testing.assert_allclose(rows @ model.analysis, np.eye(model.coefficients), atol=1e-6)


STATE = fit(correlated(200, 4), Target(loss=0.2)).state()


@given(st.sampled_from(sorted(FIELDS)), st.integers(0, 2**32), st.integers(0, DAMAGES - 1))
@settings(deadline=None, max_examples=150)
def test_no_arrays_are_trusted(name, seed, kind):
    """Whatever one array becomes: a model that works, or DamagedError."""
    state = damaged(STATE, name, kind, np.random.default_rng(seed))
    try:
        model = FeatureBottleneck.from_state(state)
    except DamagedError:
        return
    z = np.zeros((model.coefficients, 3), np.int32)
    assert model.dequantise(z).shape == (3, model.dimensions)


def test_nothing_to_code():
    model = fit(np.full((20, 3), 2.5, np.float32))
    assert model.coefficients == 0 and model.tables is None
    z = model.quantise(np.full((5, 3), 2.5))
    assert z.shape == (0, 5) and model.rate_bits(z).sum() == 0
    np.testing.assert_array_equal(model.dequantise(z), np.full((5, 3), 2.5, np.float32))
    again = FeatureBottleneck.from_state(model.state())
    assert again.coefficients == 0
    with pytest.raises(DamagedError):
        FeatureBottleneck.from_state(model.state() | {"lengths": np.zeros(3, np.uint8)})


def test_values_far_away_are_coded_not_clipped(model):
    x = correlated(2, seed=4) + np.float32(1e5)
    z = model.quantise(x)
    error = np.abs(model.dequantise(z) - x).mean() / 1e5
    assert error < (1e-2 if model.coefficients == 12 else 1)
    assert dataclasses.is_dataclass(model)
