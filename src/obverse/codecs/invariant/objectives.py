"""What a code of an invariant compressor is good for: VIC, VC and BINCE.

E[d(M(X), decoder(Ẑ))] + beta * H[Ẑ], M(X) the representative of x (Dubois, Bloem-Reddy, Ullrich, Maddison, "Lossy
compression for lossless prediction", NeurIPS 2021, section 4); VC is the same with the identity as the invariance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.invariant.networks import InvariantNetworks, reconstruction_loss
from obverse.codecs.invariant.sources import Views
from obverse.errors import TrainingError

COLDEST = 0.01  # the temperature learns, but not below


class Objective(ABC):
    """What a code is good for. id: its name in recipes. decodes: whether its head is a decoder. pairs: whether it needs
    the codes of both views. spread: of z before training, in cells; a decoder lets z grow where it helps."""

    id: ClassVar[str]
    decodes: ClassVar[bool] = True
    pairs: ClassVar[bool] = False
    spread: ClassVar[float] = 0.05

    @abstractmethod
    def distortion(self, networks: InvariantNetworks, codes: Tensor, views: Views, population: int) -> Tensor:
        """codes: ẑ (n, k) of views.x, or (2n, k) of x and then positive -> (n,) or (2n,) distortions.

        population: how many items there are.
        """


class Vic(Objective):
    """VIC, the variational invariant compressor: the code of any view decodes to what stands for all of them.

        item ──► random change ──► x ──► encoder ──► z ──► ẑ ──► decoder ──► the unchanged item

    Since the views of an item cannot be told apart by what is asked for, telling them apart costs rate and gains
    nothing.
    """

    id = "vic"

    def distortion(self, networks: InvariantNetworks, codes: Tensor, views: Views, population: int) -> Tensor:
        """Of decoded codes and the unchanged items, (n,)."""
        return reconstruction_loss(networks.config, networks.head(codes), views.representative)


class Vc(Objective):
    """VC, the variational compressor: the baseline that keeps what was put in.

        x ──► encoder ──► z ──► ẑ ──► decoder ──► x again

    An autoencoder with a rate, as every lossy codec for people's eyes is (Ballé, Laparra, Simoncelli, ICLR 2017). It
    spends bits on which view of an item it saw.
    """

    id = "vc"
    spread = 0.5  # it has use for every dimension; one that starts as good as constant may never be found

    def distortion(self, networks: InvariantNetworks, codes: Tensor, views: Views, population: int) -> Tensor:
        """Of decoded codes and what was put in, (n,)."""
        return reconstruction_loss(networks.config, networks.head(codes), views.x)


class Bince(Objective):
    """BINCE, the bottleneck InfoNCE: the code of one view tells which other view is of the same item.

        x        ──► encoder ──► ẑ  ──► projector ──┐
                                                    ├──► cosine / temperature ──► which of all codes is the partner?
        positive ──► encoder ──► ẑ' ──► projector ──┘

    H[M(X) | Ẑ] is bounded by the cross-entropy of that question (after van den Oord, Li, Vinyals, 2018). A batch has
    few wrong answers and the data set many: they are weighted up to its size, so that the loss is in the nats that the
    data set's items take (compare Song and Ermon, "Multi-label contrastive predictive coding", NeurIPS 2020). There is
    no decoder: only tasks read such a code.
    """

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


OBJECTIVES: dict[str, Objective] = {one.id: one for one in (Vic(), Vc(), Bince())}


def objective_of(name: str) -> Objective:
    """The objective of this name. Raises TrainingError."""
    if name not in OBJECTIVES:
        raise TrainingError(f"there is no objective {name!r}: choose {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
