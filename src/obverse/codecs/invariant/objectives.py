"""VIC, the variational invariant compressor: the code of any view decodes to what stands for all of them.

    item ──► random change ──► x ──► encoder ──► z ──► ẑ ──► decoder ──► the unchanged item

E[d(M(X), decoder(Ẑ))] + beta * H[Ẑ], M(X) the representative of x (Dubois, Bloem-Reddy, Ullrich, Maddison, "Lossy
compression for lossless prediction", NeurIPS 2021, section 4). Since the views of an item cannot be told apart by
what is asked for, telling them apart costs rate and gains nothing.
"""

from __future__ import annotations

from torch import Tensor

from obverse.codecs.invariant.networks import reconstruction_loss
from obverse.codecs.invariant.sources import Views
from obverse.codecs.invariant.train import InvariantNetworks, Objective


class Vic(Objective):
    """ẑ ──► decoder ──► compared with the representative of x."""

    id = "vic"

    def distortion(self, networks: InvariantNetworks, codes: Tensor, views: Views, population: int) -> Tensor:
        """Of decoded codes and the unchanged items, (n,)."""
        return reconstruction_loss(networks.config, networks.head(codes), views.representative)
