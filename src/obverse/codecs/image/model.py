"""The image codec as it is trained: floats, noise and gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from obverse.codecs.image.prior import FourStepHyperprior
from obverse.codecs.image.quality import LMBDA_MAX, LMBDA_MIN
from obverse.codecs.image.recipe import ImageModelConfig
from obverse.codecs.image.transform import UNIT, Analysis, Synthesis
from obverse.transforms.blocks import QualityVector


def lmbda_of(t: Tensor) -> Tensor:
    """Quality t in [0, 1] -> lambda of  bpp + lambda * 255**2 * MSE,  evenly spaced in the logarithm."""
    return LMBDA_MIN * torch.exp(t * math.log(LMBDA_MAX / LMBDA_MIN))


class ImageModel(nn.Module):
    """Variable-rate image codec, every quality in one set of weights.

    x ──► analysis ──► * gain(t) ──► prior: round, rate ──► / gain'(t) ──► synthesis ──► x̂
                        y                 ŷ, bits
    """

    def __init__(self, config: ImageModelConfig):
        super().__init__()
        self.config = config
        self.analysis = Analysis(*config.analysis_sizes)
        self.synthesis = Synthesis(*config.synthesis_sizes)
        self.prior = FourStepHyperprior(
            config.latents, config.hyper, config.features, config.context, config.hidden
        )
        # High-rate theory: with D = step**2 / 12 and R = -log2(step), d(R + lambda D)/d step = 0 gives a
        # step of 5.1 / sqrt(lambda) grey levels. Training moves each channel from there.
        t = torch.linspace(0, 1, 9)
        log_gain = torch.log(torch.sqrt(lmbda_of(t)) / (5.1 / 255 * UNIT)).view(9, 1)
        self.log_gain = QualityVector(config.latents, init=log_gain.expand(9, config.latents))
        self.log_inverse_gain = QualityVector(config.latents, init=-log_gain.expand(9, config.latents))

    def forward(self, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        """x: (B, 3, H, W) in [0, 1], sides multiples of 64; t: (B,) quality in [0, 1].

        Returns x_hat (B, 3, H, W), y_bits and z_bits (B,).
        """
        y = self.analysis(x, t) * torch.exp(self.log_gain(t))
        y_hat, y_bits, z_bits = self.prior(y, t)
        x_hat = self.synthesis(y_hat * torch.exp(self.log_inverse_gain(t)), t)
        return {"x_hat": x_hat, "y_bits": y_bits, "z_bits": z_bits}
