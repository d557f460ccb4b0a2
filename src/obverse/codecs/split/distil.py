"""The Entropic Student's objective: the server's features from the code are those of the teacher from the image.

    x ──► teacher ──► what each layer from `after` on gives ─┐
                                                             ├──► relative squared error, summed over layers
    x ──► encoder ──► ŷ ──► decoder ──► tail ──► the same ───┘

Sum over layers of |student - teacher|² (Matsubara, Yang, Levorato, Mandt, WACV 2022, equation 7), with two changes.
Each is a share of the variance of the teacher's layer, so that beta means the same at every resolution and batch. And
the logits count as a layer, the last; a layer counts half of what the one behind it does, since what the classes need
is what lies behind. The tail is the teacher's and does not learn here; labels are not needed.
"""

from __future__ import annotations

from torch import Tensor

from obverse.codecs.split.networks import relative_error
from obverse.codecs.split.objectives import Objective, SplitNetworks
from obverse.codecs.split.resnet import ResNet

EARLIER = 0.5  # what a layer counts for, of what the one behind it does


class Distil(Objective):
    """ŷ ──► features, logits ──► compared with the teacher's."""

    id = "distil"
    learns_tail = False

    def distortion(
        self, networks: SplitNetworks, teacher: ResNet, x: Tensor, labels: Tensor, codes: Tensor
    ) -> Tensor:
        """The weighted sum over layers, a share of variance each."""
        wanted = self.teacher_features(teacher, x)[networks.config.after :]
        given = networks.server.features(codes)
        wanted.append(teacher.logits_of(wanted[-1]))
        given.append(networks.server.logits_of(given[-1]))
        total, weight = codes.new_zeros(()), 1.0
        for g, w in zip(reversed(given), reversed(wanted), strict=True):
            total = total + weight * relative_error(g, w)
            weight *= EARLIER
        return total
