"""Where students begin: principal components and least squares, against what those must give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from obverse.codecs.split.networks import make_encoder, standardised
from obverse.codecs.split.resnet import ResNet, folded
from obverse.codecs.split.sizes import SplitConfig
from obverse.codecs.split.start import fit_convolution, fit_density, principal_components
from obverse.codecs.split.student import SplitNetworks
from obverse.priors.factorised import FactorisedDensity
from tests.codecs.split.models import RECONSTRUCTS, SMALL, TEACHER, UPSAMPLED
from tests.conftest import smooth_photo

# channels enough for every number of a block: 2 x 2 x 3, then all of 4 x 4 x 3
WHOLE = SplitConfig(
    TEACHER, after=0, codes=48, widths=(12, 48), kernels=(3, 3, 1), strides=(2, 2, 1), decoder_blocks=1
)


def photos(side: int, n: int = 60) -> torch.Tensor:
    images = np.stack([smooth_photo(side, side, seed) for seed in range(n)])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def start(config: SplitConfig, step: float = 0.5) -> tuple[SplitNetworks, ResNet]:
    torch.manual_seed(0)
    networks, teacher = SplitNetworks(config).eval(), folded(ResNet(config.teacher).eval())
    networks.start(photos(config.teacher.side), teacher, step)
    return networks, teacher


def test_codes_of_one_layer_are_principal_components():
    """Uncorrelated, in falling order of variance, and together of the variance of the pixels, to scale."""
    config = replace(WHOLE, widths=(12, 12), codes=12, kernels=(3, 1, 1), strides=(2, 1, 1))
    encoder, x = make_encoder(config), standardised(photos(16))
    with torch.no_grad():
        principal_components(encoder, x, scale=4.0)
        for layer in (encoder[1], encoder[3]):
            layer.root_gamma.zero_()  # no division at all: then the three layers are one linear map
        y = encoder(x).transpose(0, 1).flatten(1)
    covariance = torch.cov(y)
    variances = covariance.diagonal()
    assert (covariance - covariance.diagonal().diag()).abs().max() < 5e-3 * variances.max()
    assert bool((variances.diff() < 1e-4 * variances.max()).all())
    # every number of a block is one of 12: the sum of variances is that of pixels, about the mean of their place
    blocks = x.unfold(2, 2, 2).unfold(3, 2, 2).permute(1, 4, 5, 0, 2, 3).flatten(3).flatten(0, 2)
    assert variances.sum().item() == pytest.approx(16 * blocks.var(1).sum().item(), rel=0.01)


def test_with_channels_enough_pictures_and_classes_are_kept():
    """Nothing is lost but by rounding, and by GDN, which hardly bends yet: fine steps give the teacher's answers."""
    networks, teacher = start(replace(WHOLE, reconstructs=True), step=0.02)
    x = photos(16, 20)
    with torch.no_grad():
        codes = networks.encoder(standardised(x))
        assert (networks.synthesis(codes) - x).square().mean().sqrt().item() < 0.02
        told, wanted = networks.server(codes), teacher(x)
        stem = networks.server.decoder(codes)
        features = teacher.features(x)[0]
    assert (stem - features).square().mean() < 0.01 * features.var()
    assert (told - wanted).abs().max() < 0.2 * wanted.std()


@pytest.mark.parametrize("config", [SMALL, RECONSTRUCTS, UPSAMPLED])
def test_codes_begin_spread_and_known(config):
    """Whatever the sizes: all channels finite, centred by the offset, coded near their entropy."""
    networks, _ = start(config, step=0.3)
    with torch.no_grad():
        y = networks.encoder(standardised(photos(config.teacher.side))).transpose(0, 1).flatten(1)
        assert torch.isfinite(y).all() and y[0].std() > 1
        assert torch.allclose(y.median(1).values, networks.offset, atol=0.1)
        q = torch.round(y - networks.offset[:, None]).long()
        rate = networks.density.rate_nats((q + networks.offset[:, None]).t()).mean().item()
    entropy = 0.0
    for channel in q:
        shares = torch.bincount(channel - channel.min()) / len(channel)
        entropy -= (shares * shares.clamp(min=1e-12).log()).sum().item()
    assert entropy - 0.01 < rate < 1.3 * entropy + 0.5


def test_a_finer_step_gives_larger_codes():
    spreads = [start(SMALL, step)[0].encoder(standardised(photos(16))).std().item() for step in (1.0, 0.5)]
    assert spreads[1] == pytest.approx(2 * spreads[0], rel=0.1)


def test_a_convolution_is_found_again():
    torch.manual_seed(0)
    real, layer = nn.Conv2d(3, 5, 3, 1, 1), nn.Conv2d(3, 5, 3, 1, 1)
    x = torch.randn(40, 3, 6, 6)
    with torch.no_grad():
        fit_convolution(layer, x, real(x))
        assert torch.allclose(layer(x), real(x), atol=0.01)


def test_a_density_learns_what_it_will_see():
    torch.manual_seed(0)
    density, y = FactorisedDensity(2), torch.randn(400, 2, 3, 3) * torch.tensor([0.5, 4.0])[:, None, None]
    fit_density(density, y)
    noisy = torch.randn(4000, 2) * torch.tensor([0.5, 4.0]) + torch.rand(4000, 2) - 0.5
    with torch.no_grad():
        rates = -density.log_mass(noisy).mean(0)
    # a normal's differential entropy, and what noise of one step adds to it: less than .1 for the wide one
    wide = 0.5 * np.log(2 * np.pi * np.e * 16)
    assert rates[1].item() == pytest.approx(wide, abs=0.12) and rates[0].item() < rates[1].item() - 1
