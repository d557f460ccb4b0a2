"""A mean-scale hyperprior of whole numbers: the grid of ŷ does not depend on z, so z can be drawn by bits-back.

    ŷ ──► posterior ──► q(z|ŷ)          what the receiver can repeat once it has ŷ
    z ──► likelihood ──► p(ŷ|z)         mass of the unit bin around each whole number
                         p(z)           one scale for each channel

In the image codec a latent is its predicted mean plus an integer; here it is an integer and the mean is only that of
its distribution (Minnen, Ballé and Toderici, "Joint autoregressive and hierarchical priors", NeurIPS 2018, without the
context model). Two kinds of z:

    rounded    z is found by the sender and pushed under p(z)
    drawn      z is popped from q(z|ŷ), ŷ pushed under p(ŷ|z), z pushed under p(z): its bits come back, but for
               KL(q || p) (lossy bits-back; Yang, Bamler and Mandt, "Improving inference for neural image
               compression", NeurIPS 2020, section 3.4)

Both are whole numbers, so that one can be trained from the other; a q that is wide against 1 is as good as one of real
numbers. All distributions are logistic. What codes is `exact_hyperprior.py`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.codecs.image.prior import round_ste
from obverse.codecs.vae.networks import Op, Stack
from obverse.coding.logistic_mixture import SCALE_ONE, SCALE_STEPS
from obverse.errors import InputError

Y_MAX = 255  # latents lie within
Z_MAX = 63  # z too
LOG2_SCALES = (-5.0, 10.0)  # of p(ŷ|z) and p(z)
LOG2_SPREADS = (-5.0, 3.0)  # of q(z|ŷ): the narrowest rounds
NARROW = -4.5  # log2 of what training begins with
INDEX = tuple(int(SCALE_ONE + SCALE_STEPS * bound) for bound in LOG2_SCALES)
SPREAD_INDEX = tuple(int(SCALE_ONE + SCALE_STEPS * bound) for bound in LOG2_SPREADS)

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class HyperpriorConfig:
    """Sizes. latents: channels of y; hyper: of z; features: of all layers between; rates: how many quantisers the
    model knows; halvings: z has 2**-halvings of the grid of y a side, 1 or 2; drawn: the kind of z."""

    latents: int = 320
    hyper: int = 64
    features: int = 128
    rates: int = 4
    halvings: int = 2
    drawn: bool = True

    def __post_init__(self) -> None:
        sizes = (self.latents, self.hyper, self.features, self.rates)
        if any(type(size) is not int or not 1 <= size <= 4096 for size in sizes):
            raise InputError(f"the sizes of a hyperprior must be whole numbers of 1 to 4096, not {sizes}")
        if self.halvings not in (1, 2) or type(self.drawn) is not bool:
            raise InputError("a hyperprior halves its grid once or twice, and draws z or does not")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def ops(self) -> dict[str, tuple[Op, ...]]:
        """The networks as `transforms.vae.Stack` takes them. Both read the rate as one plane for each."""
        f = self.features
        down: tuple[Op, ...] = (("down",), ("conv", 4 * f, f, 1), ("conv", f, f, 3))
        up: tuple[Op, ...] = (("conv", f, 4 * f, 1), ("up",), ("conv", f, f, 3))
        first, last = ("conv", self.latents + self.rates, f, 1), ("conv", f, 2 * self.hyper, 1)
        return {
            "posterior": (first, *down * self.halvings, last),
            "likelihood": (
                ("conv", self.hyper + self.rates, f, 3), *up * self.halvings, ("conv", f, 2 * self.latents, 1),
            ),
        }  # fmt: skip


def logistic_bits(x: Tensor, mean: Tensor | float, log2_scale: Tensor) -> Tensor:
    """-log2 of the mass of a logistic within 1/2 of x."""
    inverse = torch.exp2(-log2_scale)
    upper, lower = (x + 0.5 - mean) * inverse, (x - 0.5 - mean) * inverse
    # log(s(a) - s(b)) = -softplus(-a) - softplus(b) + log(1 - exp(b - a)), which never cancels
    nats = F.softplus(-upper) + F.softplus(lower) - torch.log(-torch.expm1(-inverse))
    return nats / math.log(2)


class HyperpriorBase(nn.Module, ABC):
    """What the floats of training and those of searches have in common: rates of y, given what the networks say.

        ŷ ──► run("posterior") ──► mean, log2 spread ──► z ──► run("likelihood") ──► + y_scale ──► bits of y
                                                         └──► z_scale ──► bits of z

    z_scale: (rates, Z), y_scale: (rates, M), log2 of scales.
    """

    config: HyperpriorConfig
    z_scale: Tensor
    y_scale: Tensor

    @abstractmethod
    def run(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """One network, x and the planes of the rate concatenated -> means and log2 scales, not clipped."""

    def planes(self, rate: Tensor, like: Tensor) -> Tensor:
        """rate: (B,) numbers 0..rates-1 -> (B, rates, h, w), 1 where it is the rate."""
        planes = F.one_hot(rate, self.config.rates).to(like.dtype)[:, :, None, None]
        return planes.expand(-1, -1, *like.shape[2:])

    def posterior(self, y: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """y (B, M, h, w), whole or relaxed -> means and log2 spreads of z, (B, Z, h', w') each."""
        y = y.clamp(-Y_MAX, Y_MAX)
        mean, spread = self.run("posterior", torch.cat([y, self.planes(rate, y)], 1))
        return mean.clamp(-Z_MAX, Z_MAX), spread.clamp(*LOG2_SPREADS)

    def likelihood(self, z: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, Z, h', w') -> means and log2 scales of y, (B, M, h, w) each."""
        z = z.clamp(-Z_MAX, Z_MAX)
        mean, scale = self.run("likelihood", torch.cat([z, self.planes(rate, z)], 1))
        return mean, (scale + self.y_scale[rate][:, :, None, None]).clamp(*LOG2_SCALES)

    def prior_scale(self, rate: Tensor) -> Tensor:
        """log2 scales of p(z), (B, Z, 1, 1)."""
        return self.z_scale[rate][:, :, None, None].clamp(*LOG2_SCALES)

    def drawn_bits(
        self, y: Tensor, y_hat: Tensor, rate: Tensor, noise: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """-log2 p(y|z) and log2 q(z|ŷ) / p(z), (B,) each, for one z ~ q(z|ŷ).

        y: where p(y|z) is evaluated, ŷ itself or y with noise. Both (B, M, h, w).
        """
        mean, spread = self.posterior(y_hat, rate)
        u = torch.rand(mean.shape, generator=noise).clamp_(1e-6, 1 - 1e-6).to(mean.device)
        z = round_ste(mean + torch.exp2(spread) * torch.logit(u))
        z_bits = logistic_bits(z, 0.0, self.prior_scale(rate).expand_as(z)) - logistic_bits(z, mean, spread)
        y_bits = logistic_bits(y, *self.likelihood(z, rate))
        return y_bits.flatten(1).sum(1), z_bits.flatten(1).sum(1)

    def rounded_bits(self, y: Tensor, z: Tensor, z_hat: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """-log2 p(y|ẑ) and -log2 p(z), (B,) each; z, ẑ: whole, or with noise and as gradients pass."""
        y_bits = logistic_bits(y, *self.likelihood(z_hat, rate))
        z_bits = logistic_bits(z, 0.0, self.prior_scale(rate).expand_as(z))
        return y_bits.flatten(1).sum(1), z_bits.flatten(1).sum(1)


class IntegerHyperprior(HyperpriorBase):
    """The networks as they are trained."""

    def __init__(self, config: HyperpriorConfig):
        super().__init__()
        self.config = config
        self.nets = nn.ModuleDict({name: Stack(ops) for name, ops in config.ops().items()})
        self.z_scale = nn.Parameter(torch.zeros(config.rates, config.hyper))
        self.y_scale = nn.Parameter(torch.zeros(config.rates, config.latents))
        with torch.no_grad():
            self.nets["likelihood"].convs[-1].weight.mul_(0.3)
            for net in self.nets.values():
                net.convs[-1].bias.zero_()

    @torch.no_grad()
    def initialise(self, std: Tensor) -> None:
        """std: (rates, M), standard deviations of y: p(y|z) begins as logistics of these."""
        self.y_scale.copy_(torch.log2((std * math.sqrt(3) / math.pi).clamp(min=0.05)))

    @torch.no_grad()
    def start_from(self, rounded: IntegerHyperprior) -> None:
        """For z that is drawn: begin where a model of rounded z is, with a q that hardly does anything but round.

        A model that draws z from the first step on may learn to tell nothing by it.
        """
        self.load_state_dict(rounded.state_dict())
        last, hyper = self.nets["posterior"].convs[-1], self.config.hyper
        last.weight[hyper:] = 0
        last.bias[hyper:] = NARROW

    def run(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.nets[name](x).float().chunk(2, 1)
        return mean, scale

    def forward(self, y: Tensor, rate: Tensor, fixed: bool = False) -> tuple[Tensor, Tensor]:
        """y (B, M, h, w), gained, not rounded; rate (B,) -> bits of y and of z, (B,) each.

        In training y, and z where it is rounded, have uniform noise where their rate is taken, and are rounded where
        networks read them, gradients passing. In evaluation they are rounded. fixed: y does not learn, so that it
        needs no noise: its rate is that of whole numbers in training too.
        """
        y_hat = round_ste(y)
        y_noisy = y + torch.rand_like(y) - 0.5 if self.training and not fixed else y_hat
        if self.config.drawn:
            return self.drawn_bits(y_noisy, y_hat, rate)
        z = self.posterior(y, rate)[0]
        z_noisy = z + torch.rand_like(z) - 0.5 if self.training else z.round()
        return self.rounded_bits(y_noisy, z_noisy, round_ste(z), rate)
