"""End-to-end training: the baseline of the Entropic Student, which learns from labels alone.

    x ──► encoder ──► ŷ ──► decoder ──► tail ──► logits ──► cross-entropy with the label

Cross-entropy + beta * rate for all networks at once, as in Singh, Abu-El-Haija, Johnston, Ballé, Shrivastava, Toderici,
"End-to-end learning of compressible features" (ICIP 2020). The tail begins with the teacher's weights.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from obverse.codecs.split.objectives import Objective, SplitNetworks
from obverse.codecs.split.resnet import ResNet


class EndToEnd(Objective):
    """ŷ ──► logits ──► compared with the labels."""

    id = "end-to-end"
    learns_tail = True
    tunes_with_teacher = False

    def distortion(
        self, networks: SplitNetworks, teacher: ResNet, x: Tensor, labels: Tensor, codes: Tensor
    ) -> Tensor:
        """Mean cross-entropy in nats."""
        return functional.cross_entropy(networks.server(codes).float(), labels)
