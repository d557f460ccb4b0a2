"""BINCE, the bottleneck InfoNCE: the code of one view tells which other view is of the same item.

    x        ──► encoder ──► ẑ  ──► projector ──┐
                                                ├──► cosine / temperature ──► which of all codes is the partner?
    positive ──► encoder ──► ẑ' ──► projector ──┘

H[M(X) | Ẑ] is bounded by the cross-entropy of that question (Dubois, Bloem-Reddy, Ullrich, Maddison, NeurIPS 2021,
section 4, after van den Oord, Li, Vinyals, 2018). A batch has few wrong answers and the data set many: they are
weighted up to its size, so that the loss is in the nats that the data set's items take (compare Song and Ermon,
"Multi-label contrastive predictive coding", NeurIPS 2020). There is no decoder: only tasks read such a code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.invariant.sources import Views
from obverse.codecs.invariant.train import InvariantNetworks, Objective

COLDEST = 0.01  # the temperature learns, but not below


def info_nce(logits: Tensor, partner: Tensor, population: int) -> Tensor:
    """(n,) nats: cross-entropy of finding each row's partner among `population` items.

    logits: (n, m) similarities of n codes with m candidates; those at -inf are none. partner: (n,) which candidate is
    the right one. The wrong candidates of a row count as if there were population - 1 of them (never fewer than there
    are), so log(population) minus the loss is about the information in nats between a code and its item.
    """
    candidates = torch.isfinite(logits).sum(1)
    weight = (max(population, 2) - 1) / (candidates - 1).clamp(min=1)
    right = logits.gather(1, partner[:, None])
    weighted = logits + weight.clamp(min=1.0).log()[:, None]
    weighted = weighted.scatter(1, partner[:, None], right)
    return torch.logsumexp(weighted, 1) - right[:, 0]


class Bince(Objective):
    """ẑ of both views ──► projector ──► cosine similarities ──► InfoNCE."""

    id = "bince"
    decodes = False
    pairs = True
    spread = 2.0  # codes that all round to the same integers look alike, and no gradient tells them apart

    def distortion(self, networks: InvariantNetworks, codes: Tensor, views: Views, population: int) -> Tensor:
        """codes: (2n, k), of x and then of its partners -> (2n,) nats."""
        directions = functional.normalize(networks.head(codes).float(), dim=1)
        scale = networks.log_scale.exp().clamp(max=1 / COLDEST)
        with torch.autocast(codes.device.type, enabled=False):
            similarities = scale * (directions @ directions.t())
        itself = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
        logits = similarities.masked_fill(itself, -math.inf)
        n = len(codes) // 2
        partner = torch.arange(2 * n, device=codes.device).roll(n)
        return info_nce(logits, partner, population)
