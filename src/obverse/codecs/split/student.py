"""The networks of a student of split computing together, as they are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from obverse.codecs.split.networks import Server, Synthesis, make_encoder, standardised
from obverse.codecs.split.resnet import ResNet
from obverse.codecs.split.sizes import SplitConfig
from obverse.codecs.split.start import fit_decoder, fit_density, fit_synthesis, principal_components
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
        """Begin as a transform code of the images x (n, 3, S, S) and the teacher: see start.py.

        step: of the quantiser, in units of standardised pixels (64 gray levels).
        """
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
        if self.synthesis is not None:
            fit_synthesis(self.synthesis, self.config, with_noise(self.encoder(standardised(x))), x)
