"""What a student of split computing learns from: the features of a teacher, or labels alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.split.networks import relative_error
from obverse.codecs.split.recipe import DISTIL, END_TO_END
from obverse.codecs.split.resnet import ResNet
from obverse.codecs.split.student import SplitNetworks
from obverse.errors import TrainingError

EARLIER = 0.5  # what a layer counts for, of what the one behind it does


class Objective(ABC):
    """What a code is good for. id: its name in recipes. learns_tail: whether the tail learns beside the encoder.
    tunes_with_teacher: whether the last part of training, with the encoder as it is, asks the teacher too."""

    id: ClassVar[str]
    learns_tail: ClassVar[bool]
    tunes_with_teacher: ClassVar[bool] = True

    @abstractmethod
    def distortion(
        self, networks: SplitNetworks, teacher: ResNet, x: Tensor, labels: Tensor, codes: Tensor
    ) -> Tensor:
        """x (n, 3, S, S), labels (n,), codes: ŷ of x -> one number."""

    def tuning(
        self, networks: SplitNetworks, teacher: ResNet, x: Tensor, labels: Tensor, codes: Tensor
    ) -> Tensor:
        """With the encoder as it is: half cross-entropy, half the divergence from the teacher's classes, in nats."""
        logits = networks.server(codes).float()
        loss = functional.cross_entropy(logits, labels)
        if not self.tunes_with_teacher:
            return loss
        taught = functional.log_softmax(teacher.logits_of(self.teacher_features(teacher, x)[-1]).float(), 1)
        divergence = functional.kl_div(
            functional.log_softmax(logits, 1), taught, reduction="batchmean", log_target=True
        )
        return 0.5 * loss + 0.5 * divergence

    @torch.no_grad()
    def teacher_features(self, teacher: ResNet, x: Tensor) -> list[Tensor]:
        """What the stem and each layer give."""
        return teacher.features(x)


class Distil(Objective):
    """The Entropic Student's: the server's features from the code are those of the teacher from the image.

        x ──► teacher ──► what each layer from `after` on gives ─┐
                                                                 ├──► relative squared error, summed over layers
        x ──► encoder ──► ŷ ──► decoder ──► tail ──► the same ───┘

    Sum over layers of |student - teacher|² (Matsubara, Yang, Levorato, Mandt, WACV 2022, equation 7), with two changes.
    Each is a share of the variance of the teacher's layer, so that beta means the same at every resolution and batch.
    And the logits count as a layer, the last; a layer counts half of what the one behind it does, since what the
    classes need is what lies behind. The tail is the teacher's and does not learn here; labels are not needed.
    """

    id = DISTIL
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


class EndToEnd(Objective):
    """The baseline, which learns from labels alone.

        x ──► encoder ──► ŷ ──► decoder ──► tail ──► logits ──► cross-entropy with the label

    Cross-entropy + beta * rate for all networks at once, as in Singh, Abu-El-Haija, Johnston, Ballé, Shrivastava,
    Toderici, "End-to-end learning of compressible features" (ICIP 2020). The tail begins with the teacher's weights.
    """

    id = END_TO_END
    learns_tail = True
    tunes_with_teacher = False

    def distortion(
        self, networks: SplitNetworks, teacher: ResNet, x: Tensor, labels: Tensor, codes: Tensor
    ) -> Tensor:
        """Mean cross-entropy in nats."""
        return functional.cross_entropy(networks.server(codes).float(), labels)


OBJECTIVES: dict[str, Objective] = {one.id: one for one in (Distil(), EndToEnd())}


def objective_of(name: str) -> Objective:
    """The objective of this name. Raises TrainingError."""
    if name not in OBJECTIVES:
        raise TrainingError(f"there is no objective {name!r}: choose {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
