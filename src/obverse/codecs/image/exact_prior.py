"""The four-step hyperprior that ships: the networks of `four_step.py` in exact integer arithmetic.

Everything that decides how a file is parsed happens here, in integers:

    ẑ ──► synthesis ──► features ──┐
                                   ├──► slice k ──► mean (1/32), table index ──► coder ──► residual
    slices 0..k-1, ŷ (1/32) ───────┘                                             ŷ = residual + mean

ẑ are integers within ±127; a latent ŷ is counted in 32nds; a quality is a level 0..LEVELS, and what depends
on it is interpolated between anchors in integers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from obverse.codecs.image import latents
from obverse.codecs.image.exact_arrays import WINDOW
from obverse.codecs.image.latents import (
    CONTEXT_MAX,
    CONTEXT_STEP,
    FRACTION,
    RESIDUAL_MAX,
    STEPS,
    Z_MAX,
)
from obverse.codecs.image.prior import FourStepHyperprior, from_slices, to_slices
from obverse.codecs.image.scales import SCALES
from obverse.errors import ExportError
from obverse.transforms.blocks import depth_to_space
from obverse.transforms.exact import ExactConv, quantise_conv
from obverse.transforms.exact_bounds import refuse_unknown
from obverse.transforms.windows import windows

Index = npt.NDArray[np.uint8]
Coder = Callable[[int, Tensor, Tensor], Tensor]


def interpolate_level(anchors: Tensor, level: int) -> Tensor:
    """`latents.interpolate_level` of tensors."""
    return torch.from_numpy(latents.interpolate_level(anchors.cpu().numpy(), level))


class ExactSlicePrior(nn.Module):
    """Means (in 32nds) and table indices of one slice; the diagram is in `four_step.SlicePrior`."""

    def __init__(self, reduce: ExactConv | None, spatial: ExactConv | None, mix: ExactConv, head: ExactConv):
        super().__init__()
        self.reduce, self.spatial, self.mix, self.head = reduce, spatial, mix, head

    def forward(self, features: Tensor, earlier: list[Tensor]) -> tuple[Tensor, Tensor]:
        """features: (B, C, h, w) integers; earlier: slices (B, M, h, w) in 32nds.

        Returns mean and index, (B, M, h, w) each, integers in float64.
        """
        h = features
        if self.reduce is not None and self.spatial is not None:
            seen = torch.cat(earlier, 1).double()
            seen = torch.floor((seen + CONTEXT_STEP // 2) / CONTEXT_STEP).clamp(-CONTEXT_MAX, CONTEXT_MAX)
            h = torch.cat([features, self.spatial(self.reduce(seen))], 1)
        mean, index = self.head(self.mix(h)).chunk(2, 1)
        return mean, index


class ExactFourStep(nn.Module):
    """Tables for every latent, from what the decoder has already decoded."""

    def __init__(
        self,
        conv1: ExactConv,
        quality: Tensor,
        conv2: ExactConv,
        slices: list[ExactSlicePrior],
        z_index: Tensor,
    ):
        super().__init__()
        self.conv1, self.conv2 = conv1, conv2
        self.quality = nn.Buffer(quality.to(torch.int64))  # (K, 4 Z) in sums of conv1
        self.slices = nn.ModuleList(slices)
        self.z_index = nn.Buffer(z_index.to(torch.int64))  # (K, Z) table indices times 64
        self.hyper = z_index.shape[1]

    def z_tables(self, level: int) -> Tensor:
        """(Z,) table index of each channel of ẑ at this quality level, int64."""
        return ((interpolate_level(self.z_index, level) + 32) // 64).clamp(0, SCALES - 1)

    def features(self, z: Tensor, level: int) -> Tensor:
        """z: (1, Z, h/4, w/4) integers within +-127 -> (1, C, h/2, w/2) integers."""
        extra = interpolate_level(self.quality, level).double().view(1, -1, 1, 1)
        return self.conv2(depth_to_space(self.conv1(z, extra), 2))

    @torch.no_grad()
    def run(self, z: Tensor, level: int, coder: Coder) -> list[Tensor]:
        """Go through the four slices; the encoder's and the decoder's common path.

        z: (1, Z, h, w) integers, any float dtype. coder(k, mean, index) is given the means (32nds, int32) and
        table indices (uint8) of slice k, (M, h, w) each, and returns its residuals (M, h, w) int32: the encoder
        computes them, the decoder pops them. Returns the slices of ŷ in 32nds, (1, M, 2 h, 2 w) int32 each.
        """
        height, width = 2 * z.shape[2], 2 * z.shape[3]
        channels = self.slices[0].head.weight.shape[0] // 2
        features = torch.empty(1, self.conv2.weight.shape[0], height, width, dtype=torch.float32)
        for win in windows(height // 2, width // 2, WINDOW // 2, 2):
            rows, columns = (slice(2 * part.start, 2 * part.stop) for part in win.core)
            inside = tuple(slice(2 * part.start, 2 * part.stop) for part in win.inside)
            part = self.features(z[:, :, win.padded[0], win.padded[1]], level)
            features[:, :, rows, columns] = part[:, :, inside[0], inside[1]].float()
        decoded: list[Tensor] = []
        for k in range(STEPS):
            mean = torch.empty(channels, height, width, dtype=torch.int32)
            index = torch.empty(channels, height, width, dtype=torch.uint8)
            for win in windows(height, width, WINDOW, 1):
                at = (slice(None), slice(None), *win.padded)
                m, i = self.slices[k](features[at], [d[at] for d in decoded])
                mean[:, win.core[0], win.core[1]] = m[0, :, win.inside[0], win.inside[1]].to(torch.int32)
                index[:, win.core[0], win.core[1]] = i[0, :, win.inside[0], win.inside[1]].to(torch.uint8)
            residual = coder(k, mean, index)
            mean += residual.clamp(-RESIDUAL_MAX, RESIDUAL_MAX) * FRACTION
            decoded.append(mean[None])
        return decoded

    @staticmethod
    def join(slices: list[Tensor]) -> Tensor:
        """What `run` returned -> ŷ (1, M, 4 h, 4 w) float32, in steps of the quantiser."""
        return from_slices(slices, torch.float32).div_(FRACTION)

    def export_state(self) -> dict[str, Tensor]:
        """Flat dictionary of integer tensors for safetensors."""
        state = {"quality": self.quality, "z_index": self.z_index}
        for name, module in self.named_modules():
            if isinstance(module, ExactConv):
                state |= {f"{name}.{key}": value.contiguous() for key, value in module.export_state().items()}
        return state

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> ExactFourStep:
        """Built again from `export_state`; every bound is proven again. Raises ExportError."""
        known = {"quality", "z_index"}

        def conv(name: str) -> ExactConv | None:
            keys = [key for key in state if key.startswith(name + ".")]
            known.update(keys)
            return (
                ExactConv.from_state({key.removeprefix(name + "."): state[key] for key in keys})
                if keys
                else None
            )

        def needed(name: str) -> ExactConv:
            layer = conv(name)
            if layer is None:
                raise ExportError(f"the model lacks the layer {name}")
            return layer

        slices = [
            ExactSlicePrior(
                conv(f"slices.{k}.reduce"),
                conv(f"slices.{k}.spatial"),
                needed(f"slices.{k}.mix"),
                needed(f"slices.{k}.head"),
            )
            for k in range(STEPS)
        ]
        prior = cls(needed("conv1"), state["quality"], needed("conv2"), slices, state["z_index"])
        refuse_unknown(state, known)
        return prior


class Calibration:
    """The largest activation of each channel seen over the calibration images."""

    def __init__(self) -> None:
        self.top: dict[str, Tensor] = {}

    def see(self, name: str, activation: Tensor) -> Tensor:
        """Records a quantile close to the maximum and hands the activation on."""
        flat = activation.detach().permute(1, 0, 2, 3).flatten(1)
        top = torch.quantile(flat[:, :200_000], 0.9999, dim=1)
        self.top[name] = torch.maximum(self.top.get(name, torch.zeros_like(top)), top)
        return activation


@torch.no_grad()
def calibrate(model: FourStepHyperprior, samples: list[tuple[Tensor, Tensor]]) -> Calibration:
    """samples: pairs of gained latents y (1, M, h, w) and quality t (1,)."""
    seen = Calibration()
    relu = nn.functional.relu
    for y, t in samples:
        z = model.analysis(y).round().clamp(-Z_MAX, Z_MAX)
        h = seen.see("conv1", relu(model.synthesis.conv1(z) + model.synthesis.quality(t)))
        features = seen.see("conv2", relu(model.synthesis.conv2(depth_to_space(h, 2))))
        decoded: list[Tensor] = []
        for k, part in enumerate(to_slices(y)):
            prior = model.slices[k]
            h = features
            if k:
                c = seen.see(f"{k}.reduce", relu(prior.reduce(torch.cat(decoded, 1))))
                h = torch.cat([h, seen.see(f"{k}.spatial", relu(prior.spatial(c)))], 1)
            mean, _ = prior.head(seen.see(f"{k}.mix", relu(prior.mix(h)))).chunk(2, 1)
            decoded.append((part - mean).round() + mean)
    return seen


@torch.no_grad()
def export_exact(
    model: FourStepHyperprior, samples: list[tuple[Tensor, Tensor]], bits: int = 8, output_bits: int = 12
) -> ExactFourStep:
    """Quantise a trained prior, with the ranges of activations seen on `samples`.

    Activations have a step per channel, and 10 bits where a 1x1 convolution reads them; 8 where a 3x3 one does,
    so that float32 holds its sums. Weights have `bits` bits and a step per output channel, but `output_bits` in
    the last two layers of each slice, which choose means and tables: there rounding costs most, at low rates
    above all (`exactness_cost` in codecs/image/export.py measures it). Raises ExportError if a bound cannot be proven.
    """
    seen = calibrate(model, samples)
    narrow, wide = 255, 1023

    def hidden(
        conv: nn.Conv2d,
        scale_in: Tensor,
        max_input: int,
        name: str,
        top: int,
        extra: Tensor | None = None,
        bits: int = bits,
    ) -> tuple[ExactConv, Tensor, Tensor]:
        """A layer with ReLU whose outputs are 0..top -> the layer, `extra` in its sums, the outputs' steps."""
        scale = seen.top[name] / top
        # silent channels must not eat up the multiplier's bits
        scale = scale.clamp(min=float(scale.max()) / 256)
        if name == "conv1":  # depth_to_space mixes its groups of channels: they share one scale
            scale = scale.view(4, -1).amax(0).repeat(4)
        low, high = torch.tensor(0.0), torch.tensor(float(top))
        bias = conv.bias if conv.bias is not None else torch.zeros(conv.out_channels)
        layer, sums = quantise_conv(conv.weight, bias, scale_in, scale, low, high, max_input, extra, bits)
        return layer, sums, scale

    synthesis = model.synthesis
    ones = torch.ones(model.hyper)
    conv1, quality, scale1 = hidden(synthesis.conv1, ones, Z_MAX, "conv1", narrow, synthesis.quality.anchors)
    conv2, _, scale2 = hidden(synthesis.conv2, scale1[: model.hyper], narrow, "conv2", wide)
    slices = []
    m = model.latents
    for k in range(STEPS):
        prior = model.slices[k]
        reduce = spatial = None
        scale = scale2
        if k:
            context = torch.full((k * m,), CONTEXT_STEP / FRACTION)
            reduce, _, scale_r = hidden(prior.reduce, context, CONTEXT_MAX, f"{k}.reduce", narrow)
            spatial, _, scale_s = hidden(prior.spatial, scale_r, narrow, f"{k}.spatial", wide)
            scale = torch.cat([scale, scale_s])
        mix, _, scale = hidden(prior.mix, scale, wide, f"{k}.mix", wide, bits=output_bits)
        output_scale = torch.cat([torch.full((m,), 1 / FRACTION), torch.ones(m)])
        low = torch.cat([torch.full((m,), -(2.0**19)), torch.zeros(m)])
        high = torch.cat([torch.full((m,), 2.0**19), torch.full((m,), SCALES - 1.0)])
        weight, bias = prior.head.weight, prior.head.bias
        head, _ = quantise_conv(weight, bias, scale, output_scale, low, high, wide, None, output_bits)
        slices.append(ExactSlicePrior(reduce, spatial, mix, head))
    z_index = (model.z_index.anchors * 64).round()
    return ExactFourStep(conv1, quality, conv2, slices, z_index)
