"""The integer flow that codes: the networks of `integer_flow.py` in exact integer arithmetic.

Sender and receiver go the same way, from the coarsest pixels to the finest:

    coder ──► a ──► prior of d ──► coder ──► d ──► couplings backwards ──► a, d of the level ──► prior of b ──► ...

The coder is given a mixture for every value and returns the values: the sender's knows them, from `forward`, and
notes the mixtures; the receiver's pops them. Values are bounded: a coupling adds at most its bound, so the range of
everything that is coded follows from 0..255, whatever the image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from obverse.codecs.flow.networks import (
    COLOURS,
    PREDICT_BOUND,
    UPDATE_BOUND,
    crop,
    from_colour,
    replicate,
    squeeze,
    to_colour,
    unsqueeze,
)
from obverse.codecs.flow.recipe import FlowConfig
from obverse.coding.logistic_mixture import LogisticMixtures, weights_of
from obverse.errors import DamagedError, ExportError
from obverse.transforms.exact import ExactConv
from obverse.transforms.exact_bounds import refuse_unknown

FEATURE_MAX = 511  # largest feature of the priors, as an integer
HIDDEN_MAX = 1023  # largest activation behind a ReLU
COUPLING_STEP = 4096  # couplings count in 1/4096 before they round: white must become what it was in training
COUPLING_MAX = 16383  # largest activation behind the ReLU of a coupling
COLOUR_RANGE = (128, 255, 255)  # largest luma and chromas of `to_colour`
BATCH = 32  # images that pass through the networks at once; no part of the format

Symbols = npt.NDArray[np.int32]
Coder = Callable[[LogisticMixtures], Symbols]


def coarse_range(level: int) -> tuple[int, ...]:
    """Largest |a| of each colour behind `level` levels: each has two updates."""
    return tuple(c + 2 * level * u for c, u in zip(COLOUR_RANGE, UPDATE_BOUND, strict=True))


def kept_range(level: int) -> tuple[int, ...]:
    """Largest |a|, |d| of level `level` (from 0) between its two pairs of couplings."""
    return tuple(r + u for r, u in zip(coarse_range(level), UPDATE_BOUND, strict=True))


def d_range(level: int) -> tuple[int, ...]:
    """Largest |d| that is coded in level `level`."""
    return tuple(r + p for r, p in zip(kept_range(level), PREDICT_BOUND, strict=True))


def bc_range(level: int) -> tuple[int, ...]:
    """Largest |b|, |c| that is coded in level `level`."""
    return tuple(r + p for r, p in zip(coarse_range(level), PREDICT_BOUND, strict=True))


class ExactCoupling(nn.Module):
    """t(z1), rounded: `integer_flow.Coupling` in integers; linear and output count in 1/COUPLING_STEP.

    z1 ──┬► linear ────────────┐
         └► hidden ──► output ─┴► sum ──► round ──► clip to ± bound
    """

    def __init__(self, linear: ExactConv, hidden: ExactConv, output: ExactConv, bound: tuple[int, ...]):
        super().__init__()
        self.linear, self.hidden, self.output = linear, hidden, output
        targets = output.weight.shape[0] // COLOURS
        self.bound = nn.Buffer(torch.tensor(bound * targets).double().view(1, -1, 1, 1), persistent=False)

    def forward(self, z1: Tensor) -> Tensor:
        """z1: (B, C, h, w) integers -> (B, C', h, w) integers in float64."""
        padded = replicate(z1)
        t = crop(self.linear(padded) + self.output(self.hidden(padded)))
        t = torch.floor(t / COUPLING_STEP + 0.5)  # a power of two: nothing is lost before the floor
        return torch.minimum(torch.maximum(t, -self.bound), self.bound)


class ExactFlowLevel(nn.Module):
    """One level of the flow and its inverse."""

    def __init__(
        self, predict_bc: nn.Module, update_ad: nn.Module, predict_d: nn.Module, update_a: nn.Module
    ):
        super().__init__()
        self.predict_bc, self.update_ad = predict_bc, update_ad
        self.predict_d, self.update_a = predict_d, update_a

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x: (B, 3, H, W) integers -> a, b, c, d, (B, 3, H/2, W/2) each."""
        a, b, c, d = squeeze(x)
        kept, detail = torch.cat([a, d], 1), torch.cat([b, c], 1)
        detail = detail + self.predict_bc(kept)
        kept = kept + self.update_ad(detail)
        a, d = kept.chunk(2, 1)
        d = d + self.predict_d(a)
        a = a + self.update_a(d)
        b, c = detail.chunk(2, 1)
        return a, b, c, d

    def kept(self, a: Tensor, d: Tensor) -> Tensor:
        """a and d as they were before they were coupled, (B, 6, h, w)."""
        a = a - self.update_a(d)
        return torch.cat([a, d - self.predict_d(a)], 1)

    def inverse(self, kept: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """What `forward` was given."""
        detail = torch.cat([b, c], 1)
        kept = kept - self.update_ad(detail)
        b, c = (detail - self.predict_bc(kept)).chunk(2, 1)
        a, d = kept.chunk(2, 1)
        return unsqueeze(a, b, c, d)


class ExactStage(nn.Module):
    """Features, and the mixtures of one pixel of each block: `integer_flow.Stage` in integers."""

    def __init__(
        self,
        embed: ExactConv,
        blocks: list[tuple[ExactConv, ExactConv]],
        hidden: list[ExactConv],
        heads: list[ExactConv],
    ):
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(nn.ModuleList(block) for block in blocks)
        self.hidden, self.heads = nn.ModuleList(hidden), nn.ModuleList(heads)

    def features(self, features: Tensor, values: Tensor) -> Tensor:
        """features: (B, width, h, w), values: (B, C, h, w) integers -> features again, float32."""

        def add(change: Tensor, features: Tensor) -> Tensor:
            return change.float().add_(features).clamp_(-FEATURE_MAX, FEATURE_MAX)

        features = add(crop(self.embed(replicate(values))), features)
        for spatial, mix in self.blocks:
            features = add(mix(spatial(features)), features)
        return features

    def mixtures(self, features: Tensor, known: Tensor) -> Tensor:
        """known: (B, j, h, w), the colours decoded before colour j -> (B, h, w, 3 K) integers, int32: logits,
        means, scales."""
        j = known.shape[1]
        h = self.hidden[j](torch.cat([features, known.float()], 1))
        return self.heads[j](h).permute(0, 2, 3, 1).to(torch.int32)


class ExactIntegerFlow(nn.Module):
    """Images to values with their mixtures, and back.

    last: (3, 3 K) integers, logits, means and scales of the coarsest level's mixtures.
    """

    def __init__(
        self,
        config: FlowConfig,
        levels: list[ExactFlowLevel],
        priors: list[list[ExactStage]],
        up: list[ExactConv],
        last: Tensor,
    ):
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(levels)
        self.priors = nn.ModuleList(nn.ModuleList(stages) for stages in priors)
        self.up = nn.ModuleList(up)
        self.last = nn.Buffer(last.to(torch.int64))

    @torch.no_grad()
    def forward(self, images: npt.NDArray[np.uint8], batch: int = BATCH) -> list[Symbols]:
        """(n, H, W, 3) uint8 -> the values in the order in which `run` asks its coder for them, int32."""
        z = to_colour(torch.from_numpy(images).permute(0, 3, 1, 2).double())
        details = []
        for level in self.levels:
            z, b, c, d = batched(level, batch, z)
            details.append((d, b, c))
        values = [z, *(part for parts in reversed(details) for part in parts)]
        return [value[:, j].to(torch.int32).numpy() for value in values for j in range(COLOURS)]

    @torch.no_grad()
    def run(self, count: int, side: int, coder: Coder, batch: int = BATCH) -> npt.NDArray[np.uint8]:
        """`count` images, decoded: the way that encoder and decoder have in common.

        side: pixels of an image on a side, a multiple of 2**levels. coder(mixtures) returns the symbols, int32 of the
        shape of the mixtures: the next of `forward`'s values. Raises DamagedError if they are not those of an image.
        """
        top = self.config.levels
        side >>= top
        a = self._last(count, side, coder)
        features = torch.zeros(count, self.config.width, side, side)
        for number in reversed(range(top)):
            level, (stage_d, stage_b, stage_c) = self.levels[number], self.priors[number]
            if number < top - 1:
                features = batched(self.up[number], batch, features).float()
                features = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
            features = batched(stage_d.features, batch, features, a)
            d = _pixel(stage_d, features, d_range(number), coder, batch)
            kept = batched(level.kept, batch, a, d)
            _check(kept, kept_range(number) * 2)
            features = batched(stage_b.features, batch, features, kept)
            b = _pixel(stage_b, features, bc_range(number), coder, batch)
            features = batched(stage_c.features, batch, features, b)
            c = _pixel(stage_c, features, bc_range(number), coder, batch)
            a = batched(level.inverse, batch, kept, b, c)
            _check(a, coarse_range(number))
        images = from_colour(a)
        if images.numel() and (images.min() < 0 or images.max() > 255):
            raise DamagedError("the file holds values that no image has")
        return images.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()

    def _last(self, count: int, side: int, coder: Coder) -> Tensor:
        colours = []
        for row, most in zip(self.last.numpy(), coarse_range(self.config.levels), strict=True):
            logits, means, scales = (
                np.broadcast_to(part, (count, side, side, len(part))) for part in np.split(row, 3)
            )
            symbols = coder(LogisticMixtures(weights_of(logits), means, scales, -most, most))
            colours.append(torch.from_numpy(symbols).double())
        return torch.stack(colours, 1)

    def export_state(self) -> dict[str, Tensor]:
        """Flat dictionary of integer tensors for safetensors."""
        state = {"last": self.last}
        for name, module in self.named_modules():
            if isinstance(module, ExactConv):
                state |= {f"{name}.{key}": value.contiguous() for key, value in module.export_state().items()}
        return state

    @classmethod
    def from_state(cls, config: FlowConfig, state: dict[str, Tensor]) -> ExactIntegerFlow:
        """Built again from `export_state`; every bound is proven again. Raises ExportError."""
        known = {"last"}

        def conv(name: str, outputs: int, inputs: int, kernel: int) -> ExactConv:
            keys = [key for key in state if key.startswith(name + ".")]
            if not keys:
                raise ExportError(f"the model lacks the layer {name}")
            known.update(keys)
            layer = ExactConv.from_state({key.removeprefix(name + "."): state[key] for key in keys})
            if layer.weight.shape != (outputs, inputs, kernel, kernel):
                raise ExportError(f"the layer {name} has weights of shape {tuple(layer.weight.shape)}")
            return layer

        def coupling(name: str, pixels: int, bound: tuple[int, ...]) -> ExactCoupling:
            channels, between = COLOURS * pixels, config.coupling
            return ExactCoupling(
                conv(f"{name}.linear", channels, channels, 3),
                conv(f"{name}.hidden", between, channels, 3),
                conv(f"{name}.output", channels, between, 1),
                bound,
            )

        width, parameters = config.width, 3 * config.components

        def stage(name: str, seen: int, blocks: int) -> ExactStage:
            return ExactStage(
                conv(f"{name}.embed", width, COLOURS * seen, 3),
                [
                    (
                        conv(f"{name}.blocks.{i}.0", width, width, 3),
                        conv(f"{name}.blocks.{i}.1", width, width, 1),
                    )
                    for i in range(blocks)
                ],
                [conv(f"{name}.hidden.{j}", config.hidden, width + j, 1) for j in range(COLOURS)],
                [conv(f"{name}.heads.{j}", parameters, config.hidden, 1) for j in range(COLOURS)],
            )

        last = state["last"]
        if last.shape != (COLOURS, parameters) or last.dtype != torch.int64:
            raise ExportError(
                "the mixtures of the coarsest level have another shape than the configuration says"
            )
        flow = cls(
            config,
            [
                ExactFlowLevel(
                    coupling(f"levels.{i}.predict_bc", 2, PREDICT_BOUND),
                    coupling(f"levels.{i}.update_ad", 2, UPDATE_BOUND),
                    coupling(f"levels.{i}.predict_d", 1, PREDICT_BOUND),
                    coupling(f"levels.{i}.update_a", 1, UPDATE_BOUND),
                )
                for i in range(config.levels)
            ],
            [
                [
                    stage(f"priors.{i}.{k}", seen, blocks)
                    for k, (seen, blocks) in enumerate(zip((1, 2, 1), config.blocks, strict=True))
                ]
                for i in range(config.levels)
            ],
            [conv(f"up.{i}", width, width, 1) for i in range(config.levels - 1)],
            last,
        )
        refuse_unknown(state, known)
        flow.check()
        return flow

    def check(self) -> None:
        """Raise ExportError unless every layer is made for inputs as large as they can be."""
        for i in range(self.config.levels):
            level, stages = self.levels[i], self.priors[i]
            coarse, kept, d, bc = (
                max(f) for f in (coarse_range(i + 1), kept_range(i), d_range(i), bc_range(i))
            )
            kept_a = max(kept_range(i))
            given = {
                level.predict_bc.linear: max(coarse_range(i)),
                level.predict_bc.hidden: max(coarse_range(i)),
                level.update_ad.linear: bc,
                level.update_ad.hidden: bc,
                level.predict_d.linear: kept_a,
                level.predict_d.hidden: kept_a,
                level.update_a.linear: d,
                level.update_a.hidden: d,
                level.predict_bc.output: COUPLING_MAX,
                level.update_ad.output: COUPLING_MAX,
                level.predict_d.output: COUPLING_MAX,
                level.update_a.output: COUPLING_MAX,
                stages[0].embed: coarse,
                stages[1].embed: kept,
                stages[2].embed: bc,
            }
            for stage, most in zip(stages, (d, bc, bc), strict=True):
                given |= {hidden: max(FEATURE_MAX, most) for hidden in stage.hidden}
                given |= {head: HIDDEN_MAX for head in stage.heads}
                given |= {block[0]: FEATURE_MAX for block in stage.blocks}
                given |= {block[1]: HIDDEN_MAX for block in stage.blocks}
            for layer, most in given.items():
                if layer.max_input < most:
                    raise ExportError(
                        f"a layer of level {i} is proven for inputs within {layer.max_input}, but may get {most}"
                    )


def batched(function: Callable[..., Tensor], batch: int, *inputs: Tensor) -> Tensor:
    """`function` of `batch` images at a time, joined: what fits a cache is fast."""
    n = inputs[0].shape[0]
    parts = [function(*(x[i : i + batch] for x in inputs)) for i in range(0, n, batch)]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]
    return torch.cat(parts)


def _pixel(stage: ExactStage, features: Tensor, most: tuple[int, ...], coder: Coder, batch: int) -> Tensor:
    """The three colours of one pixel of each block, (n, 3, h, w), each given those before."""
    known = features.new_zeros(features.shape[0], 0, *features.shape[2:], dtype=torch.float64)
    for j in range(COLOURS):
        logits, means, scales = np.split(batched(stage.mixtures, batch, features, known).numpy(), 3, -1)
        symbols = coder(LogisticMixtures(weights_of(logits), means, scales, -most[j], most[j]))
        known = torch.cat([known, torch.from_numpy(symbols).double()[:, None]], 1)
    return known


def _check(values: Tensor, most: tuple[int, ...]) -> None:
    """Values of a file beyond what the couplings can have made would leave the proven ranges."""
    bound = torch.tensor(most, dtype=values.dtype).view(1, -1, 1, 1)
    if (values.abs() > bound).any():
        raise DamagedError("the file holds values that no image has")
