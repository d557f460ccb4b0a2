"""Latent-variable models of small grayscale images: the float networks, for training.

Two latent layers, a Markov chain (Kingma, Abbeel and Ho, "Bit-Swap", ICML 2019), or the upper one alone:

    x ──► posterior 0 ──► z1 ──► posterior 1 ──► z2          q(z1|x) q(z2|z1)
    z2 ──► prior ──► z1 ──► features ──► pixels ──► x         p(z2) p(z1|z2) p(x|z1)

z1 is a grid of (local, H/4, W/4) numbers, z2 a vector of `top`. Both are logistic given what they depend on, and
p(z2) is the standard logistic. The pixels come in three phases, each a mixture of discretised logistics given
the features of z1 and the phases before: of each square of 2x2 first the pixel top left, then the one bottom
right, then the other two, which have all four neighbours by then. So z1 need not describe every detail.

Latents count in scales of the standard logistic, whose standard deviation is 1.8; pixels are whole numbers 0 to
levels - 1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.codecs.vae.recipe import VaeConfig
from obverse.transforms.blocks import depth_to_space, space_to_depth

PHASES = ((0,), (3,), (1, 2))  # which pixels of a 2x2 square (0 top left, 1 top right, 2, 3) come together
LATENT_REACH = 6.0  # means of latents lie within so many scales of the standard logistic
LATENT_LOG2_SCALE = (-7.0, 3.0)  # of latents
PIXEL_LOG2_SCALE = (-4.0, 9.0)  # of pixels, in pixel values
PIXEL_REACH = 2.0  # means of pixels lie within -1 to 2 times the range
LOGIT_REACH = 16.0  # nats by which a weight, or a binary pixel, may be more likely than another

Op = tuple[Any, ...]


def network_ops(config: VaeConfig) -> dict[str, tuple[Op, ...]]:
    """Every network as a list: ("conv", in, out, size), ("down",), ("up",), ("flatten",), ("grid", c, h, w).

    "down" and "up" move between resolutions by a factor of 2, 4 times the channels at the lower one; "flatten" and
    "grid" between a grid and a vector. A ReLU stands behind each convolution but the last.
    """
    c, h, w = config.channels, *config.grid
    half = max(8, c // 2)
    cells = half * h * w
    into_vector: tuple[Op, ...] = (
        ("flatten",), ("conv", cells, config.hidden, 1), ("conv", config.hidden, 2 * config.top, 1),
    )  # fmt: skip
    into_grid: tuple[Op, ...] = (
        ("conv", config.top, config.hidden, 1), ("conv", config.hidden, cells, 1), ("grid", half, h, w),
    )  # fmt: skip
    body: tuple[Op, ...] = (
        ("down",), ("conv", 4, half, 3), ("down",), ("conv", 4 * half, c, 1), ("conv", c, c, 3), ("conv", c, c, 3),
    )  # fmt: skip
    to_features: tuple[Op, ...] = (("conv", c, c, 3), ("conv", c, 4 * config.features, 1), ("up",))
    nets: dict[str, tuple[Op, ...]] = {}
    if config.local:
        nets["posterior0"] = (*body, ("conv", c, 2 * config.local, 1))
        nets["posterior1"] = (("conv", config.local, half, 3), *into_vector)
        nets["prior"] = (*into_grid, ("conv", half, c, 3), ("conv", c, 2 * config.local, 1))
        nets["features"] = (("conv", config.local, c, 3), *to_features)
    else:
        nets["posterior0"] = (*body, ("conv", c, half, 1), *into_vector)
        nets["features"] = (*into_grid, ("conv", half, c, 3), *to_features)
    known = 0
    for number, pixels in enumerate(PHASES):
        nets[f"phase{number}"] = (  # the first has no pixels around it to look at
            ("conv", config.features + known, config.phase, 3), ("conv", config.phase, config.phase, 3 if known else 1),
            ("conv", config.phase, config.parameters * len(pixels), 1),
        )  # fmt: skip
        known += len(pixels)
    return nets


def rearrange(x: Tensor, op: Op) -> Tensor:
    """The operations of `network_ops` that only move numbers."""
    if op[0] == "down":
        return space_to_depth(x, 2)
    if op[0] == "up":
        return depth_to_space(x, 2)
    if op[0] == "flatten":
        return x.reshape(x.shape[0], -1, 1, 1)
    return x.reshape(x.shape[0], *op[1:])


class Stack(nn.Module):
    """One network of `network_ops`. end: whether a ReLU stands behind the last convolution too."""

    def __init__(self, ops: tuple[Op, ...], end: bool = False):
        super().__init__()
        self.ops, self.end = ops, end
        self.convs = nn.ModuleList(
            nn.Conv2d(op[1], op[2], op[3], padding=op[3] // 2) for op in ops if op[0] == "conv"
        )

    def forward(self, x: Tensor) -> Tensor:
        number = 0
        for op in self.ops:
            if op[0] != "conv":
                x = rearrange(x, op)
                continue
            x = self.convs[number](x)
            number += 1
            if number < len(self.convs) or self.end:
                x = F.relu(x)
        return x


def split_pixels(x: Tensor) -> list[Tensor]:
    """(B, 1, H, W) -> the phases' pixels, (B, 1 or 2, H/2, W/2)."""
    squares = space_to_depth(x, 2)
    return [squares[:, list(pixels)] for pixels in PHASES]


def latent_parameters(out: Tensor) -> tuple[Tensor, Tensor]:
    """What a posterior or prior network gives -> means and log2 scales."""
    mean, scale = out.chunk(2, dim=1)
    mean = mean.clamp(-LATENT_REACH, LATENT_REACH)
    return mean, (scale - 1).clamp(*LATENT_LOG2_SCALE)


def log_logistic(z: Tensor, mean: Tensor | float, log2_scale: Tensor | float) -> Tensor:
    """The log density of a logistic, in nats."""
    log_scale = log2_scale * math.log(2)
    u = (z - mean) * (-log_scale).exp() if isinstance(log_scale, Tensor) else z - mean
    return -u - 2 * F.softplus(-u) - log_scale


def log_pixels(x: Tensor, out: Tensor, levels: int) -> Tensor:
    """log p of pixels x (B, n, h, w), whole numbers, in nats; out: what a phase's network gives.

    Discretised logistics whose first and last value take the tails (Salimans et al., "PixelCNN++", ICLR 2017,
    eq. 2), by log(s(a) - s(b)) = -softplus(-a) - softplus(b) + log(1 - exp(b - a)), which never cancels.
    """
    b, n, h, w = x.shape
    out = out.float().view(b, n, -1, h, w)
    if levels == 2:
        return -F.softplus((1 - 2 * x) * (4 * out[:, :, 0]).clamp(-LOGIT_REACH, LOGIT_REACH))
    logits, means, scales = out.chunk(3, dim=2)
    logits = logits.clamp(-LOGIT_REACH, LOGIT_REACH)
    means = (means * levels).clamp((1 - PIXEL_REACH) * levels, PIXEL_REACH * levels)
    inverse = torch.exp2(-(4 * scales + 3).clamp(*PIXEL_LOG2_SCALE))
    x = x.unsqueeze(2)
    upper = -F.softplus((means - x - 0.5) * inverse) * (x < levels - 1)
    lower = -F.softplus((x - 0.5 - means) * inverse) * (x > 0)
    inside = (x > 0) & (x < levels - 1)
    width = torch.where(inside, torch.log(-torch.expm1(-inverse)), 0.0)
    return torch.logsumexp(F.log_softmax(logits, dim=2) + upper + lower + width, dim=2)


class VaeNetworks(nn.Module):
    """x ──► z, and z ──► p(x), in floats: `forward` is the negative ELBO that training minimises."""

    def __init__(self, config: VaeConfig):
        super().__init__()
        self.config = config
        self.nets = nn.ModuleDict(
            {name: Stack(ops, end=name == "features") for name, ops in network_ops(config).items()}
        )
        for number, pixels in enumerate(PHASES):
            last = self.nets[f"phase{number}"].convs[-1]
            nn.init.zeros_(last.bias)
            if config.levels > 2:  # components start spread over the range
                spread = (torch.arange(config.components) + 0.5) / config.components
                with torch.no_grad():
                    last.bias.view(len(pixels), 3, -1)[:, 1] = spread
        for name, net in self.nets.items():
            if name.startswith(("posterior", "prior")):
                nn.init.zeros_(net.convs[-1].bias)

    def forward(self, x: Tensor, noise: torch.Generator | None = None) -> dict[str, Tensor]:
        """x: (B, 1, H, W) whole numbers as floats -> nats for each image, (B,).

        pixels: -log p(x|z). kl: a list in one tensor (B, layers), log q - log p of each latent layer, for one sample z
        of the posterior.
        """
        config = self.config
        scaled = x / (config.levels - 1)
        above: Tensor = scaled
        kl = []
        samples: list[Tensor] = []
        for layer in range(len(config.latents)):
            mean, log2_scale = latent_parameters(self.nets[f"posterior{layer}"](above).float())
            u = torch.rand(mean.shape, generator=noise, device=mean.device).clamp(1e-6, 1 - 1e-6)
            z = mean + log2_scale.exp2() * torch.logit(u)
            kl.append(log_logistic(z, mean, log2_scale).flatten(1).sum(1))
            samples.append(z)
            above = z
        for layer, z in enumerate(samples):
            if layer + 1 < len(samples):
                prior = latent_parameters(self.nets["prior"](samples[layer + 1]).float())
            else:
                prior = (torch.zeros(()), torch.zeros(()))
            kl[layer] = kl[layer] - log_logistic(z, *prior).flatten(1).sum(1)
        features = self.nets["features"](samples[0])
        phases, known = (
            split_pixels(x),
            split_pixels(scaled.to(features.dtype)),
        )  # torch.cat is slow over dtypes
        pixels = torch.zeros(x.shape[0], device=x.device)
        for number, values in enumerate(phases):
            out = self.nets[f"phase{number}"](torch.cat([features, *known[:number]], dim=1))
            pixels = pixels - log_pixels(values, out, config.levels).flatten(1).sum(1)
        return {"pixels": pixels, "kl": torch.stack(kl, dim=1)}
