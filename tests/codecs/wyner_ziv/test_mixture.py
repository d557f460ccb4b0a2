"""The conditional mixture: its density integrates to one and starts as the regression."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from obverse.codecs.wyner_ziv.mixture import MixturePrior, nats


def fitted(components, hidden):
    torch.manual_seed(0)
    prior = MixturePrior(1, components, hidden)
    y = torch.linspace(-2, 2, 1000)[:, None]
    x = 3 * y[:, 0] + 1 + 0.1 * torch.sin(100 * y[:, 0])
    prior.fit_linear(x, y, torch.Generator().manual_seed(1))
    return prior.requires_grad_(False)


@pytest.mark.parametrize(("components", "hidden"), [(1, 0), (3, 0), (4, 8)])
def test_density_integrates_to_one(components, hidden):
    prior = fitted(components, hidden)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        x = torch.linspace(-3, 5, 40_001)
        density = (-nats(prior(torch.full((x.numel(), 1), 0.2)), x)).exp()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-3)


def test_linear_part_is_least_squares():
    mixture = fitted(1, 0)(torch.tensor([[0.5]]))
    assert float(mixture.means) == pytest.approx(2.5, abs=0.02)
    assert float(mixture.scales) == pytest.approx(0.1 / math.sqrt(2), rel=0.05)


def test_noise_widens_the_density():
    mixture = fitted(1, 0)(torch.zeros(1, 1))
    wide = 0.5 * math.log(2 * math.pi * (float(mixture.scales) ** 2 + 0.5))
    assert float(nats(mixture, mixture.means[:, 0], 0.5)) == pytest.approx(wide, rel=1e-5)


def test_constant_side_information_is_no_error():
    prior = MixturePrior(2, 1, 0)
    x = torch.from_numpy(np.random.default_rng(1).normal(size=500)).float()
    prior.requires_grad_(False).fit_linear(x, torch.zeros(500, 2), torch.Generator())
    assert float(prior(torch.zeros(1, 2)).scales) == pytest.approx(float(x.std()), rel=0.01)
