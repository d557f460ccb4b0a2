"""Alignment and fusion: each part against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.stereo.fusion import (
    StereoFusion,
    convex_upsample,
    correlate_rows,
    luma,
    peak_disparity,
    warp,
)
from obverse.codecs.stereo.recipe import StereoConfig

SMALL = StereoConfig(
    disparities=6,
    features=8,
    match=8,
    cost=8,
    coarse_cost=8,
    context=4,
    refine=8,
    trunk=8,
    deep=8,
    deep_blocks=1,
)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 8), st.integers(1, 7), st.integers(0, 99))
def test_correlation_is_the_sum_over_channels(height, width, wider, disparities, seed):
    torch.manual_seed(seed)
    right, left = torch.randn(2, 3, height, width), torch.randn(2, 3, height, width + wider)
    out = correlate_rows(right, left, disparities)
    assert out.shape == (2, disparities, height, width)
    for d in range(disparities):
        for c in range(width):
            inside = c + d < width + wider
            wanted = (right[..., c] * left[..., c + d]).sum(1) if inside else torch.zeros(2, height)
            assert torch.allclose(out[:, d, :, c], wanted, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_warp_by_whole_pixels(mode):
    image = torch.rand(1, 2, 9, 30)
    out = warp(image, torch.full((1, 1, 9, 20), 4.0), torch.full((1, 1, 9, 20), 1.0), mode)
    assert torch.allclose(out[:, :, :7], image[:, :, 1:8, 4:24], atol=1e-4)


def test_peak_disparity_ignores_a_second_surface():
    attention = torch.zeros(1, 12, 1, 1)
    attention[0, 2], attention[0, 3], attention[0, 10] = 0.4, 0.2, 0.4 - 1e-3
    disparity, weight = peak_disparity(attention)
    assert disparity.item() == pytest.approx((2 * 0.4 + 3 * 0.2) / 0.6)
    assert weight.item() == pytest.approx(0.6)


def test_convex_upsampling_stays_between_neighbours():
    coarse, logits = torch.rand(2, 1, 5, 6), 3 * torch.randn(2, 36, 5, 6)
    out = convex_upsample(coarse, logits)
    assert out.shape == (2, 1, 10, 12)
    assert out.min() >= coarse.min() - 1e-6 and out.max() <= coarse.max() + 1e-6
    assert torch.allclose(convex_upsample(torch.full_like(coarse, 7.0), logits), torch.tensor(7.0))


def test_an_untrained_network_returns_its_input():
    network = StereoFusion(SMALL)
    x, y = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 40)
    out = network(x, y, torch.tensor([0.0, 0.7]))
    assert torch.equal(out.x, x)
    assert out.aligned.shape == x.shape and out.disparity.shape == (2, 1, 16, 24)
    assert torch.allclose(out.attention.sum(1), torch.ones(2, 4, 6))


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = StereoFusion(SMALL)
    for parameter in network.parameters():  # nothing at zero, where gradients may vanish
        parameter.data += 0.05 * torch.randn_like(parameter)
    out = network(torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 64), torch.tensor([0.3]))
    (out.x.pow(2).mean() + out.aligned.pow(2).mean() + out.attention.pow(2).sum()).backward()
    silent = [
        name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())
    ]
    assert not silent


def test_mixed_precision_is_close_and_full_precision_is_the_same():
    torch.manual_seed(0)
    network = StereoFusion(SMALL).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    args = torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 64), torch.tensor([0.3])
    with torch.inference_mode():
        plain, full, mixed = network(*args), network.run_mixed(*args, False), network.run_mixed(*args, True)
    assert torch.equal(plain.x, full.x)
    assert torch.equal(plain.attention, mixed.attention)
    assert np.abs((plain.x - mixed.x).numpy()).max() < 0.05


def test_luma_of_gray_is_gray():
    gray = torch.rand(1, 1, 4, 4)
    assert torch.allclose(luma(gray.expand(1, 3, 4, 4)), gray)
