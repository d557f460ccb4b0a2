"""Gumbel-softmax, also called Concrete: a differentiable sample of a categorical variable.

    logits + Gumbel noise, divided by a temperature ──► softmax ──► a vector close to one-hot

Its largest entry is an exact sample of the categorical; the lower the temperature, the closer the whole vector
is to one-hot and the noisier its gradient (Jang, Gu, Poole, ICLR 2017; Maddison, Mnih, Teh, ICLR 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_softmax(logits: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
    """A relaxed one-hot sample of softmax(logits), of the shape of `logits`, over its last axis.

    Args:
        logits: unnormalised log probabilities in nats.
        temperature: above 0.
        generator: of the noise.
    """
    uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype, device=logits.device)
    tiny = torch.finfo(logits.dtype).tiny
    noise = -torch.log(-torch.log(uniform.clamp(tiny, 1 - torch.finfo(logits.dtype).eps)))
    return torch.softmax((logits + noise) / temperature, dim=-1)
