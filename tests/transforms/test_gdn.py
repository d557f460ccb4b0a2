"""GDN against its formula, its inverse, and the gradients of its bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.transforms.gdn import GDN, LEAST_BETA, PEDESTAL, at_least


def with_parameters(beta: np.ndarray, gamma: np.ndarray, inverse: bool = False) -> GDN:
    layer = GDN(len(beta), inverse).double()
    with torch.no_grad():
        layer.root_beta.copy_(torch.sqrt(torch.from_numpy(beta) + PEDESTAL))
        layer.root_gamma.copy_(torch.sqrt(torch.from_numpy(gamma) + PEDESTAL))
    return layer


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_the_formula(seed, channels, side, inverse):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j²), written out for each place."""
    rng = np.random.default_rng(seed)
    beta, gamma = rng.uniform(0.01, 2, channels), rng.uniform(0, 1, (channels, channels))
    x = rng.normal(size=(2, channels, side, side)) * 3
    with torch.no_grad():
        y = with_parameters(beta, gamma, inverse)(torch.from_numpy(x)).numpy()
    for n in range(2):
        for place in np.ndindex(side, side):
            here = x[(n, slice(None), *place)]
            norm = np.sqrt(beta + gamma @ here**2)
            np.testing.assert_allclose(
                y[(n, slice(None), *place)], here * norm if inverse else here / norm, rtol=1e-6
            )


def test_it_starts_as_written():
    layer = GDN(5, start=0.25)
    assert torch.allclose(layer.beta, torch.ones(5))
    assert torch.allclose(layer.gamma, 0.25 * torch.eye(5), atol=1e-9)


def test_one_channel_is_squashed():
    """With beta and gamma 1 a channel alone becomes x / sqrt(1 + x²): within 1, and odd."""
    layer = with_parameters(np.ones(1), np.ones((1, 1)))
    x = torch.linspace(-50, 50, 101, dtype=torch.float64).reshape(1, 1, 1, 101)
    with torch.no_grad():
        y = layer(x)
    assert float(y.abs().max()) < 1 and torch.allclose(y, -y.flip(3)) and bool((y.diff() > 0).all())


def test_parameters_stay_in_bounds_whatever_the_optimiser_does():
    layer = GDN(3)
    with torch.no_grad():
        layer.root_beta.fill_(-5.0)
        layer.root_gamma.fill_(-5.0)
    assert layer.beta.min().item() >= LEAST_BETA * 0.99 and layer.gamma.min().item() >= 0
    assert torch.isfinite(layer(torch.randn(2, 3, 4, 4))).all()


@pytest.mark.parametrize(
    ("value", "gradient", "passes"),
    [(2.0, 1.0, True), (2.0, -1.0, True), (0.5, -1.0, True), (0.5, 1.0, False)],
)
def test_the_bound_lets_through_what_leads_back(value, gradient, passes):
    """Descent with a negative gradient raises x: below the bound only that passes."""
    x = torch.tensor(value, requires_grad=True)
    y = at_least(x, 1.0)
    assert y.item() == max(value, 1.0)
    y.backward(torch.tensor(gradient))
    assert x.grad.item() == (gradient if passes else 0.0)


def test_gradients_match_differences():
    layer = with_parameters(np.array([0.5, 1.5]), np.array([[0.3, 0.1], [0.2, 0.4]]))
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    parameters = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())

    def of_parameters(root_beta: torch.Tensor, root_gamma: torch.Tensor) -> torch.Tensor:
        state = {"root_beta": root_beta, "root_gamma": root_gamma}
        return torch.func.functional_call(layer, state, (x.detach(),))

    assert torch.autograd.gradcheck(of_parameters, parameters)
