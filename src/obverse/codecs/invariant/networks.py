"""Networks of the invariant compressors: data to a few numbers, and from those back to what stands for the data.

    x ──► encoder ──► z ──► round(z - offset) = q ──► tables ──► file          sender, floats
    q + offset = ẑ ──► decoder ──► representative of x                         receiver; ẑ alone is what tasks use

Only q and the tables are parsed, and both are integers; the encoder runs at the sender alone, so it may be float.
The offset of a dimension is where the median of z lies: a dimension that says nothing then rounds to one value.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.errors import InputError

MOST_CODES, MOST_WIDTH, MOST_CLUSTERS, LARGEST_SIDE, MOST_DIMENSIONS = 4096, 4096, 1024, 256, 1 << 16


@dataclass(frozen=True)
class InvariantConfig:
    """shape: of one item, (d,) for a point, (H, W) for a gray image. codes: k, numbers that stand for it. width: units
    of a point's hidden layers, or channels of an image's first layer. decodes: whether there is a decoder. clusters:
    heaps of codes that have tables of their own; 1: each dimension has one table, whatever the others are."""

    shape: tuple[int, ...]
    codes: int = 8
    width: int = 128
    decodes: bool = True
    clusters: int = 1

    @property
    def images(self) -> bool:
        """Whether items are images, not points."""
        return len(self.shape) == 2

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Any) -> InvariantConfig:
        """What `as_dict` gave. Raises InputError for anything else."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names or not isinstance(values["shape"], list):
            raise InputError("the configuration is not that of an invariant compressor")
        shape = tuple(values["shape"])
        whole = [*shape, values["codes"], values["width"], values["clusters"]]
        if any(type(value) is not int or value < 1 for value in whole) or type(values["decodes"]) is not bool:
            raise InputError(
                "the configuration of the invariant compressor holds no whole numbers above zero"
            )
        config = cls(shape, values["codes"], values["width"], values["decodes"], values["clusters"])
        fits = shape[0] <= MOST_DIMENSIONS if len(shape) == 1 else max(shape, default=0) <= LARGEST_SIDE
        fits = fits and config.width <= MOST_WIDTH and config.clusters <= MOST_CLUSTERS
        if len(shape) not in (1, 2) or not fits or config.codes > MOST_CODES:
            raise InputError(
                f"an invariant compressor codes points of up to {MOST_DIMENSIONS} numbers or images of up to "
                f"{LARGEST_SIDE} pixels a side, with up to {MOST_CODES} codes, {MOST_CLUSTERS} clusters and width "
                f"{MOST_WIDTH}"
            )
        return config


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
