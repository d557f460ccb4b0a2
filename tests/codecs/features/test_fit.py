"""Fitting: theory where there is one, targets met, and sentences for what cannot be fitted."""

import numpy as np
import pytest

from obverse.codecs.features.export import fit_model
from obverse.codecs.features.fit import SAMPLE, Target, fit
from obverse.errors import InputError, RateTargetError, UnsupportedInputError
from obverse.zoo import load_model_from


def gaussian(n: int, variances: np.ndarray, seed: int = 0) -> np.ndarray:
    """Gaussian vectors whose covariance has these eigenvalues, in random directions."""
    rng = np.random.default_rng(seed)
    d = len(variances)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return (rng.normal(size=(n, d)) * np.sqrt(variances)) @ rotation.T + 3


def water_filling_bits(variances: np.ndarray, distortion: float) -> float:
    """R(D) of a Gaussian vector (Cover and Thomas, theorem 10.3.3)."""
    low, high = 0.0, float(variances.max())
    for _ in range(100):
        level = 0.5 * (low + high)
        low, high = (level, high) if np.minimum(variances, level).sum() < distortion else (low, level)
    return float(0.5 * np.log2(np.maximum(variances / low, 1)).sum())


def measured(model, x):
    z = model.quantise(x)
    error = x - model.dequantise(z)
    return model.rate_bits(z).mean(), np.square(error).sum(1).mean(), np.abs(error).sum(1).mean()


@pytest.mark.parametrize("loss", [0.003, 0.05, 0.3])
def test_near_the_limit_of_gaussian_vectors(loss):
    """Scalar quantisation with entropy coding loses at most 1/2 log2(2 pi e / 12) bits a coefficient, and at low
    rates much less."""
    variances = np.exp(-np.arange(24) / 4.0)
    x = gaussian(20_000, variances)
    bits, distortion, _ = measured(fit(x, Target(loss=loss)), gaussian(4000, variances, seed=0)[:4000])
    assert distortion == pytest.approx(loss * variances.sum(), rel=0.06)
    limit = water_filling_bits(variances, distortion)
    assert limit < bits < limit + 0.28 * 24


def test_targets_are_met():
    x = gaussian(5000, np.exp(-np.arange(16) / 3.0))
    for bits in (5.0, 20.0, 60.0):
        assert 0.93 * bits < measured(fit(x, Target(bits=bits)), x)[0] <= 1.01 * bits
    spread = np.square(x - x.mean(0)).sum(1).mean()
    for loss in (0.001, 0.05, 0.4):
        assert 0.9 * loss < measured(fit(x, Target(loss=loss)), x)[1] / spread <= 1.01 * loss
    deviation = np.abs(x - np.median(x, 0)).sum(1).mean()
    model = fit(x, Target(loss=0.1), distortion="l1")
    assert 0.09 < measured(model, x)[2] / deviation <= 0.101
    assert fit(x, Target(lmbda=0.02)).lmbda == 0.02


def test_lmbda_is_the_slope():
    """No other lmbda has a smaller distortion + lmbda * bits at this one."""
    x = gaussian(8000, np.exp(-np.arange(16) / 3.0))
    for distortion, term, lmbda in (("l2", 1, 0.02), ("l1", 2, 0.05)):
        costs = {}
        for factor in (0.5, 1.0, 2.0):
            found = measured(fit(x, Target(lmbda=factor * lmbda), distortion=distortion), x)
            costs[factor] = found[term] + lmbda * found[0]
        assert costs[1.0] < costs[0.5] and costs[1.0] < costs[2.0]


def test_each_distortion_wins_by_its_own_measure():
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(8000, 6)) * np.exp(-np.arange(6))
    squared, absolute = (
        fit(x, Target(bits=8.0), distortion=kind, transform="identity") for kind in ("l2", "l1")
    )
    for mine, other, term in ((squared, absolute, 1), (absolute, squared, 2)):
        found, others = measured(mine, x), measured(other, x)
        assert found[term] + mine.lmbda * found[0] < others[term] + mine.lmbda * others[0]


def test_the_rotation_is_chosen_when_it_pays():
    x = gaussian(4000, np.exp(-np.arange(16) / 2.0))
    assert len(fit(x, Target(loss=0.05)).basis)
    independent = np.random.default_rng(0).normal(size=(4000, 16))
    few = fit(independent[:60], Target(loss=0.05), copies=60)
    assert not len(few.basis)  # there is nothing to decorrelate, and 60 vectors do not pay for a basis
    with_basis = measured(fit(x, Target(loss=0.05), transform="klt"), x)[0]
    without = measured(fit(x, Target(loss=0.05), transform="identity"), x)[0]
    assert with_basis < 0.7 * without


def test_few_vectors_have_a_coarse_basis():
    x = gaussian(3000, np.exp(-np.arange(16) / 3.0))
    fine, coarse = (fit(x, Target(loss=0.02), transform="klt", copies=n) for n in (10**6, 3000))
    assert np.abs(fine.basis).max() > 8 * np.abs(coarse.basis).max()
    assert coarse.coefficients <= fine.coefficients
    assert measured(coarse, x)[0] < 1.05 * measured(fine, x)[0]


def test_many_vectors_are_sampled_alike():
    x = np.random.default_rng(0).normal(size=(SAMPLE + 5000, 2)).astype(np.float32)
    a, b = fit(x, Target(loss=0.1), seed=1), fit(x, Target(loss=0.1), seed=1)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    np.testing.assert_array_equal(a.steps, b.steps)


def test_other_sets_of_the_same_kind_cost_the_same():
    variances = np.exp(-np.arange(16) / 3.0)
    x = gaussian(6000, variances)
    model = fit(x[:3000], Target(loss=0.02))
    assert measured(model, x[3000:])[0] < 1.02 * measured(model, x[:3000])[0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_scales_and_types(dtype, scale):
    x = (gaussian(500, np.ones(4)) * scale).astype(dtype)
    bits, distortion, _ = measured(fit(x, Target(loss=0.01)), x.astype(np.float64))
    assert distortion / np.square(x - x.astype(float).mean(0)).sum(1).mean() < 0.0105
    assert bits < 4 * 4


def test_standardised_distortion_counts_small_features():
    """Two features of different units: the small one is lost, unless its own deviation counts."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2)) * [100.0, 0.01] + 5
    plain, fair = (fit(x, Target(loss=0.1), standardise=s) for s in (False, True))
    error = [np.square(x - m.dequantise(m.quantise(x))).mean(0) / x.var(0) for m in (plain, fair)]
    assert error[0][1] == pytest.approx(1, abs=0.01) and (error[1] < 0.15).all()
    assert error[1].mean() == pytest.approx(0.1, rel=0.06)
    for kind in ({"distortion": "l1"}, {"transform": "identity"}, {"transform": "klt"}):
        model = fit(x, Target(loss=0.1), standardise=True, **kind)
        share = np.abs(x - model.dequantise(model.quantise(x))).mean(0) / x.std(0)
        assert share[0] == pytest.approx(share[1], rel=0.2)
    constant = np.column_stack([x[:, 0], np.full(4000, 3.0)])
    model = fit(constant, Target(loss=0.1), standardise=True)
    np.testing.assert_allclose(model.dequantise(model.quantise(constant))[:, 1], 3.0, atol=0.2)


def test_outliers_are_coded_exactly_and_cost_the_others_nothing():
    x = gaussian(3000, np.ones(4)).astype(np.float32)
    wild = x.copy()
    wild[7, 2] = 1e6
    plain, model = (fit(v, Target(lmbda=0.02), transform="identity") for v in (x, wild))
    z = model.quantise(wild)
    assert np.abs(model.dequantise(z) - wild).max() < 1
    assert model.rate_bits(z).mean() == pytest.approx(plain.rate_bits(plain.quantise(x)).mean(), rel=0.03)
    assert model.rate_bits(z)[7] > 40


def test_what_would_have_too_many_levels_is_told():
    with pytest.raises(RateTargetError, match="that exactly"):
        fit(gaussian(500, np.ones(3)), Target(loss=1e-10))
    with pytest.raises(RateTargetError, match="that exactly"):
        fit(gaussian(500, np.ones(3)), Target(lmbda=1e-12), distortion="l1")


@pytest.mark.parametrize("how", [{}, {"transform": "identity"}, {"distortion": "l1"}, {"standardise": True}])
def test_more_bits_than_can_be_used_are_kept_from_below(how):
    rng = np.random.default_rng(0)
    x = rng.standard_t(3, (800, 4)) * [1000.0, 1.0, 1.0, 0.001]
    errors = []
    for bits in (30.0, 1e3, 1e9):
        model = fit(x, Target(bits=bits), **how)
        z = model.quantise(x)
        assert 10 < model.rate_bits(z).mean() <= bits
        errors.append(np.square(x - model.dequantise(z)).sum() / np.square(x).sum())
    assert errors[2] == pytest.approx(errors[1], rel=0.2) and errors[2] <= errors[0] < 1e-3


def test_wrong_settings_and_features():
    x = np.random.default_rng(0).normal(size=(30, 3))
    for wrong in (
        {},
        {"bits": 1.0, "loss": 0.1},
        {"bits": 0.0},
        {"loss": 1.0},
        {"lmbda": float("nan")},
        {"bits": "8"},
    ):
        with pytest.raises(InputError):
            Target(**wrong)
    for how in ({"distortion": "l3"}, {"transform": "dct"}, {"distortion": "l1", "transform": "klt"}):
        with pytest.raises(InputError):
            fit(x, **how)
    for bad, error in (
        (x[:0], InputError), (x[:, :0], InputError), (np.where(x > 1, np.nan, x), InputError),
        (np.where(x > 1, np.inf, x), InputError), (x * 1e200, InputError), (x[0], UnsupportedInputError),
        (x.astype(int), UnsupportedInputError), (x.astype(complex), UnsupportedInputError),
    ):  # fmt: skip
        with pytest.raises(error):
            fit(bad)


def test_a_model_of_its_own(tmp_path):
    x = gaussian(2000, np.exp(-np.arange(8) / 2.0)).astype(np.float32)
    stored, facts = fit_model(
        x, tmp_path / "m", Target(bits=12.0), encoder=bytes(range(32)), encoder_name="mine"
    )
    assert load_model_from(tmp_path / "m") == stored
    assert stored.config["encoder"] == bytes(range(32)).hex() and stored.codec == "features"
    assert 11 < facts["bits"] <= 12.1 and 0 < facts["loss"] < 1
    card = (tmp_path / "m" / "card.md").read_text()
    assert "mine" in card and f"{facts['bits']:.1f}" in card
    scaled = fit_model(x, tmp_path / "s", Target(bits=12.0), standardise=True)[1]
    assert scaled["loss"] < 0.4 and "standardised variance" in (tmp_path / "s" / "card.md").read_text()
