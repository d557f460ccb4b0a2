"""The learned density: it is one, its tables are it, and it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.errors import ExportError
from obverse.priors.factorised import PRECISION, FactorisedDensity


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_density(seed: int, dimensions: int = 3, scale: float = 10.0) -> FactorisedDensity:
    """With parameters unlike those that it starts with."""
    torch.manual_seed(seed)
    density = FactorisedDensity(dimensions, init_scale=scale)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return density


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31), st.floats(0.5, 15))
def test_it_integrates_to_one(seed, scale):
    """Over the unit intervals around the integers, wherever they start."""
    density = a_density(seed, scale=scale).double()
    z = torch.arange(-1500, 1501, dtype=torch.float64)[:, None] + torch.tensor([0.0, 0.3, -0.5])
    total = density.log_mass(z).exp().sum(0).detach()
    tails = torch.sigmoid(density.logits(z[:1] - 0.5)) + torch.sigmoid(-density.logits(z[-1:] + 0.5))
    np.testing.assert_allclose((total + tails[0]).detach().numpy(), 1.0, atol=1e-6)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31))
def test_the_distribution_function_rises(seed):
    density = a_density(seed).double()
    logits = density.logits(torch.linspace(-200, 200, 2001, dtype=torch.float64)[:, None].expand(-1, 3))
    assert bool((logits.diff(dim=0) > 0).all())


def test_a_mass_is_a_difference_of_the_distribution_function():
    density = a_density(1).double()
    z = torch.linspace(-20, 20, 101, dtype=torch.float64)[:, None].expand(-1, 3)
    plain = torch.sigmoid(density.logits(z + 0.5)) - torch.sigmoid(density.logits(z - 0.5))
    torch.testing.assert_close(density.log_mass(z).exp(), plain)
    torch.testing.assert_close(density.rate_nats(z), -plain.log().sum(1))


def test_far_out_the_rate_is_finite_and_pulls_back():
    density = FactorisedDensity(1)
    z = torch.tensor([[-1e4], [1e4]], requires_grad=True)
    rate = density.rate_nats(z)
    rate.sum().backward()
    assert bool(torch.isfinite(rate).all()) and float(rate.detach().min()) > 100
    assert float(z.grad[0]) < 0 < float(z.grad[1])


@pytest.mark.parametrize("seed", range(4))
def test_the_tables_are_the_density(seed):
    density, offset = a_density(seed), torch.tensor([0.0, 0.4, -7.2])
    tables = density.tables(offset)
    assert len(tables) == 3 and tables.escape and tables.precision == PRECISION
    for i in range(3):
        frequencies = tables.frequencies(i)
        assert frequencies.sum() == 1 << PRECISION and frequencies.min() >= 1
        q = tables.lows[i] + np.arange(len(frequencies) - 1)
        z = torch.zeros(len(q), 3, dtype=torch.float64)
        z[:, i] = torch.from_numpy(q) + offset.double()[i]
        mass = density.double().log_mass(z)[:, i].exp().detach().numpy()
        np.testing.assert_allclose(frequencies[:-1] / 2**PRECISION, mass, atol=len(q) * 2.0**-PRECISION)
        # what the integers cost, in bits, is what the density says they cost
        excess = (mass * (np.log2(mass) - np.log2(frequencies[:-1] / 2**PRECISION))).sum()
        assert 0 <= excess + 1e-9 < 0.01
        assert mass.sum() > 1 - 3 * 2.0**-PRECISION  # no tail is cut off that matters


def test_it_learns_a_density_to_its_entropy():
    """Gaussian samples rounded: the learned code length is their entropy, and so is the tables'."""
    torch.manual_seed(0)
    density = FactorisedDensity(2)
    scales = torch.tensor([0.4, 3.0])
    optimiser = torch.optim.Adam(density.parameters(), 0.05)
    for _ in range(150):
        loss = density.rate_nats(torch.round(torch.randn(300, 2) * scales)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    samples = torch.round(torch.randn(20_000, 2) * scales)
    entropy = 0.0
    for scale in scales.tolist():
        edges = [0.5 * math.erfc(-(k - 0.5) / scale / math.sqrt(2)) for k in range(-30, 32)]
        p = np.diff(edges)
        entropy -= (p[p > 0] * np.log2(p[p > 0])).sum()
    rate = float(density.rate_nats(samples).detach().mean()) / math.log(2)
    assert rate == pytest.approx(entropy, abs=0.05)
    tables = density.tables(torch.zeros(2))
    index = np.broadcast_to(np.arange(2), (len(samples), 2))
    coded = float(tables.bits(samples.numpy().astype(np.int32), index).sum(1).mean())
    assert coded == pytest.approx(rate, rel=0.005)


def test_what_cannot_be_tabulated():
    density = FactorisedDensity(1)
    with torch.no_grad():
        density.matrices[0].fill_(float("nan"))
    with pytest.raises(ExportError, match="not finite"):
        density.tables(torch.zeros(1))
    flat = FactorisedDensity(1)
    with torch.no_grad():
        flat.matrices[0].fill_(-60.0)
    with pytest.raises(ExportError, match="no end"):
        flat.tables(torch.zeros(1))
    with pytest.raises(ExportError, match="not finite"):
        FactorisedDensity(1).tables(torch.tensor([float("inf")]))


def test_a_wide_density_is_cut_where_its_tables_end():
    """And the escape takes the rest, so that every integer has a code."""
    tables = FactorisedDensity(1, init_scale=3000.0).tables(torch.zeros(1))
    assert len(tables.frequencies(0)) == 4096 + 1
    assert np.isfinite(tables.bits(np.array([10**6, -(10**6)]), np.array([0, 0]))).all()
