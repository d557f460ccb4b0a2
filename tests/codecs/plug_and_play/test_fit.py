"""Fitting ladders: what a rung costs is what files weigh; samples and batches."""

import numpy as np
import pytest

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.fit import LADDER, build_model, fit, posterior_of, sample, save_model
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.errors import InputError, OutputError


def posterior(n: int = 4000, seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    scale = np.array([0.2, 1.0, 3.0])
    return Posterior.of(rng.laplace(0, 1, (n, 3)) * scale, np.exp(rng.normal(-1.5, 0.5, (n, 3))))


def test_tables_say_what_files_of_other_data_weigh():
    ladder = fit(posterior(), 1)
    codec = PlugAndPlayCodec(build_model(ladder, (4000, 3), axis=1))
    other = posterior(seed=1)
    for number in (2, 7, 12):
        rung = ladder.rungs[number]
        symbols = rung.quantise(other.grouped(1))
        predicted = rung.tables.bits(symbols).sum() / 8
        weight = len(codec.encode(other, codec.options(lmbda=rung.lmbda)).sections["symbols"])
        assert weight == pytest.approx(predicted, rel=0.01, abs=8)


def test_measured_lengths_cost_less_than_the_published_ones():
    from obverse.codecs.plug_and_play.point_tables import PointTables
    from obverse.codecs.plug_and_play.quantiser import choose, empirical_grid, published_bits

    p = posterior().grouped(1)
    lmbda = 2.0
    rung = fit(posterior(), 1, [lmbda]).rungs[0]

    def cost(symbols, grid, tables):
        off = (grid.dequantise(symbols) - p.mean) / p.std
        return np.square(off).sum() / 2 + lmbda * tables.bits(symbols).sum()

    grid = empirical_grid(p.mean)
    first = choose(p, grid, published_bits(grid), lmbda)
    before = cost(first, grid, PointTables.of(first, grid))
    assert cost(rung.quantise(p), rung.grid, rung.tables) < 0.97 * before


def test_a_large_set_is_sampled_the_same_way_each_time():
    p = posterior().grouped(1)
    a, b = sample(p, 300, 0), sample(p, 300, 0)
    assert a.shape == (1, 3, 100)
    np.testing.assert_array_equal(a.mean, b.mean)
    # means and deviations stay together
    for g in range(3):
        pairs = set(zip(p.mean[:, g, 0], p.std[:, g, 0], strict=True))
        assert set(zip(a.mean[0, g], a.std[0, g], strict=True)) <= pairs
    assert sample(p, 10**6, 0) is p


def test_values_beyond_the_sample_have_points():
    rng = np.random.default_rng(3)
    mean = rng.normal(size=(3_000_000, 1))
    mean[12345] = 50
    p = Posterior.of(mean, np.full(mean.shape, 0.3))
    z = PlugAndPlayCodec().decode(PlugAndPlayCodec().encode(p, PlugAndPlayCodec.options(lmbda=0.1)))
    assert z[12345, 0] == pytest.approx(50, abs=1)


def test_batches_of_several_sizes_are_joined_by_channel():
    rng = np.random.default_rng(4)

    def encode(x):
        return Posterior.of(np.stack([x, x + 1], 1), np.ones((len(x), 2, *x.shape[1:])))

    joined = posterior_of(encode, iter([rng.normal(size=(1, 3, 5)), rng.normal(size=(1, 4, 2))]))
    assert joined.shape == (1, 2, 1, 23)
    np.testing.assert_allclose(joined.mean[0, 1], joined.mean[0, 0] + 1, rtol=1e-5)
    same = posterior_of(encode, iter([rng.normal(size=(2, 3)), rng.normal(size=(1, 3))]))
    assert same.shape == (3, 2, 3)
    with pytest.raises(InputError, match="no data"):
        posterior_of(encode, iter([]))
    with pytest.raises(InputError, match="changing kinds"):
        posterior_of(lambda x: Posterior.of(x, np.ones(x.shape)), iter([np.ones((1, 3)), np.ones((1, 4))]))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"lmbdas": []}, "1 to"), ({"lmbdas": [0.0]}, "lmbda"), ({"method": "x"}, "method"), ({"prior": "x"}, "prior"),
     ({"axis": -1}, "axis"), ({"depth": 2}, "levels")],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        fit(posterior(50), **({"axis": None} | change))


def test_an_axis_with_too_many_groups_is_refused():
    with pytest.raises(InputError, match="share one"):
        fit(Posterior.of(np.zeros((1, 70_000)), np.ones((1, 70_000))), 1)


def test_a_model_is_stored_whole_or_not_at_all(tmp_path):
    built = build_model(fit(posterior(50), None, LADDER[:3]), (50, 3))
    assert save_model(built, tmp_path / "m").fingerprint == built.fingerprint
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_model(built, tmp_path / "file" / "m")
    with pytest.raises(InputError, match="channels"):
        build_model(fit(posterior(50), None, [1.0]), (50, 3), images=2)
    with pytest.raises(InputError, match="multiple"):
        build_model(fit(posterior(50), None, [1.0]), (50, 3), multiple=0)
