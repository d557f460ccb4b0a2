"""Rounding as training sees it: the rate through uniform noise, the distortion through a gradient that passes by.

    y ──► + uniform noise of one step ──► rate            y ──► nearest whole step from the offset ──► ŷ
                                                          gradient of ŷ ──────────────────────────► gradient of y

Noise has the density that rounding has on average (Ballé, Laparra, Simoncelli, "End-to-end optimized image
compression", ICLR 2017, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor


def with_noise(y: Tensor) -> Tensor:
    """y plus uniform noise of one step: what stands for rounding in the rate."""
    return y + torch.rand_like(y) - 0.5


def straight_through(y: Tensor, offset: Tensor) -> Tensor:
    """y rounded to whole steps from the offset, which broadcasts; the gradient passes as if it had not been."""
    return y + (torch.round(y - offset) + offset - y).detach()
