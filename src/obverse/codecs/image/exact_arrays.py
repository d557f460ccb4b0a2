"""The shipped prior on arrays: what `exact_prior.ExactFourStep` computes, integer for integer, without torch.

Layers are matrix products of integers held in floats, whose sums are proven to be exact in any order
(`transforms/exact_bounds.py`). Arrays are (channels, rows, columns), of one image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from obverse.certain import is_certain
from obverse.codecs.image.latents import (
    CONTEXT_MAX,
    CONTEXT_STEP,
    FRACTION,
    RESIDUAL_MAX,
    STEPS,
    Integers,
    interpolate_level,
    slice_parts,
)
from obverse.codecs.image.recipe import ImageModelConfig
from obverse.codecs.image.scales import SCALES
from obverse.codecs.image.weights import Tensors
from obverse.errors import ExportError
from obverse.transforms.exact_bounds import FLOAT32_EXACT, layer_of, proven_bound, refuse_unknown
from obverse.transforms.windows import windows

WINDOW = 64  # cells of the slice grid (32 pixels each) a window has on a side; no part of the format

Floats = npt.NDArray[np.float64]
Residuals = npt.NDArray[np.int32]
Coder = Callable[[int, npt.NDArray[np.uint8]], Residuals]


@dataclass(frozen=True)
class ExactLayer:
    """A convolution of integers, rescaled to integers: `transforms.exact.ExactConv`.

    Attributes:
        weight: (k, k, out, in) integers in float32, or float64 where that does not hold every sum.
        bias: (out, 1) of the same type.
        scale: (out, 1) multiplier / 2**shift, float64.
        low: (out, 1) the least that outputs are clipped to, float64.
        high: (out, 1) the most.
    """

    weight: npt.NDArray[np.floating]
    bias: npt.NDArray[np.floating]
    scale: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, state: Tensors, shape: tuple[int, int, int]) -> ExactLayer:
        """The layer that `ExactConv.export_state` described; its bound is proven again.

        Args:
            state: its tensors.
            shape: how many outputs and inputs it must have, and the side of its kernel.

        Raises:
            ExportError: where its bound cannot be proven, or for tensors of other shapes or names.
        """
        shift, max_input, max_extra = layer_of(state)
        out, inside, side = shape
        weight, bias, multiplier = (state[name] for name in ("weight", "bias", "multiplier"))
        low, high = (np.broadcast_to(state[name], (out,)) for name in ("low", "high"))
        if weight.shape != (out, inside, side, side) or not bias.shape == multiplier.shape == (out,):
            raise ExportError(f"a layer has weights of {weight.shape}, not {(out, inside, side, side)}")
        if max(np.abs(low.astype(np.float64)).max(), np.abs(high.astype(np.float64)).max()) > 2**31:
            raise ExportError("a layer has limits that int32 does not hold")
        bound = proven_bound(weight, bias, multiplier, shift, low, high, max_input, max_extra)
        dtype = np.float32 if bound < FLOAT32_EXACT else np.float64

        def column(values: npt.NDArray) -> Floats:
            return np.rint(values.astype(np.float64))[:, None]

        return cls(
            np.ascontiguousarray(np.rint(weight.astype(np.float64)).transpose(2, 3, 0, 1), dtype),
            column(bias).astype(dtype),
            column(multiplier) * 2.0**-shift,
            low.astype(np.float64)[:, None],
            high.astype(np.float64)[:, None],
        )

    def __call__(self, x: npt.NDArray[np.floating], extra: Floats | None = None) -> Floats:
        """(out, H, W) integers in float64.

        Args:
            x: (in, H, W) integers.
            extra: (out, 1) integers, added to the sums.
        """
        kind = np.dtype(np.int64) if is_certain() or not _is_exact(self.weight.dtype) else self.weight.dtype
        sums = np.asarray(self._sums(x.astype(kind), kind), np.float64)
        if extra is not None:
            sums += extra
        # floor((a m + 2**(s - 1)) / 2**s): powers of two scale exactly, so half may be added after the division
        sums *= self.scale
        sums += 0.5
        np.floor(sums, out=sums)
        np.clip(sums, self.low, self.high, out=sums)
        return sums.reshape(len(sums), *x.shape[1:])

    def _sums(self, x: npt.NDArray, kind: np.dtype) -> npt.NDArray:
        """(out, H * W) sums with bias, in this type."""
        weight, bias = self.weight.astype(kind, copy=False), self.bias.astype(kind, copy=False)
        channels, height, width = x.shape
        if len(weight) == 1:
            return np.matmul(weight[0, 0], x.reshape(channels, -1)) + bias
        # rows with a zero at each end, one after the other: then each tap sees the same numbers, shifted
        padded = np.zeros((channels, height + 3, width + 2), kind)
        padded[:, 1 : height + 1, 1 : width + 1] = x
        flat, count = padded.reshape(channels, -1), height * (width + 2)
        sums = np.zeros((weight.shape[2], count), kind)
        for row, column in np.ndindex(3, 3):
            start = row * (width + 2) + column
            sums += np.matmul(weight[row, column], flat[:, start : start + count])
        whole = sums.reshape(-1, height, width + 2)[:, :, :width].reshape(len(sums), -1)
        return whole + bias


@cache
def _is_exact(dtype: np.dtype) -> bool:
    """Whether this machine's matrix products sum integers exactly, tried once with sums that fill the type.

    All that is known do. A library may be told to compute in fewer bits, by settings of its own.
    """
    top = 2**24 if dtype == np.float32 else 2**53
    rng = np.random.default_rng(0)
    a, b = rng.integers(-127, 128, (24, 256)), rng.integers(-511, 512, (256, 24))
    b *= top // (256 * 127 * 511)
    return bool(np.array_equal(a.astype(dtype) @ b.astype(dtype), a @ b))


@dataclass(frozen=True)
class SlicePrior:
    """Means (in 32nds) and table indices of one slice; the diagram is in `prior.SlicePrior`."""

    reduce: ExactLayer | None
    spatial: ExactLayer | None
    mix: ExactLayer
    head: ExactLayer

    def __call__(self, features: npt.NDArray[np.float32], earlier: list[Residuals]) -> Floats:
        """features: (C, h, w) integers; earlier: slices (M, h, w) in 32nds. Returns means and indices, (2 M, h, w)."""
        if self.reduce is None or self.spatial is None:
            return self.head(self.mix(features))
        seen = np.concatenate(earlier).astype(np.float64)
        seen += CONTEXT_STEP // 2
        seen /= CONTEXT_STEP
        np.clip(np.floor(seen, out=seen), -CONTEXT_MAX, CONTEXT_MAX, out=seen)
        return self.head(self.mix(np.concatenate([features, self.spatial(self.reduce(seen))])))


@dataclass(frozen=True)
class FourStepPrior:
    """Tables for every latent, from what the decoder has already decoded.

    Attributes:
        latents: M, channels of ŷ.
        conv1: first layer of what makes features of ẑ.
        conv2: its second layer.
        slices: of each step.
        quality: (K, 4 Z) int64, in sums of conv1.
        z_index: (K, Z) int64, table indices times 64.
    """

    latents: int
    conv1: ExactLayer
    conv2: ExactLayer
    slices: tuple[SlicePrior, ...]
    quality: Integers
    z_index: Integers

    @property
    def hyper(self) -> int:
        """Channels of ẑ."""
        return self.z_index.shape[1]

    @classmethod
    def of(cls, state: Tensors, sizes: ImageModelConfig) -> FourStepPrior:
        """Built from what `ExactFourStep.export_state` wrote; every bound is proven again.

        Raises:
            ExportError: where one cannot be, or for tensors of other names or shapes.
        """
        known = {"quality", "z_index"}

        def layer(name: str, out: int, inside: int, side: int = 1) -> ExactLayer:
            part = {key.removeprefix(f"{name}."): state[key] for key in state if key.startswith(f"{name}.")}
            if not part:
                raise ExportError(f"the model lacks the layer {name}")
            known.update(f"{name}.{key}" for key in part)
            return ExactLayer.of(part, (out, inside, side))

        hyper, features, context, hidden = sizes.hyper, sizes.features, sizes.context, sizes.hidden
        slices = []
        for k in range(STEPS):
            reduce = layer(f"slices.{k}.reduce", context, k * sizes.latents) if k else None
            spatial = layer(f"slices.{k}.spatial", context, context, 3) if k else None
            mix = layer(f"slices.{k}.mix", hidden, features + (context if k else 0))
            slices.append(
                SlicePrior(reduce, spatial, mix, layer(f"slices.{k}.head", 2 * sizes.latents, hidden))
            )
        conv1, conv2 = layer("conv1", 4 * hyper, hyper, 3), layer("conv2", features, hyper, 3)
        refuse_unknown(state, known)
        quality, z_index = state["quality"].astype(np.int64), state["z_index"].astype(np.int64)
        if (
            quality.shape[1:] != (4 * hyper,)
            or z_index.shape[1:] != (hyper,)
            or min(len(quality), len(z_index)) < 2
        ):
            raise ExportError(f"the model has anchors of {quality.shape} and {z_index.shape}")
        return cls(sizes.latents, conv1, conv2, tuple(slices), quality, z_index)

    def chooses_among(self, count: int) -> bool:
        """Whether whatever it is given, the table indices of latents are 0 to count - 1."""
        limits = [(prior.head.low[self.latents :], prior.head.high[self.latents :]) for prior in self.slices]
        return all(low.min() >= 0 and high.max() < count and (low <= high).all() for low, high in limits)

    def z_tables(self, level: int) -> npt.NDArray[np.uint8]:
        """(Z,) table index of each channel of ẑ at this quality level."""
        index = (interpolate_level(self.z_index, level) + 32) // 64
        return np.clip(index, 0, SCALES - 1).astype(np.uint8)

    def features(self, z: npt.NDArray[np.floating], level: int) -> Floats:
        """z: (Z, h/4, w/4) integers within +-127 -> (C, h/2, w/2) integers."""
        hidden = self.conv1(z, interpolate_level(self.quality, level)[:, None].astype(np.float64))
        _, height, width = hidden.shape
        cells = hidden.reshape(2, 2, self.hyper, height, width).transpose(2, 3, 0, 4, 1)
        return self.conv2(cells.reshape(self.hyper, 2 * height, 2 * width))

    def run(self, z: Residuals, level: int, coder: Coder) -> list[Residuals]:
        """Go through the four slices.

        Args:
            z: (Z, h, w) within +-127.
            level: of the quality.
            coder: (k, index) -> residuals: given the table indices (M, 2 h, 2 w) of slice k, its residuals.

        Returns:
            The slices of ŷ in 32nds, (M, 2 h, 2 w) int32 each.
        """
        height, width = 2 * z.shape[1], 2 * z.shape[2]
        features = np.empty((len(self.conv2.low), height, width), np.float32)
        for win in windows(height // 2, width // 2, WINDOW // 2, 2):
            rows, columns = (slice(2 * part.start, 2 * part.stop) for part in win.core)
            inside = tuple(slice(2 * part.start, 2 * part.stop) for part in win.inside)
            part = self.features(z[:, *win.padded].astype(np.float32), level)
            features[:, rows, columns] = part[:, *inside]
        decoded: list[Residuals] = []
        for k, prior in enumerate(self.slices):
            mean = np.empty((self.latents, height, width), np.int32)
            index = np.empty((self.latents, height, width), np.uint8)
            for win in windows(height, width, WINDOW, 1):
                both = prior(features[:, *win.padded], [part[:, *win.padded] for part in decoded])
                both = both[:, *win.inside]
                mean[:, *win.core] = both[: self.latents]
                # as integers first: a hostile model has what no uint8 holds
                index[:, *win.core] = both[self.latents :].astype(np.int32)
            mean += np.clip(coder(k, index), -RESIDUAL_MAX, RESIDUAL_MAX) * np.int32(FRACTION)
            decoded.append(mean)
        return decoded

    def join(self, slices: list[Residuals]) -> npt.NDArray[np.float32]:
        """What `run` returned -> ŷ (M, 4 h, 4 w), in steps of the quantiser."""
        _, height, width = slices[0].shape
        y = np.empty((self.latents, 2 * height, 2 * width), np.float32)
        for step, whole in enumerate(slices):
            for (channels, rows, columns), part in zip(
                slice_parts(step, self.latents), np.split(whole, 4), strict=True
            ):
                y[channels, rows, columns] = part
        y /= FRACTION
        return y
