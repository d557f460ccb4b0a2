"""A step for each group, chosen by cost; the better of both ladders for each file; the ceiling of a model."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from obverse.codecs.plug_and_play.baselines import nearest_multiple
from obverse.codecs.plug_and_play.codec import RUNG, PlugAndPlayCodec
from obverse.codecs.plug_and_play.export import exported
from obverse.codecs.plug_and_play.fit import BEST, STEPS, VBQ, build_model, fit, fit_ladders
from obverse.codecs.plug_and_play.generative_model import of_module
from obverse.codecs.plug_and_play.model import PlugModel
from obverse.codecs.plug_and_play.point_grid import EMPIRICAL, UNIFORM
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.quantiser import normal_grid
from obverse.codecs.plug_and_play.rate_ladder import Rung
from obverse.codecs.plug_and_play.stepped import choose_multiple
from obverse.container import read, write
from obverse.errors import DamagedError, InputError, ModelError
from obverse.zoo import StoredModel
from tests.codecs.plug_and_play.models import Linear

LMBDAS = (0.001, 0.01, 0.1, 0.7, 3.0, 20.0, 200.0)


def posterior(seed: int, spread: float, n: int = 1500) -> Posterior:
    """spread: how much the widths of posteriors differ within a group, as exponents."""
    rng = np.random.default_rng(seed)
    std = np.array([0.05, 0.2, 0.5]) * np.exp(rng.normal(0, spread, (n, 3)))
    return Posterior.of(rng.normal(size=(n, 3)), std)


def cost(codec: PlugAndPlayCodec, p: Posterior, lmbda: float) -> float:
    """As measured on a file: the objective of the latents that it decodes to, and its bits."""
    container = codec.encode(p, codec.options(lmbda=lmbda))
    z = codec.latents(read(write(container))).astype(np.float64)
    bits = 8 * sum(map(len, container.sections.values()))
    return float(np.square((z - p.mean) / p.std).sum()) / 2 + lmbda * bits


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_the_better_of_both_is_written_at_every_lmbda(spread):
    p, other = posterior(1, spread), posterior(2, spread)
    ladders = {method: fit_ladders(p, 1, method=method) for method in (BEST, VBQ, STEPS)}
    codecs = {
        method: PlugAndPlayCodec(build_model(ladder, p.shape, axis=1)) for method, ladder in ladders.items()
    }
    for lmbda in LMBDAS:
        best, vbq, steps = (cost(codec, other, lmbda) for codec in codecs.values())
        assert best <= min(vbq, steps) * (1 + 1e-6)


def test_either_ladder_is_taken_where_it_is_the_better_one():
    taken = set()
    for spread in (0.0, 1.5):
        p = posterior(3, spread)
        codec = PlugAndPlayCodec(build_model(fit_ladders(p, 1), p.shape, axis=1))
        rungs = PlugModel.of(codec.model).rungs
        for lmbda in LMBDAS:
            container = read(write(codec.encode(p, codec.options(lmbda=lmbda))))
            assert container.version == 1
            taken.add(rungs[container.config[RUNG]].grid.kind)
    assert taken == {EMPIRICAL, UNIFORM}


def test_chosen_multiples_cost_less_than_the_nearest():
    p = posterior(4, 1.0).grouped(1)
    for lmbda in (0.1, 1.0, 10.0):
        rung = fit(posterior(4, 1.0), 1, [lmbda], STEPS).rungs[0]

        def costs(symbols, rung=rung, lmbda=lmbda):
            off = (rung.grid.dequantise(symbols) - p.mean) / p.std
            return np.square(off).sum() / 2 + lmbda * rung.tables.bits(symbols).sum()

        assert costs(rung.quantise(p)) < costs(nearest_multiple(p.mean, rung.grid))


def test_a_choice_is_the_least_of_all_multiples():
    rng = np.random.default_rng(5)
    p = Posterior.of(rng.normal(size=(1, 1, 200)) * 3, np.exp(rng.normal(-1, 1.5, (1, 1, 200))))
    rung = fit(p, 1, [1.0], STEPS).rungs[0]
    chosen = rung.quantise(p).ravel()
    every = np.arange(-400, 401, dtype=np.int32)
    bits = rung.tables.bits(np.broadcast_to(every, (1, 1, 801)).copy()).ravel()
    z = rung.grid.dequantise(every.reshape(1, 1, -1)).ravel().astype(np.float64)
    costs = np.square((z - p.mean.reshape(-1, 1)) / p.std.reshape(-1, 1)) / 2 + bits
    at = chosen + 400
    np.testing.assert_allclose(costs[np.arange(200), at], costs.min(1), rtol=1e-5)


def test_a_small_lmbda_reaches_what_the_model_makes_of_the_means():
    x = np.random.default_rng(6).uniform(size=(400, 6)).astype(np.float32)
    module = of_module(Linear())
    p = module.posterior(x)
    ladders = fit_ladders(p, 1)
    codec = PlugAndPlayCodec(build_model(ladders, p.shape, axis=1, networks=exported(Linear(), x)))
    back = codec.decode(read(write(codec.encode(x, codec.options(lmbda=1e-3)))))
    made = module.decode(p.mean)
    error, least = (float(np.square(one - x).mean()) for one in (back, made))
    assert error <= least * 10**0.03 + 1e-6


class Bent(Linear):
    """Whose decoder bends: the further from 0, the less a latent changes."""

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(torch.tanh(z))


def test_with_networks_the_decoded_error_decides():
    """No file costs more by it than with either ladder alone, and some cost less."""
    rng = np.random.default_rng(10)
    x, new = (rng.normal(size=(600, 6)).astype(np.float32) for _ in range(2))
    module = of_module(Bent())
    p, q = module.posterior(x), module.posterior(new)
    networks = exported(Bent(), x)
    codecs = {
        method: PlugAndPlayCodec(
            build_model(fit_ladders(p, 1, method=method), p.shape, axis=1, networks=networks)
        )
        for method in (BEST, VBQ, STEPS)
    }
    alone = PlugAndPlayCodec(build_model(fit_ladders(p, 1), p.shape, axis=1))  # decides by the posterior
    least = np.square(module.decode(q.mean) - new).sum()
    gains = []
    for lmbda in LMBDAS:
        points = {}
        for method, codec in codecs.items():
            container = codec.encode(new, codec.options(lmbda=lmbda))
            error = np.square(codec.decode(read(write(container))) - new).sum() - least
            points[method] = error, 8 * sum(map(len, container.sections.values()))
        by_posterior = alone.encode(q, alone.options(lmbda=lmbda))
        z = alone.latents(by_posterior)
        points["posterior"] = (
            np.square(module.decode(z) - new).sum() - least,
            8 * len(by_posterior.sections["symbols"]),
        )
        excess = np.square((z - q.mean) / q.std).sum() / 2
        unit = points["posterior"][0] / excess if points["posterior"][0] > 0 else 1.0
        costs = {name: error / unit + lmbda * bits for name, (error, bits) in points.items()}
        assert costs[BEST] <= 1.03 * min(costs[VBQ], costs[STEPS])
        gains.append(costs[BEST] / costs["posterior"])
    assert max(gains) < 1.03 and min(gains) < 0.97


def test_a_decoder_that_fails_leaves_the_choice_to_the_posterior():
    x = np.random.default_rng(11).normal(size=(80, 6)).astype(np.float32)
    p = of_module(Linear()).posterior(x)
    ladders = fit_ladders(p, 1)
    networks = exported(Linear(), x)
    broken = dataclasses.replace(networks, decode=lambda *_: np.full((80, 6), np.nan, np.float32))
    codec = PlugAndPlayCodec(build_model(ladders, p.shape, axis=1, networks=networks))
    alone = PlugAndPlayCodec(build_model(ladders, p.shape, axis=1))
    plug = dataclasses.replace(codec.plug, networks=broken)
    for lmbda in (0.1, 1.0):
        chosen = codec._by_model(plug, p, x, lmbda)
        assert chosen.sections == alone.encode(p, alone.options(lmbda=lmbda)).sections


def test_files_without_a_model_take_the_better_of_both_too():
    codec = PlugAndPlayCodec()
    p = posterior(7, 0.0, 400)
    for lmbda in (0.01, 1.0, 30.0):
        made = {}
        for method in (None, VBQ, STEPS):
            options = codec.options(lmbda=lmbda, method=method, axis=1)
            container = codec.encode(p, options)
            z = codec.decode(read(write(container))).astype(np.float64)
            bits = 8 * sum(map(len, container.sections.values()))
            made[method] = float(np.square((z - p.mean) / p.std).sum()) / 2 + lmbda * bits
        assert made[None] <= min(made[VBQ], made[STEPS]) * (1 + 1e-6)


def test_a_model_of_two_ladders_is_read_whole_or_refused():
    p = posterior(8, 0.5, 200)
    model = build_model(fit_ladders(p, 1, [0.1, 1.0]), p.shape, axis=1)
    plug = PlugModel.of(model)
    assert len(plug.ladders) == 2 and plug.nearest(1.0) == [1, 6]
    codec = PlugAndPlayCodec(model)
    container = codec.encode(p, codec.options(lmbda=1.0))
    container.config[RUNG] = len(plug.rungs)
    with pytest.raises(DamagedError):
        codec.decode(container)
    from safetensors.numpy import load, save

    arrays = load(model.weights)
    assert not any(name.startswith("ladder.") for name in arrays)  # an older reader finds no ladder
    for changed in (
        {name: a for name, a in arrays.items() if not name.startswith("ladders.0.")},
        arrays | {"ladders.2.numbers": arrays["ladders.0.numbers"]},
        arrays | {"ladders.x.numbers": arrays["ladders.0.numbers"]},
        arrays | {"ladder.numbers": arrays["ladders.0.numbers"]},
    ):
        with pytest.raises(ModelError, match="damaged"):
            PlugModel.of(StoredModel(model.name, save(changed), model.config, model.fingerprint))


def test_a_grid_that_does_not_fit_is_refused():
    p = posterior(9, 0.5, 50).grouped(1)
    rung = fit(posterior(9, 0.5, 50), 1, [1.0], STEPS).rungs[0]
    with pytest.raises(InputError, match="uniform grid"):
        choose_multiple(p, normal_grid(3), rung.tables, 1.0)
    with pytest.raises(InputError, match="too small"):
        Rung(1e-12, rung.grid, rung.tables, by_cost=True).quantise(Posterior.of(p.mean * 1e11, p.std))
