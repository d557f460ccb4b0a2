"""The rate of the shipped four-step prior as a smooth function of the latents: for searches at the encoder.

    z ──► relax ──► synthesis ──► features ──┐
                                             ├──► slice k ──► mean, scale ──► relax(y - mean) ──► bits
    slices 0..k-1, relaxed ──────────────────┘                                  + mean = ỹ

The same layers as `exact_four_step.py`, made from its integers, but in floats: where those round, gradients pass as
if they did not, and a table is the Gaussian that it was made from. What is coded is always decided by the exact
networks; this twin only says in which direction bits are saved.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.codecs.image.exact_prior import ExactFourStep, ExactSlicePrior, interpolate_level
from obverse.codecs.image.latents import CONTEXT_MAX, CONTEXT_STEP, FRACTION, STEPS
from obverse.codecs.image.prior import gaussian_bits, round_ste
from obverse.quantization.sga import Relax
from obverse.transforms.blocks import depth_to_space
from obverse.transforms.exact import ExactConv


class RescaledConv(nn.Module):
    """An `ExactConv` in float32 that gradients pass: the rescaling is folded into weight and bias."""

    def __init__(self, layer: ExactConv):
        super().__init__()
        scale = layer.multiplier * 2.0**-layer.shift
        self.weight = nn.Buffer(
            (layer.weight.double() * scale.view(-1, 1, 1, 1))
            .float()
            .contiguous(memory_format=torch.channels_last)
        )
        self.bias = nn.Buffer((layer.bias.double() * scale.flatten()).float())
        self.scale = nn.Buffer(scale.float())
        self.low, self.high = nn.Buffer(layer.low.float()), nn.Buffer(layer.high.float())
        self.padding = layer.padding

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """As `ExactConv.forward`, floats throughout; extra: (1, out, 1, 1) in the layer's integer sums."""
        h = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        if extra is not None:
            h = h + extra * self.scale
        return round_ste(torch.clamp(h, self.low, self.high))


class DifferentiableSlice(nn.Module):
    """`ExactSlicePrior` in floats: means in steps of the quantiser, table indices between 0 and SCALES - 1."""

    def __init__(self, exact: ExactSlicePrior):
        super().__init__()
        self.reduce = None if exact.reduce is None else RescaledConv(exact.reduce)
        self.spatial = None if exact.spatial is None else RescaledConv(exact.spatial)
        self.mix, self.head = RescaledConv(exact.mix), RescaledConv(exact.head)

    def forward(self, features: Tensor, earlier: list[Tensor]) -> tuple[Tensor, Tensor]:
        h = features
        if self.reduce is not None and self.spatial is not None:
            seen = (torch.cat(earlier, 1) * (FRACTION / CONTEXT_STEP)).clamp(-CONTEXT_MAX, CONTEXT_MAX)
            h = torch.cat([h, self.spatial(self.reduce(round_ste(seen)))], 1)
        mean, index = self.head(self.mix(h)).chunk(2, 1)
        return mean / FRACTION, index


class DifferentiableFourStep(nn.Module):
    """Bits of latents and hyper-latents under the prior that ships, with gradients."""

    def __init__(self, exact: ExactFourStep):
        super().__init__()
        self.conv1, self.conv2 = RescaledConv(exact.conv1), RescaledConv(exact.conv2)
        self.slices = nn.ModuleList(DifferentiableSlice(part) for part in exact.slices)  # type: ignore[arg-type]
        self.quality = nn.Buffer(exact.quality)
        self.z_index = nn.Buffer(exact.z_index)

    def forward(self, slices: Tensor, z: Tensor, level: int, relax: Relax) -> tuple[Tensor, Tensor, Tensor]:
        """slices: (4, M, h/2, w/2), the slices of y, gained, not rounded; z: (1, Z, h/4, w/4), not rounded.

        relax: what stands for rounding. Returns the slices of ŷ (4, M, h/2, w/2) as relaxed, the bits of y and those
        of z, scalars.
        """
        z_hat = relax(z)
        z_index = (interpolate_level(self.z_index, level) / 64).round().float().view(1, -1, 1, 1)
        z_bits = gaussian_bits(z_hat, z_index.expand_as(z)).sum()
        extra = interpolate_level(self.quality, level).float().view(1, -1, 1, 1)
        features = self.conv2(depth_to_space(self.conv1(z_hat, extra), 2))
        y_bits = z_bits.new_zeros(())
        decoded: list[Tensor] = []
        for k in range(STEPS):
            mean, index = self.slices[k](features, decoded)
            residual = relax(slices[k : k + 1] - mean)
            y_bits = y_bits + gaussian_bits(residual, index).sum()
            decoded.append(residual + mean)
        return torch.cat(decoded), y_bits, z_bits


def join_slices(slices: Tensor) -> Tensor:
    """(4, M, h/2, w/2) -> y (1, M, h, w); `four_step.from_slices` as one permutation, which gradients pass quickly."""
    _, m, h, w = slices.shape
    parts = slices.reshape(STEPS, 4, m // 4, h, w).flatten(0, 1)
    # quarter q at position p of the 2x2 cell lies in slice (q - p) mod 4
    order = torch.tensor([(q - p) % 4 * 4 + p for q in range(4) for p in range(4)])
    y = parts.index_select(0, order).view(4, 2, 2, m // 4, h, w).permute(4, 1, 5, 2, 0, 3)
    return y.reshape(1, 2 * h, 2 * w, m).permute(0, 3, 1, 2)
