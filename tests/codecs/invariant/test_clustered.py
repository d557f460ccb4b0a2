"""The density of clusters: it is one in each, its tables are it, and clusters cost less than dimensions alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.invariant.clustered import PRECISION, ClusteredDensity
from obverse.errors import ExportError
from obverse.priors.factorised import FactorisedDensity


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_density(seed: int, dimensions: int = 3, clusters: int = 4) -> ClusteredDensity:
    """With parameters unlike those that it starts with."""
    torch.manual_seed(seed)
    density = ClusteredDensity(dimensions, clusters)
    with torch.no_grad():
        density.logits.normal_()
        density.means.normal_().mul_(4)
        density.log_scales.normal_()
    return density


def clusters(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of four clusters far apart (n,), and items of it: (n, 2), whose dimensions tell of each other."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 4, n)
    middles = np.array([[0, 0], [20, 20], [40, 40], [60, 60]])
    return torch.from_numpy(which), torch.from_numpy(middles[which] + rng.normal(size=(n, 2))).float()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.floats(-0.5, 0.5))
def test_it_sums_to_one_in_each_cluster(seed, shift):
    """Over the unit intervals around the integers, wherever they start."""
    density = a_density(seed).double()
    z = (torch.arange(-2000, 2001, dtype=torch.float64) + shift)[:, None].expand(-1, 3)
    for cluster in range(4):
        total = density.log_mass(z, torch.full((len(z),), cluster)).exp().sum(0).detach()
        np.testing.assert_allclose(total.numpy(), 1.0, atol=1e-9)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31))
def test_the_cheapest_cluster_is_told(seed):
    density = a_density(seed).double()
    z = torch.randn(50, 3, dtype=torch.float64) * 5
    start = torch.log_softmax(density.logits, 0)
    costs = torch.stack([
        -start[h] - density.log_mass(z, torch.full((50,), h)).sum(1) for h in range(4)
    ], 1)  # fmt: skip
    torch.testing.assert_close(density.rate_nats(z), costs.min(1).values)
    assert torch.equal(density.cluster_of(z), costs.argmin(1))


def test_far_from_all_clusters_the_rate_is_finite_and_has_a_gradient():
    density = a_density(0)
    z = torch.full((1, 3), 1e4, requires_grad=True)
    density.rate_nats(z).sum().backward()
    assert bool(torch.isfinite(z.grad).all()) and float(z.grad.min()) > 0


def test_k_means_finds_clusters():
    which, z = clusters(2000)
    density = ClusteredDensity(2, 16)
    density.place(z)
    found = density.cluster_of(z)
    for cluster in found.unique():  # what is found lies within one that was made
        assert len(which[found == cluster].unique()) == 1
    # a cluster of four and two normal numbers rounded, log2(sqrt(2 pi e)) bits each; logistics, overlap cost a little
    wanted = 2 + 2 * math.log2(math.sqrt(2 * math.pi * math.e))
    assert wanted < float(density.rate_nats(z.round()).detach().mean()) / math.log(2) < wanted + 1


def test_clusters_cost_less_than_dimensions_alone():
    """Two numbers that tell of each other: the cluster is paid once, where a table of each dimension pays it twice."""
    _, z = clusters(4000)
    rates = {}
    for density in (ClusteredDensity(2, 16), FactorisedDensity(2)):
        if isinstance(density, ClusteredDensity):
            density.place(z)
        optimiser = torch.optim.Adam(density.parameters(), 0.05)
        for step in range(300):
            loss = density.rate_nats(z[torch.arange(step * 64, step * 64 + 64) % len(z)].round()).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        _, fresh = clusters(2000, seed=1)
        rates[type(density)] = float(density.rate_nats(fresh.round()).detach().mean()) / math.log(2)
    assert rates[ClusteredDensity] < rates[FactorisedDensity] - 1.5


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31))
def test_tables_are_the_density(seed):
    density = a_density(seed)
    offset = torch.tensor([0.0, 0.25, -0.4])
    clusters, tables = density.tables(offset)
    assert (len(clusters), len(tables)) == (1, 12) and tables.precision == PRECISION
    q = np.clip(np.round(density.means.detach().numpy() - offset.numpy()), -2000, 2000).astype(np.int64)
    told = np.arange(4)
    exact = density.double().log_mass(torch.from_numpy(q) + offset.double(), torch.arange(4))
    bits = tables.bits(q, told[:, None] * 3 + np.arange(3))
    np.testing.assert_allclose(bits, -exact.detach().numpy() / math.log(2), atol=0.02)
    start = -torch.log_softmax(density.logits, 0).detach().numpy() / math.log(2)
    np.testing.assert_allclose(clusters.bits(told, np.zeros_like(told)), start, atol=0.01)
    assert np.isfinite(tables.bits(np.array([10**6, -(10**6)]), np.array([0, 11]))).all()  # the escape


@pytest.mark.parametrize("name", ["logits", "means", "log_scales"])
def test_a_density_that_is_not_finite_has_no_tables(name):
    density = a_density(0)
    with torch.no_grad():
        getattr(density, name).view(-1)[0] = math.nan
    with pytest.raises(ExportError, match="not finite"):
        density.tables(torch.zeros(3))
