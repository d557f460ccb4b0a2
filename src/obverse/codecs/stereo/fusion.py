"""Synthesis of a right view from the decoded one and the left view: align, then fuse.

Alignment is a search along rows: features of both views at a quarter of their size are correlated at every
disparity, small convolutions clean the correlations up, and a softmax over disparities is an attention to
the left view's row (parallax attention: Wang et al., "Learning parallax attention for stereo image
super-resolution", CVPR 2019). The left view is then warped at full resolution and refined by a few pixels in
both directions, since no rectification is perfect. Side information in a learned decoder: Ayzik and Avidan, "Deep
image compression using decoder side information", ECCV 2020.

Nothing here decides how a file is parsed, so that floats are free to differ between machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.codecs.stereo.recipe import CELL, StereoConfig
from obverse.transforms.blocks import QualityVector, ResidualBottleneck, depth_to_space, space_to_depth

ALIGN = 8  # both sides of what the network sees are multiples of this
REFINE = 4.0  # pixels: the refinement moves by at most this much in each direction
OFFSETS = (-1.5, 0.0, 1.5)  # pixels: where the refinement looks


@dataclass(frozen=True)
class Fused:
    """x: (B, 3, H, W), what is synthesised; aligned: (B, 3, H, W), the left view where the right view sees it;
    disparity: (B, 1, H, W), pixels; attention: (B, D, H/4, W/4), the softmax over disparities."""

    x: Tensor
    aligned: Tensor
    disparity: Tensor
    attention: Tensor


def correlate_rows(right: Tensor, left: Tensor, disparities: int) -> Tensor:
    """out[b, d, r, c] = sum over channels of right[b, :, r, c] * left[b, :, r, c + d], zero beyond the left view.

    right: (B, C, h, w); left: (B, C, h, w'), w' >= w. Returns (B, disparities, h, w).
    """
    b, c, h, w = right.shape
    wide = w + disparities - 1
    left = F.pad(left[..., :wide], (0, max(0, wide - left.shape[3])))
    product = right.permute(0, 2, 3, 1).reshape(b * h, w, c) @ left.permute(0, 2, 1, 3).reshape(
        b * h, c, wide
    )
    # Row i of each product holds what belongs to pixel i from column i on: one extra column per row, taken
    # from the end, turns these diagonals into columns.
    flat = F.pad(product.reshape(b * h, w * wide), (0, w))
    band = flat.view(b * h, w, wide + 1)[:, :, :disparities]
    return band.view(b, h, w, disparities).permute(0, 3, 1, 2)


def warp(image: Tensor, dx: Tensor, dy: Tensor | None = None, mode: str = "bilinear") -> Tensor:
    """out[..., r, c] = image[..., r + dy, c + dx], borders repeated.

    image: (B, C, H', W'); dx, dy: (B, 1, H, W) in pixels. Returns (B, C, H, W).
    """
    height, width = dx.shape[2:]
    rows = torch.arange(height, dtype=torch.float32, device=dx.device)[None, :, None]
    columns = torch.arange(width, dtype=torch.float32, device=dx.device)[None, None, :]
    x = (columns + dx[:, 0]) * (2 / max(1, image.shape[3] - 1)) - 1
    y = (rows if dy is None else rows + dy[:, 0]).expand_as(x) * (2 / max(1, image.shape[2] - 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)


def peak_disparity(attention: Tensor, radius: int = 2) -> tuple[Tensor, Tensor]:
    """(B, D, h, w) -> the mean disparity around the strongest one, in cells, and the weight of that
    neighbourhood, both (B, 1, h, w). A mean over all of them would fall between two surfaces at an edge."""
    best = attention.argmax(dim=1, keepdim=True)
    index = torch.arange(attention.shape[1], device=attention.device).view(1, -1, 1, 1)
    near = attention * ((index - best).abs() <= radius)
    weight = near.sum(dim=1, keepdim=True)
    return (near * index).sum(dim=1, keepdim=True) / weight.clamp(min=1e-6), weight


def convex_upsample(coarse: Tensor, logits: Tensor) -> Tensor:
    """(B, 1, h, w) -> (B, 1, 2 h, 2 w), each a weighted mean of its 3x3 neighbours; logits: (B, 36, h, w).

    Edges stay sharp, unlike with bilinear interpolation. Source: Teed and Deng, "RAFT", ECCV 2020, section 3.3.
    """
    b, _, h, w = coarse.shape
    neighbours = F.unfold(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3).view(b, 9, 1, h, w)
    weights = logits.float().view(b, 9, 4, h, w).softmax(dim=1)
    return F.pixel_shuffle((neighbours * weights).sum(dim=1), 2)


def luma(x: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)."""
    return (0.25 * x[:, :1] + 0.5 * x[:, 1:2] + 0.25 * x[:, 2:]).contiguous()


def convolution(inputs: int, outputs: int, side: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def residual_blocks(count: int, channels: int, hidden: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBottleneck(channels, hidden) for _ in range(count))


def run(blocks: nn.ModuleList, x: Tensor, t: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, t)
    return x


class StereoFusion(nn.Module):
    """The decoded right view and the left view to a better right view.

    x ──► features ──┬──► correlation ──► softmax ──► disparity ──► refinement ──► aligned y ──► fusion ──► + ──► x̂
    y ──► features ──┘    over rows                   (1/4)         (1/2)          (full)         (1/2)     │
    x ──────────────────────────────────────────────────────────────────────────────────────────────────────┘

    The last layer starts at zero: an untrained network returns x.
    """

    def __init__(self, config: StereoConfig):
        super().__init__()
        self.config = c = config
        pixels = 3 * CELL * CELL
        self.stem_x = convolution(pixels, c.features)
        self.stem_y = convolution(pixels, c.features)
        self.features = residual_blocks(3, c.features, c.features)
        self.match = convolution(c.features, c.match, 1)
        self.log_temperature = QualityVector(1, init=math.log(8.0))

        self.cost_in = convolution(c.disparities + c.features, c.cost)
        self.cost_fine = residual_blocks(2, c.cost, 48)
        self.cost_down = convolution(4 * c.cost, c.coarse_cost, 1)
        self.cost_coarse = residual_blocks(3, c.coarse_cost, 64)
        self.cost_up = convolution(c.coarse_cost, 4 * c.cost, 1)
        self.cost_last = residual_blocks(1, c.cost, 48)
        self.cost_out = convolution(c.cost, c.disparities, 1)
        self.upsample = convolution(c.cost, 36, 1)
        self.context = convolution(c.cost, 4 * c.context, 1)

        self.refine_in = convolution(4 * (1 + len(OFFSETS)) + c.context + 1, c.refine)
        self.refine = residual_blocks(2, c.refine, c.refine)
        self.refine_out = convolution(c.refine, 2)

        self.fuse_in = convolution(12 + 12 + 12 + c.context + 2, c.trunk)
        self.fuse_first = residual_blocks(2, c.trunk, 48)
        self.fuse_down = convolution(4 * c.trunk, c.deep, 1)
        self.fuse_deep = residual_blocks(c.deep_blocks, c.deep, 80)
        self.fuse_up = convolution(c.deep, 4 * c.trunk, 1)
        self.fuse_last = residual_blocks(2, c.trunk, 48)
        self.fuse_out = convolution(c.trunk, 12)
        # The error of the decoded view falls with the quality, and with it what there is to correct.
        decibels = torch.linspace(26.5, 44.0, 9, device="cpu")
        self.log_scale = QualityVector(1)
        self.log_scale.anchors.data.copy_((-decibels * math.log(10) / 20).view(9, 1))
        for layer in (self.cost_out, self.refine_out, self.fuse_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def align(self, x: Tensor, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Attention (B, D, H/4, W/4); disparity in pixels and confidence in [0, 1], (B, 1, H/2, W/2); context."""
        fx = run(self.features, self.stem_x(space_to_depth(x - 0.5, CELL)), t)
        fy = run(self.features, self.stem_y(space_to_depth(y - 0.5, CELL)), t)
        cost = correlate_rows(
            F.normalize(self.match(fx).float(), dim=1),
            F.normalize(self.match(fy).float(), dim=1),
            self.config.disparities,
        ) * torch.exp(self.log_temperature(t))
        fine = run(self.cost_fine, F.leaky_relu(self.cost_in(torch.cat([cost, fx], 1)), 0.1), t)
        coarse = F.leaky_relu(self.cost_down(space_to_depth(fine, 2)), 0.1)
        coarse = run(self.cost_coarse, coarse, t)
        fine = run(self.cost_last, fine + depth_to_space(self.cost_up(coarse), 2), t)
        attention = (cost + self.cost_out(fine).float()).softmax(dim=1)
        disparity, confidence = peak_disparity(attention)
        disparity = convex_upsample(disparity * CELL, self.upsample(fine))
        confidence = F.interpolate(confidence, scale_factor=2, mode="nearest")
        return attention, disparity, confidence, depth_to_space(self.context(fine), 2)

    def forward(self, x: Tensor, y: Tensor, t: Tensor) -> Fused:
        """x: (B, 3, H, W), the decoded right view in [0, 1]; y: (B, 3, H, W'), the left view, W' >= W, whose
        column 0 is that of x; H, W and W' multiples of 8; t: (B,) quality in [0, 1]."""
        return self.fuse(x, y, t, *self.align(x, y, t))

    def run_mixed(self, x: Tensor, y: Tensor, t: Tensor, bfloat16: bool) -> Fused:
        """`forward` for inference: alignment in float32, since a disparity is a choice that a rounding error could
        turn over; the rest in bfloat16 if so wanted."""
        matched = self.align(x, y, t)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            return self.fuse(x, y, t, *matched)

    def fuse(
        self,
        x: Tensor,
        y: Tensor,
        t: Tensor,
        attention: Tensor,
        half: Tensor,
        confidence: Tensor,
        context: Tensor,
    ) -> Fused:
        """Refine the disparity, warp the left view, correct the right one; the last four come from `align`."""
        full = F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
        y_luma = luma(y)
        looked = [space_to_depth(warp(y_luma, full + offset), 2) for offset in OFFSETS]
        x2 = space_to_depth(x, 2)
        seen = torch.cat([space_to_depth(luma(x), 2), *looked, context, confidence], 1)
        step = run(self.refine, F.leaky_relu(self.refine_in(seen), 0.1), t)
        step = F.interpolate(
            REFINE * torch.tanh(self.refine_out(step).float() / REFINE),
            scale_factor=2,
            mode="bilinear",
            align_corners=False,
        )
        disparity = full + step[:, :1]
        aligned = warp(y, disparity, step[:, 1:], mode="bicubic")
        columns = torch.arange(x.shape[3], device=x.device)
        inside = ((columns + disparity) <= y.shape[3] - 1).float()[:, :, ::2, ::2]
        y2 = space_to_depth(aligned, 2)
        scale = torch.exp(self.log_scale(t))
        # the difference in units of the expected error, so that every quality looks alike
        difference = ((y2 - x2) / scale).clamp(-8, 8)
        h = torch.cat([x2 - 0.5, y2 - 0.5, difference, context, confidence, inside], 1)
        h = run(self.fuse_first, F.leaky_relu(self.fuse_in(h), 0.1), t)
        deep = F.leaky_relu(self.fuse_down(space_to_depth(h, 2)), 0.1)
        deep = run(self.fuse_deep, deep, t)
        h = run(self.fuse_last, h + depth_to_space(self.fuse_up(deep), 2), t)
        correction = depth_to_space(self.fuse_out(h).float(), 2)
        return Fused(x + correction * scale, aligned, disparity, attention)
