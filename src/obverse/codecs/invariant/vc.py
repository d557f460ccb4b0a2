"""VC, the variational compressor: the baseline that keeps what was put in.

    x ──► encoder ──► z ──► ẑ ──► decoder ──► x again

An autoencoder with a rate, as every lossy codec for people's eyes is (Dubois et al., NeurIPS 2021, with
the identity as the invariance; Ballé, Laparra, Simoncelli, ICLR 2017). It spends bits on which view of an item it saw.
"""

from __future__ import annotations

from torch import Tensor

from obverse.codecs.invariant.networks import reconstruction_loss
from obverse.codecs.invariant.sources import Views
from obverse.codecs.invariant.train import InvariantNetworks, Objective


class Vc(Objective):
    """ẑ ──► decoder ──► compared with x."""

    id = "vc"
    spread = 0.5  # it has use for every dimension; one that starts as good as constant may never be found

    def distortion(self, networks: InvariantNetworks, codes: Tensor, views: Views, population: int) -> Tensor:
        """Of decoded codes and what was put in, (n,)."""
        return reconstruction_loss(networks.config, networks.head(codes), views.x)
