"""Networks of the invariant compressors: data to a few numbers, and from those back to what stands for the data.

    x ──► encoder ──► z ──► round(z - offset) = q ──► tables ──► file          sender, floats
    q + offset = ẑ ──► decoder ──► representative of x                         receiver; ẑ alone is what tasks use

Only q and the tables are parsed, and both are integers; the encoder runs at the sender alone, so it may be float.
The offset of a dimension is where the median of z lies: a dimension that says nothing then rounds to one value.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.codecs.invariant.clustered import ClusteredDensity
from obverse.codecs.invariant.recipe import InvariantConfig
from obverse.codecs.invariant.sources import Source
from obverse.coding import TableFamily
from obverse.errors import ExportError
from obverse.priors.factorised import FactorisedDensity


def _mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with softplus between them.

    Without batch normalisation, which the paper has: its noise of a batch is as large as the cells of a code of a few
    bits (on the banana it quadrupled VIC's distortion at the same rate).
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(fan_in, fan_out), nn.Softplus()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Standardise(nn.Module):
    """x ──► (x - mean) / scale, both of the training data."""

    def __init__(self, dimensions: int):
        super().__init__()
        self.mean, self.scale = nn.Buffer(torch.zeros(dimensions)), nn.Buffer(torch.ones(dimensions))

    def fit(self, x: Tensor) -> None:
        """Take mean and scale from x, (n, d)."""
        self.mean.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp(min=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


class ImageEncoder(nn.Module):
    """x (n, 1, H, W) in [0, 1] ──► half size ──► quarter size ──► eighth size ──► 256 units ──► z (n, k)."""

    def __init__(self, config: InvariantConfig):
        super().__init__()
        c = config.width
        height, width = (-(-side // 8) for side in config.shape)
        self.trunk = nn.Sequential(
            nn.Conv2d(1, c, 3, 2, 1), nn.GroupNorm(1, c), nn.SiLU(),
            nn.Conv2d(c, 2 * c, 3, 2, 1), nn.GroupNorm(1, 2 * c), nn.SiLU(),
            nn.Conv2d(2 * c, 4 * c, 3, 2, 1), nn.GroupNorm(1, 4 * c), nn.SiLU(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(4 * c * height * width, 256), nn.SiLU(), nn.Linear(256, config.codes)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).flatten(1))


class ImageDecoder(nn.Module):
    """ẑ (n, k) ──► 512 units ──► 512 units ──► logits of the pixels (n, 1, H, W)."""

    def __init__(self, config: InvariantConfig):
        super().__init__()
        self.shape = config.shape
        height, width = config.shape
        self.layers = nn.Sequential(
            nn.Linear(config.codes, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, height * width)
        )  # fmt: skip

    def forward(self, codes: Tensor) -> Tensor:
        return self.layers(codes).unflatten(1, (1, *self.shape))


def make_encoder(config: InvariantConfig) -> nn.Module:
    """Items (n, ...) -> z (n, k)."""
    if config.images:
        return ImageEncoder(config)
    (d,) = config.shape
    return nn.Sequential(Standardise(d), _mlp((d, config.width, config.width, config.codes)))


def make_decoder(config: InvariantConfig) -> nn.Module:
    """ẑ (n, k) -> points (n, d), or logits of pixels (n, 1, H, W)."""
    if config.images:
        return ImageDecoder(config)
    return _mlp((config.codes, config.width, config.width, config.shape[0]))


def make_projector(config: InvariantConfig) -> nn.Module:
    """ẑ (n, k) -> (n, 64), in whose directions the contrastive objective compares codes."""
    return _mlp((config.codes, 256, 64))


def reconstruction_loss(config: InvariantConfig, decoded: Tensor, wanted: Tensor) -> Tensor:
    """(n,) distortion of each item: for points the squared error, summed over dimensions; for images the cross-entropy
    of the pixels in nats, summed."""
    if config.images:
        return functional.binary_cross_entropy_with_logits(decoded, wanted, reduction="none").sum((1, 2, 3))
    return (decoded - wanted).square().sum(1)


class InvariantNetworks(nn.Module):
    """x ──► encoder ──► z ──► density ──► rate, and a decoder or a projector on z rounded."""

    def __init__(self, config: InvariantConfig):
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config)
        self.density = FactorisedDensity(config.codes)
        self.clustered = ClusteredDensity(config.codes, config.clusters) if config.clusters > 1 else None
        self.placed = nn.Buffer(torch.tensor(False))
        self.head = make_decoder(config) if config.decodes else make_projector(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # of similarities: 1 / temperature
        self.offset = nn.Buffer(torch.zeros(config.codes))

    @torch.no_grad()
    def start(self, x: Tensor, spread: float) -> None:
        """Let z of x (n, ...) have mean 0 and this standard deviation in each dimension."""
        if not self.config.images:
            self.encoder[0].fit(x)
        last = self.encoder.head[-1] if self.config.images else self.encoder[-1][-1]
        z = self.encoder(x)
        stretch = spread / z.std(0).clamp(min=1e-6)
        last.weight.mul_(stretch[:, None])
        last.bias.copy_((last.bias - z.mean(0)) * stretch)

    def rate_nats(self, codes: Tensor) -> Tensor:
        """(n, k) -> (n,): by the density of each dimension, and once clusters are placed by theirs."""
        density = self.clustered if self.clustered is not None and self.placed else self.density
        return density.rate_nats(codes)

    def tables(self) -> tuple[TableFamily | None, TableFamily]:
        """What `state_of` takes: the table of clusters, none for one, and those of codes. Raises ExportError."""
        if self.clustered is None:
            return None, self.density.tables(self.offset)
        if not self.placed:
            raise ExportError("the clusters of the codes were not placed yet: train to the end first")
        return self.clustered.tables(self.offset)

    @torch.no_grad()
    def place(self, source: Source) -> None:
        """Begin to use clusters: those of the source's codes."""
        if self.clustered is None:
            return
        rng = np.random.default_rng(0)
        z = [
            self.encoder(source.draw(1000, rng, False).x.to(self.offset.device))
            for _ in range(max(16, self.config.clusters // 16))
        ]
        self.clustered.place(torch.cat(z))
        self.placed.fill_(True)
