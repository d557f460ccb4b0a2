"""Gumbel-softmax: its argmax is an exact sample, its temperature decides how hard it is, gradients flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from obverse.quantization.gumbel_softmax import gumbel_softmax


def test_largest_entries_are_samples_of_the_categorical():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    generator = torch.Generator().manual_seed(1)
    soft = gumbel_softmax(p.log().expand(200_000, 4), 0.5, generator)
    found = np.bincount(soft.argmax(dim=1).numpy(), minlength=4) / 200_000
    assert np.abs(found - p.numpy()).max() < 0.005
    assert soft.sum(dim=1).allclose(torch.ones(200_000))


@pytest.mark.parametrize(("temperature", "least", "most"), [(0.01, 0.98, 1.0), (100.0, 0.25, 0.4)])
def test_temperature_hardens(temperature, least, most):
    soft = gumbel_softmax(torch.zeros(2000, 4), temperature, torch.Generator().manual_seed(2))
    assert least <= float(soft.max(dim=1).values.mean()) <= most


def test_gradients_reach_the_logits_and_raise_what_is_rewarded():
    logits = torch.zeros(5000, 3, requires_grad=True)
    gumbel_softmax(logits, 0.7, torch.Generator().manual_seed(3))[:, 1].mean().backward()
    gradient = logits.grad.sum(dim=0)
    assert gradient[1] > 0 > gradient[0] and gradient.sum().abs() < 1e-4


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]]).repeat(1000, 1)
    assert gumbel_softmax(logits, 0.1).isfinite().all()
