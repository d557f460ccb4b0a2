"""A density of codes that lie in clusters: which one is told first, and gives each dimension its own table.

    z ──► h, the cluster in which z is cheapest ──► -log2 p(h) bits
    z, h ──► logistic of mean[h, j] and scale[h, j] ──► mass of [z_j - 1/2, z_j + 1/2] ──► bits of dimension j

A hyperprior of one symbol (compare Ballé, Minnen, Singh, Hwang, Johnston, ICLR 2018, whose side information also gives
the tables of the rest). Codes of images of ten classes are far from independent dimension by dimension; given the
cluster they are much nearer to it. h is a function of the code, so nothing is lost but the choice among clusters that
overlap.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.coding import TableFamily, quantise
from obverse.errors import ExportError

PRECISION = 16  # bits of the tables
WIDEST = 1024  # values of a table; the escape codes what lies beyond
NARROWEST = 0.03  # scale of a logistic: all mass in one cell, to the precision of a table
LLOYD_ROUNDS = 10


class ClusteredDensity(nn.Module):
    """z ──► cheapest of `clusters` products of logistics. dimensions: k."""

    def __init__(self, dimensions: int, clusters: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(clusters))
        self.means = nn.Parameter(torch.randn(clusters, dimensions))
        self.log_scales = nn.Parameter(torch.zeros(clusters, dimensions))

    @torch.no_grad()
    def place(self, z: Tensor, seed: int = 0) -> None:
        """Start from k-means of z, (n, k) with n at least the number of clusters."""
        count = len(self.logits)
        generator = torch.Generator().manual_seed(seed)
        means = z[torch.randperm(len(z), generator=generator)[:count].to(z.device)].clone()
        for _ in range(LLOYD_ROUNDS):
            nearest = torch.cdist(z, means).argmin(1)
            sizes = torch.bincount(nearest, minlength=count)
            sums = torch.zeros_like(means).index_add_(0, nearest, z)
            means = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], means)
        squares = torch.zeros_like(means).index_add_(0, nearest, (z - means[nearest]).square())
        # the variance of a small cluster is held near that of others, as if it had a few more items
        variance = (squares + 4 * squares.sum(0) / len(z)) / (sizes[:, None] + 4)
        self.means.copy_(means)
        self.log_scales.copy_(0.5 * torch.log(variance + 1 / 12) + math.log(math.sqrt(3) / math.pi))
        self.logits.copy_(torch.log(sizes + 1.0))

    def log_mass(self, z: Tensor, cluster: Tensor) -> Tensor:
        """z (n, k), cluster (n,) -> (n, k): log probability, in nats, of the unit interval around z in its cluster."""
        inverse = torch.exp(-self.log_scales[cluster].clamp(min=math.log(NARROWEST)))
        middle = (z - self.means[cluster]) * inverse
        return _log_mass(middle, inverse)

    @torch.no_grad()
    def cluster_of(self, z: Tensor) -> Tensor:
        """(n, k) -> (n,): in which cluster z is cheapest."""
        inverse = torch.exp(-self.log_scales.clamp(min=math.log(NARROWEST)))
        middle = (z[:, None] - self.means) * inverse
        return (_log_mass(middle, inverse).sum(2) + functional.log_softmax(self.logits, 0)).argmax(1)

    def rate_nats(self, z: Tensor) -> Tensor:
        """(n, k) -> (n,): code length of each row in nats, that of its cluster included."""
        cluster = self.cluster_of(z)
        return -(self.log_mass(z, cluster).sum(1) + functional.log_softmax(self.logits, 0)[cluster])

    @torch.no_grad()
    def tables(self, offset: Tensor) -> tuple[TableFamily, TableFamily]:
        """Tables of h, and one of each dimension j in each cluster h, at h * k + j, of the integers q = z - offset.

        offset: (k,) floats. A table ends where a tail holds less than half of its smallest frequency; an escape takes
        the rest, so that no value is impossible. Raises ExportError for a density that is not finite.
        """
        parameters = [p.detach().double().cpu() for p in (self.logits, self.means, self.log_scales, offset)]
        if not all(bool(torch.isfinite(p).all()) for p in parameters):
            raise ExportError("the density of the codes is not finite: the training has failed, start again")
        logits, means, log_scales, shift = parameters
        centre = (means - shift).reshape(-1).numpy()
        scale = torch.exp(log_scales.clamp(min=math.log(NARROWEST))).reshape(-1).numpy()
        reach = np.minimum(scale * (PRECISION + 1) * math.log(2), WIDEST / 2 - 1)
        low = np.floor(centre - reach).astype(np.int64)
        high = np.ceil(centre + reach).astype(np.int64)
        rows = []
        for i in range(len(centre)):
            edges = torch.from_numpy((np.arange(low[i], high[i] + 2) - 0.5 - centre[i]) / scale[i])
            below, above = torch.sigmoid(edges).numpy(), torch.sigmoid(-edges).numpy()
            # each side's masses from the tail that is small there
            inside = np.where(edges[:-1].numpy() > 0, above[:-1] - above[1:], below[1:] - below[:-1])
            rows.append(quantise(np.append(inside, max(0.0, 1.0 - float(inside.sum()))), PRECISION))
        chosen = TableFamily.from_frequencies(
            [quantise(torch.softmax(logits, 0).numpy(), PRECISION)], [0], PRECISION, escape=False
        )
        return chosen, TableFamily.from_frequencies(rows, low, PRECISION, escape=True)


def _log_mass(middle: Tensor, inverse: Tensor) -> Tensor:
    """Log of sigmoid(middle + inverse / 2) - sigmoid(middle - inverse / 2), which loses no digits in either tail."""
    half = inverse / 2
    gap = torch.log(-torch.expm1(-inverse))
    return functional.logsigmoid(middle + half) + functional.logsigmoid(half - middle) + gap
