"""A learned density for each dimension of a code, and the integer tables that it becomes.

    z ──► + 1/2 ──► c ──► upper ─┐
                                 ├──► mass of [z - 1/2, z + 1/2] ──► -log2 ──► rate
    z ──► - 1/2 ──► c ──► lower ─┘

c is a distribution function made of layers that can only rise (Ballé, Minnen, Singh, Hwang, Johnston, "Variational
image compression with a scale hyperprior", ICLR 2018, appendix 6.1). In training the mass under z plus uniform noise
bounds the bits of z rounded; `tables` evaluates it once, in integers, at the values that a rounded z can have.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.coding import TableFamily, quantise
from obverse.errors import ExportError

PRECISION = 16  # bits of the tables
WIDEST = 4096  # values of a table; the escape codes what lies beyond
FARTHEST = 2.0**24  # where a quantile is no longer looked for


class FactorisedDensity(nn.Module):
    """x ──► softplus(H) x + b ──► + tanh(a) * tanh(...) ──► ... ──► logit of c(x), for each dimension alone.

    Args:
        dimensions: k.
        filters: units of the inner layers.
        init_scale: about how wide the density is at first.
    """

    def __init__(self, dimensions: int, filters: tuple[int, ...] = (3, 3, 3), init_scale: float = 10.0):
        super().__init__()
        sizes = (1, *filters, 1)
        scale = init_scale ** (1 / (len(sizes) - 1))
        self.dimensions = dimensions
        self.matrices, self.biases, self.factors = (
            nn.ParameterList(),
            nn.ParameterList(),
            nn.ParameterList(),
        )
        for fan_in, fan_out in pairwise(sizes):
            start = math.log(math.expm1(1 / scale / fan_out))
            self.matrices.append(nn.Parameter(torch.full((dimensions, fan_out, fan_in), start)))
            self.biases.append(nn.Parameter(torch.rand(dimensions, fan_out, 1) - 0.5))
        for inner in filters:
            self.factors.append(nn.Parameter(torch.zeros(dimensions, inner, 1)))

    def logits(self, x: Tensor) -> Tensor:
        """(n, k) -> (n, k): the logit of the distribution function at x, which rises with x."""
        h = x.t().unsqueeze(1)
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            h = torch.baddbmm(bias, functional.softplus(matrix), h)
            if i < len(self.factors):
                h = h + torch.tanh(self.factors[i]) * torch.tanh(h)
        return h.squeeze(1).t()

    def log_mass(self, z: Tensor) -> Tensor:
        """(n, k) -> (n, k): log probability, in nats, of the unit interval around z."""
        lower, upper = self.logits(torch.cat([z - 0.5, z + 0.5])).chunk(2)
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), which loses no digits in either tail
        gap = (upper - lower).clamp(min=1e-9)
        return functional.logsigmoid(upper) + functional.logsigmoid(-lower) + torch.log(-torch.expm1(-gap))

    def rate_nats(self, z: Tensor) -> Tensor:
        """(n, k) -> (n,): code length of each row in nats."""
        return -self.log_mass(z).sum(1)

    @torch.no_grad()
    def quantile(self, logit: float) -> np.ndarray:
        """(k,) float64: where the distribution function has this logit, by bisection.

        Raises:
            ExportError: for a density that does not reach it.
        """
        exact = FactorisedDensity(self.dimensions, tuple(f.shape[1] for f in self.factors)).double()
        exact.load_state_dict(self.state_dict())
        low = torch.full((1, self.dimensions), -FARTHEST, dtype=torch.float64)
        high = -low
        if bool((exact.logits(low) > logit).any() or (exact.logits(high) < logit).any()):
            raise ExportError("the density of a code has no end: train longer, or with a larger beta")
        for _ in range(64):
            middle = (low + high) / 2
            below = exact.logits(middle) < logit
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high[0].numpy()

    @torch.no_grad()
    def tables(self, offset: Tensor) -> TableFamily:
        """One integer table for each dimension: the probabilities of the integers q, where z = q + offset.

        A table ends where a tail holds less than half of its smallest frequency; an escape takes the rest, so that no
        value is impossible.

        Args:
            offset: (k,) floats.

        Raises:
            ExportError: for a density that cannot be tabulated.
        """
        exact = FactorisedDensity(self.dimensions, tuple(f.shape[1] for f in self.factors)).double()
        exact.load_state_dict(self.state_dict())
        shift = offset.detach().double().cpu()
        if not all(bool(torch.isfinite(p).all()) for p in exact.parameters()) or not bool(
            torch.isfinite(shift).all()
        ):
            raise ExportError("the density of the codes is not finite: the training has failed, start again")
        end = (PRECISION + 1) * math.log(2)
        low = np.floor(self.quantile(-end) - shift.numpy()).astype(np.int64)
        high = np.ceil(self.quantile(end) - shift.numpy()).astype(np.int64)
        middle = np.round(self.quantile(0.0) - shift.numpy()).astype(np.int64)
        low, high = np.maximum(low, middle - WIDEST // 2), np.minimum(high, middle + WIDEST // 2 - 1)
        rows = []
        q = torch.arange(int((high - low).max()) + 1, dtype=torch.float64)
        masses = exact.log_mass(q[:, None] + torch.from_numpy(low) + shift).exp().numpy()
        for i in range(self.dimensions):
            inside = masses[: high[i] - low[i] + 1, i]
            rows.append(quantise(np.append(inside, max(0.0, 1.0 - float(inside.sum()))), PRECISION))
        return TableFamily.from_frequencies(rows, low, PRECISION, escape=True)
