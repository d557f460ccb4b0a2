"""Small parts that the analysis and synthesis transforms are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) -> (B, C * factor**2, H / factor, W / factor), channels_last in memory.

    Output channel (dy * factor + dx) * C + c holds pixel (dy, dx) of each cell, channel c.
    """
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h // factor, factor, w // factor, factor, c)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, factor * factor * c)
    return x.permute(0, 3, 1, 2)


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """The inverse of `space_to_depth`."""
    b, c, h, w = x.shape
    c //= factor * factor
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, factor, factor, c)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c)
    return x.permute(0, 3, 1, 2)


class QualityVector(nn.Module):
    """One learned vector per quality: linear between evenly spaced anchors.

    This is the "gain unit" of Cui et al., "Asymmetric gained deep image compression with continuous
    rate adaptation", CVPR 2021, with linear instead of exponential interpolation.
    """

    def __init__(self, channels: int, init: Tensor | float = 0.0, anchors: int = 9):
        super().__init__()
        values = torch.zeros(anchors, channels)
        values += init if not isinstance(init, Tensor) else init.reshape(-1, channels)
        self.anchors = nn.Parameter(values)

    def forward(self, t: Tensor) -> Tensor:
        """The vector of each quality, (B, channels, 1, 1).

        Args:
            t: (B,) in [0, 1], the quality.
        """
        last = self.anchors.shape[0] - 1
        position = t.clamp(0, 1) * last
        low = position.floor().clamp(max=last - 1).long()
        fraction = (position - low).unsqueeze(1)
        value = self.anchors[low] * (1 - fraction) + self.anchors[low + 1] * fraction
        return value[:, :, None, None]


class ResidualBottleneck(nn.Module):
    """A residual branch, zero at initialisation, whose strength may depend on the quality.

        x ──► * input_scale ──► reduce ──► LReLU ──► spatial ──► LReLU ──► * (1 + gain(t)) ──► expand ──► + ──► out
        │                        1x1                   3x3                                      1x1       │
        └─────────────────────────────────────────────────────────────────────────────────────────────────┘

    `input_scale` brings channels of very different variance (DCT coefficients) to one scale for the
    branch; the residual stream itself keeps the units of the signal.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.input_scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.spatial = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gain = QualityVector(hidden)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)
        self.folded = False

    @torch.no_grad()
    def fold(self, dtype: torch.dtype) -> None:
        """For inference: the weights of `reduce` take `input_scale` in, which saves a pass over x, and the branch
        computes in `dtype`."""
        if not self.folded:
            self.reduce.weight.mul_(self.input_scale)
            self.folded = True
        for conv in (self.reduce, self.spatial, self.expand):
            conv.to(dtype)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        branch = x.to(self.reduce.weight.dtype) if self.folded else x * self.input_scale
        branch = F.leaky_relu_(self.reduce(branch), 0.1)
        branch = F.leaky_relu_(self.spatial(branch), 0.1)
        branch = branch * (1 + self.gain(t)).to(branch.dtype)
        return self.expand(branch).to(x.dtype).add_(x)
