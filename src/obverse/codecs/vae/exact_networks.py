"""The networks of `vae.py` in exact integers: what both ends of a bits-back chain compute, the encoder's too.

    below ──► posterior ──► means, scales of z       pixels 0..levels-1, latents as the numbers of their bins
    above ──► prior ──────► means, scales of z1
    z1 ──► features ──► phase 0, 1, 2 ──► weights, means, scales of the pixels

A latent's value is one of 2**BIN_BITS bins. Their edges are the quantiles of a logistic that spans what the latents
of this layer do; for the top layer it is p(z2), so that its bins have equal mass and p(bin) is uniform. Edges and
centres are tables of integers, made once at export. A bin tells the networks its centre, in 1/CENTRE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from obverse.codecs.vae.networks import (
    LATENT_LOG2_SCALE,
    LATENT_REACH,
    LOGIT_REACH,
    PHASES,
    PIXEL_LOG2_SCALE,
    PIXEL_REACH,
    Op,
    Stack,
    VaeNetworks,
    network_ops,
    rearrange,
    split_pixels,
)
from obverse.codecs.vae.recipe import VaeConfig
from obverse.coding.logistic_mixture import FRACTION, LOGIT, SCALE_ONE, SCALE_STEPS, WEIGHT_TOTAL, weights_of
from obverse.errors import ExportError, InputError
from obverse.transforms.exact import ExactConv, quantise_conv
from obverse.transforms.exact_bounds import refuse_unknown

BIN_BITS = 10
BINS = 1 << BIN_BITS
UNIT_BITS = 5  # scale 1 of a latent is 32 values of the mixtures, so 2048 of their fractions
UNIT = FRACTION << UNIT_BITS
CENTRE = 64  # centres of bins, as the networks read them, count in 1/64
CENTRE_MAX = 1023
GRID_TOP, VECTOR_TOP = 255, 1023  # largest activations that 3x3 and 1x1 convolutions read
WEIGHT_BITS, PHASE_BITS, OUTPUT_BITS = 8, 10, 12  # phases read pixels and features, of unequal ranges
PIXEL_BYTES, COMPONENT_BYTES = (
    150,
    30,
)  # memory of a pixel while it is coded, and of each component of its mixture

Array = npt.NDArray[np.generic]
Ints = npt.NDArray[np.int32]


class ExactStack(nn.Module):
    """One network of `network_ops`, integers in and out (float64)."""

    def __init__(self, ops: tuple[Op, ...], convs: list[ExactConv]):
        super().__init__()
        self.ops = ops
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor) -> Tensor:
        number = 0
        for op in self.ops:
            if op[0] == "conv":
                x = self.convs[number](x)
                number += 1
            else:
                x = rearrange(x, op)
        return x


class ExactVae(nn.Module):
    """A latent-variable model as integer tables and integer networks.

    edges: (layers, BINS + 1) rising integers in 1/UNIT of a latent. centres: (layers, BINS) integers in 1/CENTRE.
    Every method takes and gives arrays whose first axis is a batch; batches of any size give the same numbers.
    """

    def __init__(self, config: VaeConfig, stacks: Mapping[str, ExactStack], edges: Tensor, centres: Tensor):
        super().__init__()
        self.config = config
        self.stacks = nn.ModuleDict(stacks)
        self.edges = edges.numpy().astype(np.int64)
        self.centres = nn.Buffer(centres.double())

    def latent(self, layer: int, bins: Array) -> Tensor:
        """Bins of a layer (B, n) -> centres (B, C, h, w), what the networks read."""
        values = self.centres[layer][torch.from_numpy(np.array(bins, np.int64))]
        return values.view(len(bins), *self.config.latents[layer])

    def pixels(self, x: Array) -> Tensor:
        """(B, H, W) uint8 -> (B, 1, H, W)."""
        return torch.from_numpy(np.array(x, np.float64)).unsqueeze(1)

    @torch.inference_mode()
    def posterior(self, layer: int, below: Array) -> tuple[Ints, Ints]:
        """Pixels (B, H, W) or bins (B, n) of the layer below -> means in 1/UNIT and scale indices, (B, n) each."""
        x = self.pixels(below) if layer == 0 else self.latent(layer - 1, below)
        return _halves(self.stacks[f"posterior{layer}"](x))

    @torch.inference_mode()
    def prior(self, above: Array) -> tuple[Ints, Ints]:
        """Bins of z2 (B, top) -> means in 1/UNIT and scale indices of z1, (B, n) each."""
        return _halves(self.stacks["prior"](self.latent(1, above)))

    @torch.inference_mode()
    def features(self, bins: Array) -> Tensor:
        """Bins of the lowest layer (B, n) -> what the phases read, (B, features, H/2, W/2)."""
        features: Tensor = self.stacks["features"](self.latent(0, bins)).float()
        return features

    @torch.inference_mode()
    def phase(self, number: int, features: Tensor, known: list[Tensor]) -> tuple[Ints, Ints, Ints]:
        """Features and the pixels of the phases before -> weights, means, scales, (B, pixels, K) each."""
        out = self.stacks[f"phase{number}"](torch.cat([features, *(k.float() for k in known)], dim=1))
        config, count = self.config, len(PHASES[number])
        out = out.view(len(out), count, config.parameters, -1).transpose(2, 3).flatten(1, 2)
        values = out.to(torch.int32).numpy()
        if config.levels == 2:  # a logistic of scale 1 whose boundary is 1/2
            return (
                np.full_like(values, WEIGHT_TOTAL), values, np.full_like(values, SCALE_ONE),
            )  # fmt: skip
        logits, means, scales = np.split(values, 3, axis=2)
        return weights_of(logits), means, scales

    def split(self, x: Array) -> list[Tensor]:
        """(B, H, W) -> the phases' pixels, (B, 1 or 2, H/2, W/2) each."""
        return split_pixels(self.pixels(x))

    def join(self, phases: list[Array]) -> npt.NDArray[np.uint8]:
        """The inverse of `split`, phases as (B, pixels) arrays."""
        height, width = self.config.height // 2, self.config.width // 2
        squares = np.empty((len(phases[0]), 4, height, width), np.uint8)
        for pixels, values in zip(PHASES, phases, strict=True):
            squares[:, list(pixels)] = values.reshape(-1, len(pixels), height, width)
        squares = squares.reshape(-1, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return np.ascontiguousarray(squares.reshape(-1, 2 * height, 2 * width))

    def as_phase(self, number: int, values: Array) -> Tensor:
        """Pixels of a phase (B, pixels) as the next phases read them, (B, 1 or 2, H/2, W/2)."""
        shape = (len(values), len(PHASES[number]), self.config.height // 2, self.config.width // 2)
        return torch.from_numpy(np.array(values, np.float64)).view(shape)

    def image_bytes(self) -> int:
        """Memory that an image takes while it is coded, at most: the widest layer's, and the mixtures of its pixels."""
        config = self.config
        pixels, grid = config.height * config.width, math.prod(config.grid)
        starts = {
            "posterior0": pixels,
            "posterior1": grid,
            "features": grid if config.local else 1,
            "prior": 1,
        }
        widest = 0
        for name, stack in self.stacks.items():
            places, number = starts.get(name, pixels // 4), 0  # phases see a pixel of four
            for op in stack.ops:
                if op[0] == "conv":
                    widest = max(widest, places * _bytes_of(stack.convs[number]))
                    number += 1
                else:
                    places = {"down": places // 4, "up": 4 * places, "flatten": 1, "grid": grid}[op[0]]
        held = PIXEL_BYTES + COMPONENT_BYTES * config.components + 2 * config.features
        return widest + pixels * held

    def export_state(self) -> dict[str, Tensor]:
        """Flat dictionary of integer tensors for safetensors."""
        state = {
            "edges": torch.from_numpy(self.edges.astype(np.int32)),
            "centres": self.centres.to(torch.int32),
        }
        for name, stack in self.stacks.items():
            for i, conv in enumerate(stack.convs):
                state |= {f"{name}.{i}.{key}": v.contiguous() for key, v in conv.export_state().items()}
        return state

    @classmethod
    def from_state(cls, config: VaeConfig, state: Mapping[str, Tensor]) -> ExactVae:
        """Built again from `export_state`; every bound is proven again. Raises InputError for another model's."""
        stacks = {}
        known = {"edges", "centres"}
        try:
            for name, ops in network_ops(config).items():
                convs = []
                for i, op in enumerate(op for op in ops if op[0] == "conv"):
                    prefix = f"{name}.{i}."
                    part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                    known |= {prefix + k for k in part}
                    if part["weight"].shape != (op[2], op[1], op[3], op[3]):
                        raise InputError(
                            f"layer {name}.{i} of the model does not have the shape that it should"
                        )
                    convs.append(ExactConv.from_state(part))
                stacks[name] = ExactStack(ops, convs)
            edges, centres = state["edges"], state["centres"]
            refuse_unknown(state, known)
        except (KeyError, ValueError, RuntimeError, ExportError) as error:
            raise InputError(f"the weights are not those of a latent-variable model: {error}") from None
        layers = len(config.latents)
        if edges.shape != (layers, BINS + 1) or centres.shape != (layers, BINS):
            raise InputError("the bins of the model's latents are damaged")
        return cls(config, stacks, edges, centres)


def _bytes_of(conv: ExactConv) -> int:
    """Memory that a place takes in a layer: its numbers in float64, and in a layer of float64 the neighbourhood that
    torch lays out beside each."""
    outputs, inputs, side, _ = conv.weight.shape
    around = inputs * side * side if conv.dtype == torch.float64 and side > 1 else inputs
    return 8 * (inputs + around + 2 * outputs)


def _halves(out: Tensor) -> tuple[Ints, Ints]:
    means, scales = out.to(torch.int32).chunk(2, dim=1)
    return means.flatten(1).numpy(), scales.flatten(1).numpy()


# -- from floats -------------------------------------------------------------------------------------------


def logistic_bins(scale: float) -> tuple[Tensor, Tensor]:
    """Edges (BINS + 1,) and centres (BINS,) of bins of equal mass under a logistic of this scale. In floats."""
    quantile = torch.arange(1, BINS, dtype=torch.float64) / BINS
    inner = (scale * UNIT * torch.logit(quantile)).round()
    edges = torch.cat([inner[:1] - UNIT, inner, inner[-1:] + UNIT])  # outside: minus and plus infinity
    middle = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    centres = (scale * CENTRE * torch.logit(middle)).round().clamp(-CENTRE_MAX, CENTRE_MAX)
    return edges.to(torch.int32), centres.to(torch.int32)


@torch.no_grad()
def peaks_of(networks: VaeNetworks, x: Tensor) -> tuple[dict[str, list[Tensor]], list[float]]:
    """What activations reach, for each layer and channel; and the scale of each latent layer's values.

    x: (B, 1, H, W) images. The scale is that of the logistic whose standard deviation the samples of z have.
    """
    peaks: dict[str, list[Tensor]] = {}
    seen: dict[str, Tensor] = {}
    handles = []
    for name, stack in networks.nets.items():
        peaks[name] = [torch.zeros(conv.out_channels) for conv in stack.convs]
        for i, conv in enumerate(stack.convs):

            def hook(_: nn.Module, __: object, out: Tensor, name: str = name, i: int = i) -> None:
                peaks[name][i] = torch.maximum(peaks[name][i], out.clamp(min=0).amax(dim=(0, 2, 3)))

            handles.append(conv.register_forward_hook(hook))
        handles.append(
            stack.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[0]}))
        )
    noise = torch.Generator().manual_seed(0)
    try:
        networks(x, noise)
    finally:
        for handle in handles:
            handle.remove()
    values = [seen[reader] for reader in ("features", "prior")[: len(networks.config.latents)]]
    return peaks, [float(z.double().pow(2).mean().sqrt()) * 3**0.5 / math.pi for z in values]


def quantise_stack(
    stack: Stack,
    peaks: list[Tensor],
    scale: Tensor,
    max_input: int,
    bits: int = WEIGHT_BITS,
    outputs: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> tuple[ExactStack, Tensor]:
    """An exact stack that approximates a float one, and the scales of its outputs' channels.

    scale: (in,) what 1 means in each input channel. peaks: of `peaks_of`. bits: of a weight. outputs: for a stack
    whose last layer has no ReLU, the gain, offset, least and greatest integer of each of its outputs:
    round(gain * out + offset).
    """
    convs: list[ExactConv] = []
    sizes = [op[3] for op in stack.ops if op[0] == "conv"]
    for at, op in enumerate(stack.ops):
        if op[0] == "down":
            scale = scale.repeat(4)
        elif op[0] == "up":
            scale = scale[: len(scale) // 4]
        elif op[0] == "flatten":
            wanted = stack.ops[at + 1][1]
            scale = scale.repeat_interleave(wanted // len(scale))
        elif op[0] == "grid":
            scale = scale.view(op[1], -1)[:, 0]
        if op[0] != "conv":
            continue
        conv, i = stack.convs[len(convs)], len(convs)
        weight, bias = conv.weight.detach(), conv.bias.detach()
        if i + 1 == len(sizes) and outputs is not None:
            gain, offset, low, high = outputs
            exact, _ = quantise_conv(
                weight, bias.double() + offset / gain, scale, 1 / gain, low, high, max_input, bits=OUTPUT_BITS
            )
            convs.append(exact)
            scale = 1 / gain
            continue
        top = GRID_TOP if i + 1 == len(sizes) or sizes[i + 1] == 3 else VECTOR_TOP
        peak = peaks[i].clamp(min=1e-3 * float(peaks[i].max()) + 1e-6)
        follows = stack.ops[at + 1] if at + 1 < len(stack.ops) else ("end",)
        if follows[0] == "up":  # the four channels that become one have one scale
            peak = peak.view(4, -1).amax(dim=0).repeat(4)
        elif follows[0] == "grid":
            peak = peak.view(follows[1], -1).amax(dim=1).repeat_interleave(follows[2] * follows[3])
        out_scale = peak.double() / top
        zero, high = torch.zeros(len(peak)), torch.full((len(peak),), top)
        exact, _ = quantise_conv(weight, bias, scale, out_scale, zero, high, max_input, bits=bits)
        convs.append(exact)
        scale, max_input = out_scale, top
    return ExactStack(stack.ops, convs), scale


def _latent_outputs(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`outputs` of the networks that give means and scales of `count` latents."""
    unit, steps = float(UNIT), float(SCALE_STEPS)
    one = SCALE_ONE + steps * UNIT_BITS  # the ladder's index of scale 1
    reach = LATENT_REACH * unit
    low, high = (one + steps * bound for bound in LATENT_LOG2_SCALE)
    return (
        torch.tensor([unit] * count + [steps] * count).double(),
        torch.tensor([0.0] * count + [one - steps] * count).double(),  # latent_parameters subtracts 1
        torch.tensor([-reach] * count + [low] * count),
        torch.tensor([reach] * count + [high] * count),
    )


def _pixel_outputs(config: VaeConfig, pixels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`outputs` of a phase's network; the constants are those of `log_pixels`."""
    if config.levels == 2:
        reach = LOGIT_REACH * FRACTION
        rows = [(4.0 * FRACTION, FRACTION / 2, FRACTION / 2 - reach, FRACTION / 2 + reach)]
    else:
        k, steps, levels = config.components, float(SCALE_STEPS), config.levels * float(FRACTION)
        low, high = (SCALE_ONE + steps * bound for bound in PIXEL_LOG2_SCALE)
        rows = [(LOGIT, 0.0, -LOGIT_REACH * LOGIT, LOGIT_REACH * LOGIT)] * k
        rows += [(levels, 0.0, (1 - PIXEL_REACH) * levels, PIXEL_REACH * levels)] * k
        rows += [(4 * steps, SCALE_ONE + 3 * steps, low, high)] * k
    gain, offset, low_, high_ = torch.tensor(rows * pixels, dtype=torch.float64).T
    return gain, offset, low_, high_


def quantise_vae(networks: VaeNetworks, images: Tensor) -> ExactVae:
    """The exact model of float networks. images: (B, 1, H, W), what the ranges of activations are measured on."""
    config = networks.config
    peaks, spreads = peaks_of(networks, images)
    layers = len(config.latents)
    # the top layer's bins are those of its prior, whatever its values do: then p(bin) is uniform
    bins = [logistic_bins(1.0 if i == layers - 1 else max(0.25, spreads[i])) for i in range(layers)]
    edges, centres = (torch.stack(tables) for tables in zip(*bins, strict=True))
    pixel, latent = torch.tensor([1 / (config.levels - 1)]), 1 / CENTRE
    stacks: dict[str, ExactStack] = {}
    feature_scale = torch.empty(0)
    for name, stack in networks.nets.items():
        outputs, bits = None, WEIGHT_BITS
        if name.startswith(("posterior", "prior")):
            outputs = _latent_outputs(stack.convs[-1].out_channels // 2)
        if name == "posterior0":
            scale, largest = pixel, config.levels - 1
        elif name.startswith("phase"):
            number = int(name.removeprefix("phase"))
            outputs, bits = _pixel_outputs(config, len(PHASES[number])), PHASE_BITS
            known = sum(map(len, PHASES[:number]))
            scale, largest = torch.cat([feature_scale, pixel.repeat(known)]), max(GRID_TOP, config.levels - 1)
        else:
            scale, largest = torch.full((stack.convs[0].in_channels,), latent), CENTRE_MAX
        stacks[name], out_scale = quantise_stack(stack, peaks[name], scale, largest, bits, outputs)
        if name == "features":
            feature_scale = out_scale
    return ExactVae(config, stacks, edges, centres)
