"""Clusters before the bottleneck: chosen where they pay, the cheapest for each vector, and no array trusted."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.features.bottleneck import FIELDS, FeatureBottleneck
from obverse.codecs.features.cluster_design import cluster
from obverse.codecs.features.clusters import CLUSTER_FIELDS, TRIED, ClusteredBottleneck, model_from
from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.export import fit_model
from obverse.codecs.features.fit import Target, fit
from obverse.codecs.features.view import FeatureView
from obverse.container import read, read_header, write
from obverse.errors import DamagedError
from tests.codecs.features.cases import DAMAGES, damaged


def kinds(n: int, count: int = 20, d: int = 24, seed: int = 0) -> np.ndarray:
    """Vectors of so many kinds, whatever the seed the same ones, each of them narrow."""
    means = np.random.default_rng(99).normal(size=(count, d))
    rng = np.random.default_rng(seed)
    return (means[rng.integers(count, size=n)] + 0.2 * rng.normal(size=(n, d)) + 1).astype(np.float32)


def lost(model, x: np.ndarray) -> tuple[float, float]:
    """Part of the variance, and bits a vector."""
    z = model.quantise(x)
    error = np.square(x - model.dequantise(z)).sum() / np.square(x - x.mean(0)).sum()
    return float(error), float(model.rate_bits(z).mean())


@pytest.mark.parametrize("how", [{}, {"standardise": True}])
def test_new_vectors_lose_less_at_few_bits(how):
    """Of others than the model was fitted to, at no more bits than asked for."""
    x, new = kinds(4000), kinds(2000, seed=1)
    for bits in (8.0, 24.0):
        model = fit(x, Target(bits=bits), **how)
        plain = fit(x, Target(bits=bits), clusters=False, **how)
        assert isinstance(model, ClusteredBottleneck) and isinstance(plain, FeatureBottleneck)
        (less, rate), (more, _) = lost(model, new), lost(plain, new)
        assert less < 0.7 * more and rate < 1.02 * bits


def test_every_target_is_met_with_clusters():
    x = kinds(4000)
    spread = float(np.square(x - x.mean(0)).sum(1).mean())
    model = fit(x, Target(loss=0.03))
    assert isinstance(model, ClusteredBottleneck) and 0.02 < lost(model, x)[0] < 0.0305
    model = fit(x, Target(lmbda=0.01 * spread))
    plain = fit(x, Target(lmbda=0.01 * spread), clusters=False)
    costs = [a * spread + 0.01 * spread * b for a, b in (lost(model, x), lost(plain, x))]
    assert isinstance(model, ClusteredBottleneck) and costs[0] < costs[1]


def test_high_rates_and_other_distortions_have_none():
    """There the model is what it was without them, number by number."""
    many = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    for x, how in (
        (many, {"target": Target(bits=300.0)}),
        (kinds(3000), {"target": Target(bits=20.0), "distortion": "l1"}),
        (kinds(3000), {"target": Target(bits=20.0), "transform": "identity"}),
        (kinds(100), {"target": Target(bits=20.0)}),
    ):
        model, plain = fit(x, **how), fit(x, clusters=False, **how)
        assert isinstance(model, FeatureBottleneck)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(model, name), getattr(plain, name))


@pytest.mark.parametrize("copies", [1 << 20, 200])
def test_each_cluster_is_the_cheapest(copies):
    """Against all clusters, by what is decoded and what the tables say, however coarse the basis is."""
    x = kinds(1500, count=4)
    words = cluster(x - x.mean(0), TRIED, 0.05, copies)
    left = x - x.mean(0) - words.words[words.at] * words.unit
    rest = fit(left, Target(bits=12.0), transform="klt", clusters=False, copies=copies)
    rest = dataclasses.replace(rest, mean=x.mean(0))
    model = ClusteredBottleneck(
        rest, words.words, np.array([words.unit]), np.full(len(words.words) + 1, 24, np.uint8)
    )
    z = model.quantise(x[:300])
    decoded, bits = model.dequantise(z), model.rate_bits(z)
    costs = np.square(x[:300] - decoded).sum(1) + model.lmbda * bits
    for number, word in enumerate(words.words * words.unit):
        other = np.concatenate([np.full((1, 300), number), rest.quantise(x[:300] - word)]).astype(np.int32)
        error = np.square(x[:300] - model.dequantise(other)).sum(1)
        assert (costs <= (error + model.lmbda * model.rate_bits(other)) * (1 + 1e-5) + 1e-5).all()


def test_state_makes_the_same_model():
    model, x = fit(kinds(1000), Target(bits=20.0)), kinds(50, seed=3)
    again = model_from(model.state())
    z = model.quantise(x)
    np.testing.assert_array_equal(again.quantise(x), z)
    whole = again.dequantise(z)
    np.testing.assert_array_equal(whole, model.dequantise(z))
    for i in range(50):  # whatever is decoded with it
        np.testing.assert_array_equal(again.dequantise(z[:, i : i + 1])[0], whole[i])


def test_files_that_carry_clusters_are_of_version_2(tmp_path):
    x = kinds(3000)
    own = write(FeatureCodec().encode(x, FeatureCodec.options(bits=40.0)))
    (tmp_path / "own.obv").write_bytes(own)
    assert read_header(tmp_path / "own.obv").version == 2 and 38 < 8 * len(own) / len(x) <= 40
    stored, facts = fit_model(x, tmp_path / "model", Target(bits=20.0))
    codec = FeatureCodec(stored)
    shared = write(codec.encode(x, codec.options(chunk=3000)))
    (tmp_path / "shared.obv").write_bytes(shared)
    assert read_header(tmp_path / "shared.obv").version == 1  # it needs the model anyway
    assert 8 * len(shared) == pytest.approx(codec.rate_bits(x).sum(), rel=0.02)
    assert facts["bits"] == pytest.approx(8 * len(shared) / len(x), rel=0.03)
    decoded = codec.decode(read(shared))
    with FeatureView(tmp_path / "shared.obv", model=tmp_path / "model") as view:
        np.testing.assert_array_equal(view[[5, 2999, 300]], decoded[[5, 2999, 300]])


def test_clusters_that_there_are_not():
    model = fit(kinds(1000), Target(bits=20.0))
    z = model.quantise(kinds(5))
    for number in (-1, len(model.words), 2**31 - 1):
        z[0, 3] = number
        with pytest.raises(DamagedError, match="cluster"):
            model.dequantise(z)


STATE = fit(kinds(400), Target(bits=16.0)).state()


@given(st.sampled_from(sorted(CLUSTER_FIELDS)), st.integers(0, 2**32), st.integers(0, DAMAGES - 1))
@settings(deadline=None, max_examples=100)
def test_no_arrays_are_trusted(name, seed, kind):
    """Whatever one array becomes: a model that works, or DamagedError."""
    state = damaged(STATE, name, kind, np.random.default_rng(seed))
    try:
        model = model_from(state)
    except DamagedError:
        return
    z = np.zeros((model.width, 3), np.int32)
    assert model.dequantise(z).shape == (3, 24) and model.rate_bits(z).shape == (3,)
