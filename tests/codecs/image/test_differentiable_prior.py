"""The smooth twin of the shipped prior says what the exact one codes."""

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse.codecs.image.differentiable_prior import DifferentiableFourStep, join_slices
from obverse.codecs.image.encoder import quantise_latents
from obverse.codecs.image.prior import from_slices, to_slices
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def networks():
    return obverse.open_codec("image").networks


@pytest.fixture(scope="module")
def pixels():
    return np.asarray(Image.open(REPOSITORY / "examples" / "kodim23.png").convert("RGB"))[128:384, 256:512]


def latents_of(networks, pixels, level):
    y = networks.analyse(pixels, level)
    return y, networks.hyper_analyse(y)


@pytest.mark.parametrize("level", [200, 800, 1400, 1900])
def test_rate_and_latents_agree_with_what_is_coded(networks, pixels, level):
    y, z = latents_of(networks, pixels, level)
    coded, y_hat = quantise_latents(networks, (y, z), level)
    bits = [float(networks.tables.bits(symbols, index).sum()) for symbols, index in coded]
    twin = DifferentiableFourStep(networks.prior)
    slices, y_bits, z_bits = twin(torch.cat(to_slices(y)), z, level, torch.round)
    assert float(y_bits + z_bits) == pytest.approx(sum(bits), rel=0.01)
    assert float(z_bits) == pytest.approx(bits[0], rel=0.02)  # a few hundred bits
    assert (join_slices(slices) - y_hat).abs().mean() < 0.01


def test_slices_are_joined_as_the_decoder_joins_them():
    y = torch.randn(1, 24, 8, 12)
    slices = torch.cat(to_slices(y))
    assert torch.equal(join_slices(slices), y)
    assert torch.equal(join_slices(slices), from_slices(list(slices[:, None])))


def test_a_step_against_the_gradient_saves_about_the_bits_it_promises(networks, pixels):
    level = 1000
    y, z = latents_of(networks, pixels, level)
    twin = DifferentiableFourStep(networks.prior)
    slices = torch.cat(to_slices(y)).clone().requires_grad_()
    z = z.clone().requires_grad_()
    # noise that stays the same: a smooth function of both
    shift = [torch.rand_like(z) - 0.5] + [torch.rand_like(slices[:1]) - 0.5 for _ in range(4)]

    def rate(slices, z):
        at = iter(shift)
        _, y_bits, z_bits = twin(slices, z, level, lambda x: x + next(at))
        return y_bits + z_bits

    before = rate(slices, z)
    gradients = torch.autograd.grad(before, (slices, z))
    before = before.detach()
    assert all(bool(torch.isfinite(g).all()) and g.abs().max() > 0 for g in gradients)
    length = sum(float(g.square().sum()) for g in gradients)
    step = 0.02 * float(before) / length
    with torch.no_grad():
        after = rate(slices - step * gradients[0], z - step * gradients[1])
    assert 0.5 < float(before - after) / (step * length) < 1.5


def test_what_is_coded_never_passes_through_the_twin(networks, pixels, monkeypatch):
    files = [obverse.compress(pixels[:64, :64], quality=40, effort=effort) for effort in (0, 1)]

    def broken(*_):
        raise AssertionError("the twin decides nothing")

    decoded = [obverse.decompress(data) for data in files]
    monkeypatch.setattr(DifferentiableFourStep, "forward", broken)
    assert obverse.compress(pixels[:64, :64], quality=40) == files[0]
    assert all(np.array_equal(obverse.decompress(d), x) for d, x in zip(files, decoded, strict=True))
    with pytest.raises(AssertionError, match="twin"):
        obverse.compress(pixels[:64, :64], quality=40, effort=1)
