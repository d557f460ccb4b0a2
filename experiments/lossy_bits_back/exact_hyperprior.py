"""The hyperprior of whole numbers that codes: the networks of `hyperprior.py` in exact integer arithmetic.

IntegerHyperprior ──► quantise_hyperprior ──► ExactHyperprior ──► LogisticMixtures ──► push, pop on a message
                                                   └──► DifferentiableHyperprior: with gradients, for searches
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from hyperprior import (
    INDEX,
    LOG2_SCALES,
    SPREAD_INDEX,
    Y_MAX,
    Z_MAX,
    HyperpriorBase,
    HyperpriorConfig,
    IntegerHyperprior,
    Ints,
)
from torch import Tensor, nn

from obverse.codecs.image.differentiable_prior import RescaledConv
from obverse.codecs.vae.exact_networks import ExactStack, quantise_stack
from obverse.codecs.vae.networks import rearrange
from obverse.coding import LogisticMixtures, Message
from obverse.coding.bits_back import Mixed, pop_item, push_item
from obverse.coding.logistic_mixture import FRACTION, SCALE_ONE, SCALE_STEPS, WEIGHT_TOTAL
from obverse.errors import ExportError, InputError
from obverse.transforms.exact import ExactConv


class ExactHyperprior(nn.Module):
    """The networks that code, integers throughout. One image at a time, arrays (channels, h, w) int32."""

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
        mean, scale = self._run("likelihood", torch.from_numpy(z.astype(np.float64)), rate)
        return _logistics(mean, (scale + self.y_index[rate][:, None, None]).clamp(*INDEX), Y_MAX)

    def posterior(self, y: Ints, rate: int) -> LogisticMixtures:
        """q(z|ŷ), for z that is drawn."""
        mean, spread = self._run("posterior", torch.from_numpy(y.astype(np.float64)), rate)
        return _logistics(mean, spread, Z_MAX)

    def prior(self, shape: tuple[int, int], rate: int) -> LogisticMixtures:
        """p(z) for latents y of this height and width."""
        height, width = (side >> self.config.halvings for side in shape)
        scale = self.z_index[rate][:, None, None].expand(-1, height, width)
        return _logistics(torch.zeros_like(scale), scale, Z_MAX)

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


def _logistics(mean: Tensor, scale: Tensor, largest: int) -> LogisticMixtures:
    means, scales = (values.numpy()[..., None] for values in (mean, scale))
    return LogisticMixtures(np.full(means.shape, WEIGHT_TOTAL), means, scales, -largest, largest)


class DifferentiableHyperprior(HyperpriorBase):
    """An `ExactHyperprior` in floats that gradients pass: where it rounds, they pass as if it did not.

    Only senders need it: for gradients, and because it takes y before it is rounded.
    """

    def __init__(self, exact: ExactHyperprior):
        super().__init__()
        self.config = exact.config
        self.stacks = {name: (s.ops, [RescaledConv(c) for c in s.convs]) for name, s in exact.stacks.items()}
        self.z_scale = (exact.z_index - SCALE_ONE).float() / SCALE_STEPS
        self.y_scale = exact.y_index.float() / SCALE_STEPS  # `run` takes SCALE_ONE off

    @torch.no_grad()
    def guess(self, y: Tensor, rate: int) -> Ints:
        """The whole z that y (M, h, w), not rounded, suggests: (Z, h', w') int32."""
        mean, _ = self.posterior(y[None].float(), torch.tensor([rate]))
        return np.asarray(mean[0].round().to(torch.int32).numpy())

    def run(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
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
        "likelihood": (torch.cat([torch.ones(config.hyper), planes]), Z_MAX),
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
