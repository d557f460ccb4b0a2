"""A mean-scale hyperprior of whole numbers: the grid of ŷ does not depend on z, so z can be drawn by bits-back.

    ŷ ──► posterior ──► q(z|ŷ)          what the receiver can repeat once it has ŷ
    z ──► likelihood ──► p(ŷ|z)         mass of the unit bin around each whole number
                         p(z)           one scale for each channel

In the image codec a latent is its predicted mean plus an integer; here it is an integer and the mean is only that of
its distribution (Minnen, Ballé and Toderici, "Joint autoregressive and hierarchical priors", NeurIPS 2018, without the
context model). Two kinds of z:

    rounded    z is a whole number, found by the sender and pushed under p(z)
    drawn      z is popped from q(z|ŷ), ŷ pushed under p(ŷ|z), z pushed under p(z): its bits come back, but for
               KL(q || p) (lossy bits-back; Yang, Bamler and Mandt, "Improving inference for neural image
               compression", NeurIPS 2020, section 3.4)

All distributions are logistic. `IntegerHyperprior` is what is trained, in floats; `ExactHyperprior` is what codes, in
integers; `DifferentiableHyperprior` is the latter with gradients, for searches at the sender.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.coding import LogisticMixtures, Message
from obverse.coding.bits_back import Mixed, pop_item, push_item
from obverse.coding.logistic_mixture import FRACTION, SCALE_ONE, SCALE_STEPS, WEIGHT_TOTAL
from obverse.errors import ExportError, InputError
from obverse.priors.differentiable_four_step import RescaledConv
from obverse.priors.four_step import round_ste
from obverse.transforms.exact import ExactConv
from obverse.transforms.vae import Op, Stack, log_logistic, rearrange
from obverse.transforms.vae_exact import ExactStack, quantise_stack

Y_MAX = 255  # latents lie within
Z_UNIT = 16  # bins of a drawn z in 1: narrow against q, so that their width cancels
Z_MAX = 31  # |z|; what the networks read counts in 1/Z_UNIT for both kinds
LOG2_SCALES = (-5.0, 10.0)  # of p(ŷ|z) and p(z)
LOG2_SPREADS = (-3.0, 3.0)  # of q(z|ŷ): the narrowest still spans several bins
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


class HyperpriorBase(nn.Module):
    """What the floats of training and those of searches have in common: rates of y, given what the networks say.

        ŷ ──► run("posterior") ──► mean, log2 spread ──► z ──► run("likelihood") ──► + y_scale ──► bits of y
                                                         └──► z_scale ──► bits of z

    z_scale: (rates, Z), y_scale: (rates, M), log2 of scales.
    """

    config: HyperpriorConfig
    z_scale: Tensor
    y_scale: Tensor

    def run(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """One network, x and the planes of the rate concatenated -> means and log2 scales, not clipped."""
        raise NotImplementedError

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
        z = mean + torch.exp2(spread) * torch.logit(u)
        nats = log_logistic(z, mean, spread) - log_logistic(z, 0.0, self.prior_scale(rate).expand_as(z))
        y_bits = logistic_bits(y, *self.likelihood(z, rate))
        return y_bits.flatten(1).sum(1), nats.flatten(1).sum(1) / math.log(2)

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
            for net in self.nets.values():
                net.convs[-1].weight.mul_(0.3)
                net.convs[-1].bias.zero_()

    @torch.no_grad()
    def initialise(self, std: Tensor) -> None:
        """std: (rates, M), standard deviations of y: p(y|z) begins as logistics of these."""
        self.y_scale.copy_(torch.log2((std * math.sqrt(3) / math.pi).clamp(min=0.05)))

    def run(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.nets[name](x).float().chunk(2, 1)
        return mean, scale

    def forward(self, y: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """y (B, M, h, w), gained, not rounded; rate (B,) -> bits of y and of z, (B,) each.

        In training y, and z where it is rounded, have uniform noise where their rate is taken, and are rounded where
        networks read them, gradients passing. In evaluation they are rounded.
        """
        y_hat = round_ste(y)
        y_noisy = y + torch.rand_like(y) - 0.5 if self.training else y_hat
        if self.config.drawn:
            return self.drawn_bits(y_noisy, y_hat, rate)
        z = self.posterior(y, rate)[0]
        z_noisy = z + torch.rand_like(z) - 0.5 if self.training else z.round()
        return self.rounded_bits(y_noisy, z_noisy, round_ste(z), rate)


class ExactHyperprior(nn.Module):
    """The networks that code, integers throughout. One image at a time, arrays (channels, h, w) int32.

    z is counted in 1/Z_UNIT where it is drawn, and is whole where it is rounded.
    """

    def __init__(
        self, config: HyperpriorConfig, stacks: Mapping[str, ExactStack], y_index: Tensor, z_index: Tensor
    ):
        super().__init__()
        wanted = (config.rates, config.latents), (config.rates, config.hyper)
        if (y_index.shape, z_index.shape) != wanted:
            raise InputError("the scales of a hyperprior are damaged")
        self.config = config
        self.stacks = nn.ModuleDict(stacks)
        self.y_index, self.z_index = y_index.to(torch.int64), z_index.to(torch.int64)

    def likelihood(self, z: Ints, rate: int) -> LogisticMixtures:
        """p(ŷ|z)."""
        seen = torch.from_numpy(z.astype(np.float64)) * (1 if self.config.drawn else Z_UNIT)
        mean, scale = self._run("likelihood", seen.clamp(-Z_MAX * Z_UNIT, Z_MAX * Z_UNIT), rate)
        scale = (scale + self.y_index[rate][:, None, None]).clamp(*INDEX)
        return _logistics(mean, scale, Y_MAX, None)

    def posterior(self, y: Ints, rate: int) -> LogisticMixtures:
        """q(z|ŷ), for z that is drawn."""
        mean, spread = self._run("posterior", torch.from_numpy(y.astype(np.float64)), rate)
        return _logistics(mean, spread, Z_MAX * Z_UNIT, BIN_EDGES)

    def guess(self, y: Tensor, rate: int) -> Ints:
        """Whole z near those that y (M, h, w), not rounded, suggests. For senders that round z."""
        mean, _ = self._run("posterior", y.double().round().clamp(-Y_MAX, Y_MAX), rate)
        return np.asarray(np.rint(mean.numpy() / FRACTION), np.int32)

    def prior(self, shape: tuple[int, int], rate: int) -> LogisticMixtures:
        """p(z) for latents y of this height and width."""
        height, width = (side >> self.config.halvings for side in shape)
        scale = self.z_index[rate][:, None, None].expand(-1, height, width)
        if self.config.drawn:
            return _logistics(torch.zeros_like(scale), scale, Z_MAX * Z_UNIT, BIN_EDGES)
        return _logistics(torch.zeros_like(scale), scale, Z_MAX, None)

    def bits(self, y: Ints, z: Ints, rate: int) -> tuple[float, float]:
        """-log2 p(ŷ|z), and -log2 p(z), from which log2 q(z|ŷ) is gone where z is drawn."""
        of_z = self.prior((y.shape[1], y.shape[2]), rate).bits(z).sum()
        if self.config.drawn:
            of_z -= self.posterior(y, rate).bits(z).sum()
        return float(self.likelihood(z, rate).bits(y).sum()), float(of_z)

    @torch.inference_mode()
    def _run(self, name: str, x: Tensor, rate: int) -> tuple[Tensor, Tensor]:
        """x (channels, h, w) integers -> means in 1/FRACTION and indices of scales, int64."""
        planes = torch.zeros(self.config.rates, *x.shape[1:], dtype=x.dtype)
        planes[rate] = 1
        out = self.stacks[name](torch.cat([x, planes])[None])[0].to(torch.int64)
        mean, scale = out.chunk(2)
        return mean, scale

    def export_state(self) -> dict[str, Tensor]:
        """Flat dictionary of integer tensors for safetensors."""
        state = {"y_index": self.y_index.to(torch.int32), "z_index": self.z_index.to(torch.int32)}
        for name, stack in self.stacks.items():
            for i, conv in enumerate(stack.convs):
                state |= {f"{name}.{i}.{key}": v.contiguous() for key, v in conv.export_state().items()}
        return state

    @classmethod
    def from_state(cls, config: HyperpriorConfig, state: Mapping[str, Tensor]) -> ExactHyperprior:
        """Built again from `export_state`; every bound is proven again. Raises InputError for another model's."""
        stacks = {}
        try:
            for name, ops in config.ops().items():
                convs = []
                for i, op in enumerate(op for op in ops if op[0] == "conv"):
                    prefix = f"{name}.{i}."
                    part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                    if part["weight"].shape != (op[2], op[1], op[3], op[3]):
                        raise InputError(f"layer {name}.{i} of the hyperprior has another shape")
                    convs.append(ExactConv.from_state(part))
                stacks[name] = ExactStack(ops, convs)
            return cls(config, stacks, state["y_index"], state["z_index"])
        except (KeyError, ValueError, RuntimeError, ExportError) as error:
            raise InputError(f"the weights are not those of this hyperprior: {error}") from None


BIN_EDGES = (2 * np.arange(-Z_MAX * Z_UNIT, Z_MAX * Z_UNIT + 2) - 1) * (FRACTION // (2 * Z_UNIT))


def _logistics(mean: Tensor, scale: Tensor, largest: int, edges: npt.NDArray[Any] | None) -> LogisticMixtures:
    means, scales = (values.numpy()[..., None] for values in (mean, scale))
    return LogisticMixtures(
        np.full(means.shape, WEIGHT_TOTAL), means, scales, -largest, largest, edges
    )  # fmt: skip


class DifferentiableHyperprior(HyperpriorBase):
    """An `ExactHyperprior` in floats that gradients pass: where it rounds, they pass as if it did not."""

    def __init__(self, exact: ExactHyperprior):
        super().__init__()
        self.config = exact.config
        self.stacks = {name: (s.ops, [RescaledConv(c) for c in s.convs]) for name, s in exact.stacks.items()}
        self.z_scale = (exact.z_index - SCALE_ONE).float() / SCALE_STEPS
        self.y_scale = exact.y_index.float() / SCALE_STEPS  # `run` takes SCALE_ONE off

    def run(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        if name == "likelihood":
            x = torch.cat([x[:, : self.config.hyper] * Z_UNIT, x[:, self.config.hyper :]], 1)
        ops, convs = self.stacks[name]
        number = 0
        for op in ops:
            if op[0] == "conv":
                x = convs[number](x)
                number += 1
            else:
                x = rearrange(x, op)
        mean, index = x.chunk(2, 1)
        return mean / FRACTION, (index - SCALE_ONE) / SCALE_STEPS


@torch.no_grad()
def quantise_hyperprior(model: IntegerHyperprior, y: Tensor, rate: Tensor) -> ExactHyperprior:
    """The exact networks of trained ones. y (B, M, h, w), rate (B,): what activations' ranges are measured on.

    Raises ExportError where a layer's sums cannot be proven exact.
    """
    config = model.config
    peaks: dict[str, list[Tensor]] = {}
    handles = []
    for name, net in model.nets.items():
        peaks[name] = [torch.zeros(conv.out_channels) for conv in net.convs]
        for i, conv in enumerate(net.convs):

            def hook(_: nn.Module, __: object, out: Tensor, name: str = name, i: int = i) -> None:
                top = torch.quantile(out.clamp(min=0).transpose(0, 1).flatten(1)[:, :200_000], 0.9999, dim=1)
                peaks[name][i] = torch.maximum(peaks[name][i], top)

            handles.append(conv.register_forward_hook(hook))
    model.eval()
    try:
        model(y, rate)
    finally:
        for handle in handles:
            handle.remove()
    planes = torch.ones(config.rates)
    inputs = {
        "posterior": (torch.cat([torch.ones(config.latents), planes]), Y_MAX),
        "likelihood": (torch.cat([torch.full((config.hyper,), 1 / Z_UNIT), planes]), Z_MAX * Z_UNIT),
    }
    # integers round(gain * out + offset) within bounds; p(ŷ|z) gets its offset and bounds with y_index
    wide = 4.0 * SCALE_ONE + SCALE_STEPS * LOG2_SCALES[1]
    parts = {
        "posterior": (config.hyper, Z_MAX, SCALE_ONE, *SPREAD_INDEX),
        "likelihood": (config.latents, Y_MAX, 0, -wide, wide),
    }
    stacks = {}
    for name, net in model.nets.items():
        count, reach, offset, low, high = parts[name]
        rows = [(float(FRACTION), 0.0, -reach * FRACTION, reach * FRACTION)] * count
        rows += [(float(SCALE_STEPS), float(offset), low, high)] * count
        outputs = tuple(torch.tensor(rows, dtype=torch.float64).T)
        scale, largest = inputs[name]
        stacks[name], _ = quantise_stack(net, peaks[name], scale.double(), largest, 8, outputs)  # type: ignore[arg-type]
    y_index = (SCALE_ONE + SCALE_STEPS * model.y_scale).round()
    z_index = (SCALE_ONE + SCALE_STEPS * model.z_scale).round().clamp(*INDEX)
    return ExactHyperprior(config, stacks, y_index, z_index)


# -- images on a message -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnLatents:
    """The `LatentModel` of `coding.bits_back` for the latents of one image: ŷ (M, h, w) with z drawn."""

    networks: ExactHyperprior
    shape: tuple[int, int]
    rate: int
    layers: int = 1

    def posterior(self, layer: int, below: Ints) -> Mixed:
        return Mixed(self.networks.posterior(below, self.rate))

    def likelihood(self, layer: int, above: Ints) -> Mixed:
        return Mixed(self.networks.likelihood(above, self.rate))

    def prior(self) -> Mixed:
        return Mixed(self.networks.prior(self.shape, self.rate))


def push_rounded(message: Message, y: Ints, z: Ints, networks: ExactHyperprior, rate: int) -> None:
    """Push ŷ (M, h, w) and the whole z that its distribution is told by."""
    message.push_mixtures(y, networks.likelihood(z, rate))
    message.push_mixtures(z, networks.prior((y.shape[1], y.shape[2]), rate))


def pop_rounded(message: Message, networks: ExactHyperprior, shape: tuple[int, int], rate: int) -> Ints:
    """Pop what `push_rounded` pushed: ŷ."""
    z = message.pop_mixtures(networks.prior(shape, rate))
    return message.pop_mixtures(networks.likelihood(z, rate))


def push_drawn(message: Message, y: Ints, networks: ExactHyperprior, rate: int) -> None:
    """Push ŷ (M, h, w) by bits-back. Raises MessageEmptyError where the message is too short to draw z."""
    push_item(message, y, DrawnLatents(networks, (y.shape[1], y.shape[2]), rate))


def pop_drawn(message: Message, networks: ExactHyperprior, shape: tuple[int, int], rate: int) -> Ints:
    """Pop what `push_drawn` pushed; the message is then what it was before that."""
    return np.asarray(pop_item(message, DrawnLatents(networks, shape, rate)))
