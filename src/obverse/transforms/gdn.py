"""Generalised divisive normalisation: what convolutions of a compressor have between them.

    x ──► x² ──► gamma ──► + beta ──► square root ──► x / it = y        (analysis; its inverse multiplies)

y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j²), at each place alone (Ballé, Laparra, Simoncelli, "Density modeling of
images using a generalized normalization transformation", ICLR 2016, equation 4 with exponents 2 and 1/2). It makes the
channels' marginals nearly Gaussian and nearly independent, which is what a factorised prior can code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PEDESTAL = 2.0**-36  # lets gamma start at zero and still move: the derivative of a square at zero is none
LEAST_BETA = 1e-6


class _AtLeast(torch.autograd.Function):
    """max(x, bound) whose gradient also passes below the bound where it would raise x."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


def at_least(x: Tensor, bound: float) -> Tensor:
    """x where it is above the bound, else the bound; below it only gradients that raise x pass."""
    return _AtLeast.apply(x, bound)


class GDN(nn.Module):
    """x (n, C, H, W) ──► x / sqrt(beta + gamma x²), or times it if `inverse`: y of the same shape.

    beta (C,) and gamma (C, C) are what `root_beta` and `root_gamma` give squared, less the pedestal; so they stay above
    1e-6 and at 0, and small ones move in small steps (Ballé, Laparra, Simoncelli, ICLR 2017, section 6.2).

    Args:
        channels: C.
        inverse: multiply instead of dividing.
        start: of the diagonal of gamma.
    """

    def __init__(self, channels: int, inverse: bool = False, start: float = 0.1):
        super().__init__()
        self.inverse = inverse
        self.root_beta = nn.Parameter(torch.full((channels,), math.sqrt(1 + PEDESTAL)))
        gamma = torch.full((channels, channels), math.sqrt(PEDESTAL))
        self.root_gamma = nn.Parameter(gamma.fill_diagonal_(math.sqrt(start + PEDESTAL)))

    @property
    def beta(self) -> Tensor:
        """(C,) at least 1e-6."""
        return at_least(self.root_beta, (LEAST_BETA + PEDESTAL) ** 0.5).square() - PEDESTAL

    @property
    def gamma(self) -> Tensor:
        """(C, C) at least 0: how much channel j, squared, says about the scale of channel i."""
        return at_least(self.root_gamma, PEDESTAL**0.5).square() - PEDESTAL

    def forward(self, x: Tensor) -> Tensor:
        power = functional.conv2d(x.square(), self.gamma[:, :, None, None], self.beta)
        return x * (torch.sqrt(power) if self.inverse else torch.rsqrt(power))
