"""What a student of split computing learns from: its networks together, and the contract of objectives.

split_distil.py        features like the teacher's: the Entropic Student
split_end_to_end.py    labels alone: its baseline
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from obverse.codecs.split.networks import Server, SplitConfig, Synthesis, make_encoder, standardised
from obverse.codecs.split.resnet import ResNet
from obverse.errors import TrainingError
from obverse.priors.factorised import FactorisedDensity
from obverse.quantization.rounding import with_noise


class SplitNetworks(nn.Module):
    """x ──► encoder ──► y ──► density ──► rate, and server and synthesis on y rounded."""

    def __init__(self, config: SplitConfig):
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config)
        self.density = FactorisedDensity(config.codes, init_scale=2.0)
        self.server = Server(config, normed=True)
        self.synthesis = Synthesis(config) if config.reconstructs else None
        self.offset = nn.Buffer(torch.zeros(config.codes))

    @torch.no_grad()
    def start(self, x: Tensor, teacher: ResNet, step: float = 0.5) -> None:
        """Begin as a transform code of the images x (n, 3, S, S) and the teacher: see split_start.py.

        step: of the quantiser, in units of standardised pixels (64 gray levels).
        """
        from obverse.codecs.split.start import fit_decoder, fit_density, principal_components

        principal_components(self.encoder, standardised(x), 1 / step)
        y = self.encoder(standardised(x))
        self.offset.copy_(y.transpose(0, 1).flatten(1).median(1).values)
        fit_decoder(self.server, teacher, self.config, with_noise(y), x)
        self.server.tail.load_state_dict(teacher.tail_after(self.config.after).state_dict())
        fit_density(self.density, y)
        self.start_synthesis(x)

    @torch.no_grad()
    def start_synthesis(self, x: Tensor) -> None:
        """Fit the synthesis, if there is one, to the codes of the images x."""
        from obverse.codecs.split.start import fit_synthesis

        if self.synthesis is not None:
            fit_synthesis(self.synthesis, self.config, with_noise(self.encoder(standardised(x))), x)


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


def objective_of(name: str) -> Objective:
    """The objective of this name. Raises TrainingError."""
    from obverse.codecs.split.distil import Distil
    from obverse.codecs.split.end_to_end import EndToEnd

    known = {kind.id: kind for kind in (Distil, EndToEnd)}
    if name not in known:
        raise TrainingError(f"there is no objective {name!r}: choose {', '.join(known)}")
    return known[name]()
