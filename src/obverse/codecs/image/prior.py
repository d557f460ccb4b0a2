"""A mean-scale hyperprior with a four-step spatial and channel context, as it is trained (floats).

The latents y (M, h, w) are cut into four slices. Each 2x2 cell of positions and each quarter of the
channels meet once in every slice, so a slice has M channels at half the resolution:

    position in the cell   (0,0) (0,1) (1,0) (1,1)
    channel quarter         k     k+1   k+2   k+3   (mod 4)   of slice k

Slice k is predicted from the hyperprior and slices 0..k-1, all positions at once: after the first
slice every position and every channel quarter has decoded neighbours. Four parallel steps decode an
image of any size (compare the checkerboard of He et al., CVPR 2021, and the four-step model of Li,
Li and Lu, "Neural video compression with diverse contexts", CVPR 2023).

What ships is `codecs/image/exact_prior.py`: the same networks in integer arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.codecs.image.latents import STEPS, slice_parts
from obverse.codecs.image.scales import LOG_STEP, SCALE_MIN, SCALES
from obverse.quantization.rounding import with_noise
from obverse.transforms.blocks import QualityVector, depth_to_space


def take_slice(y: Tensor, step: int) -> Tensor:
    """Slice `step` of y (B, M, h, w), h and w even, M a multiple of 4 -> (B, M, h/2, w/2)."""
    return torch.cat([y[:, c, r, q] for c, r, q in slice_parts(step, y.shape[1])], 1)


def to_slices(y: Tensor) -> list[Tensor]:
    """(B, M, h, w) -> its four slices (B, M, h/2, w/2)."""
    return [take_slice(y, step) for step in range(STEPS)]


def from_slices(slices: list[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """The inverse of `to_slices`; in another dtype if one is given."""
    b, m, h, w = slices[0].shape
    y = slices[0].new_empty(b, m, 2 * h, 2 * w, dtype=dtype)
    for step, part in enumerate(slices):
        for (c, r, q), value in zip(slice_parts(step, m), part.split(m // 4, 1), strict=True):
            y[:, c, r, q] = value
    return y


class LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient still lets x rise back above the bound."""

    @staticmethod
    def forward(ctx, x: Tensor, bound: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad * ((x >= ctx.bound) | (grad < 0)), None


def gaussian_bits(residual: Tensor, index: Tensor) -> Tensor:
    """Bits of integers-plus-noise `residual` under a zero-mean discretised Gaussian of scale `index`."""
    sigma = SCALE_MIN * torch.exp(LOG_STEP * LowerBound.apply(index, 0.0).clamp(max=SCALES - 1))
    r = residual.abs()
    root2 = 2**-0.5
    p = 0.5 * (torch.erfc((r - 0.5) / sigma * root2) - torch.erfc((r + 0.5) / sigma * root2))
    return -torch.log2(LowerBound.apply(p, 1e-9))


def round_ste(x: Tensor) -> Tensor:
    """Rounding with the gradient of the identity."""
    return x + (x.round() - x).detach()


class HyperAnalysis(nn.Module):
    """y (M, h, w) ──► 1x1 ──► 3x3 /2 ──► 3x3 /2 ──► z (Z, h/4, w/4). Runs at the encoder only."""

    def __init__(self, latents: int, hyper: int, hidden: int):
        super().__init__()
        self.reduce = nn.Conv2d(latents, hidden, 1)
        self.down1 = nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(hidden, hyper, 3, stride=2, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        h = F.leaky_relu(self.reduce(y), 0.1)
        h = F.leaky_relu(self.down1(h), 0.1)
        return self.down2(h)


class HyperSynthesis(nn.Module):
    """ẑ (Z, h/4, w/4) ──► 3x3 + bias(t) ──► depth_to_space 2 ──► 3x3 ──► features (C, h/2, w/2)."""

    def __init__(self, hyper: int, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(hyper, 4 * hyper, 3, padding=1)
        self.quality = QualityVector(4 * hyper)
        self.conv2 = nn.Conv2d(hyper, features, 3, padding=1)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        h = F.relu(self.conv1(z) + self.quality(t))
        return F.relu(self.conv2(depth_to_space(h, 2)))


class SlicePrior(nn.Module):
    """Means and scale indices of one slice.

    earlier slices ──► reduce 1x1 ──► ReLU ──► spatial 3x3 ──► ReLU ──┐
    (k M, h/2, w/2)                                                  cat ──► mix 1x1 ──► ReLU ──► head 1x1
    features (C, h/2, w/2) ──────────────────────────────────────────┘                            mean, index
    """

    def __init__(self, step: int, latents: int, features: int, context: int, hidden: int):
        super().__init__()
        self.step = step
        if step:
            self.reduce = nn.Conv2d(step * latents, context, 1)
            self.spatial = nn.Conv2d(context, context, 3, padding=1)
        self.mix = nn.Conv2d(features + (context if step else 0), hidden, 1)
        self.head = nn.Conv2d(hidden, 2 * latents, 1)
        with torch.no_grad():
            self.head.bias[latents:] = 16.0

    def forward(self, features: Tensor, earlier: list[Tensor]) -> tuple[Tensor, Tensor]:
        h = features
        if self.step:
            c = F.relu(self.reduce(torch.cat(earlier, 1)))
            h = torch.cat([h, F.relu(self.spatial(c))], 1)
        mean, index = self.head(F.relu(self.mix(h))).float().chunk(2, 1)
        return mean, index


class FourStepHyperprior(nn.Module):
    """Rates of latents y and of hyper-latents z, with the quantised latents that the decoder would have."""

    def __init__(self, latents: int, hyper: int, features: int, context: int, hidden: int):
        super().__init__()
        self.latents, self.hyper = latents, hyper
        self.analysis = HyperAnalysis(latents, hyper, features)
        self.synthesis = HyperSynthesis(hyper, features)
        self.slices = nn.ModuleList(SlicePrior(k, latents, features, context, hidden) for k in range(STEPS))
        self.z_index = QualityVector(hyper, init=20.0)

    def forward(self, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y: (B, M, h, w), gained, h and w multiples of 4; t: (B,).

        Returns ŷ (B, M, h, w), bits of y (B,), bits of z (B,). In training the rate is that of y with
        uniform noise while ŷ is rounded (Minnen and Singh, ICIP 2020); in evaluation both are rounded.
        """
        z = self.analysis(y).float()
        z_hat = round_ste(z)
        z_noisy = with_noise(z) if self.training else z_hat
        z_bits = gaussian_bits(z_noisy, self.z_index(t).expand_as(z)).sum(dim=(1, 2, 3))
        features = self.synthesis(z_hat, t)
        y_bits = torch.zeros_like(z_bits)
        decoded: list[Tensor] = []
        for prior, part in zip(self.slices, to_slices(y), strict=True):
            mean, index = prior(features, decoded)
            residual = part - mean
            rounded = round_ste(residual)
            noisy = with_noise(residual) if self.training else rounded
            y_bits = y_bits + gaussian_bits(noisy, index).sum(dim=(1, 2, 3))
            decoded.append(rounded + mean)
        return from_slices(decoded), y_bits, z_bits
