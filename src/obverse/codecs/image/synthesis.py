"""The synthesis on arrays: what `transform.Synthesis` computes for inference, in float32, without torch.

Arrays are (rows, columns, channels). Layers go through a few thousand positions at a time, so that what one product
wrote the next reads from the cache; residual blocks change their input in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.codecs.image.latents import LEVELS, between_anchors
from obverse.codecs.image.recipe import ImageModelConfig
from obverse.codecs.image.weights import Tensors
from obverse.codecs.image.winograd import convolve, padded, transformed
from obverse.errors import ModelError

UNIT = 255.0 / 32.0  # the residual stream counts in 32 grey levels; images are in [0, 1]
ANCHORS = 9  # of what depends on the quality
BLOCK = 512  # positions that a layer computes at once, about
SLOPE = np.float32(0.1)  # of the leaky ReLU

Floats = npt.NDArray[np.float32]


def quality_vector(anchors: Floats, level: int) -> Floats:
    """(K, C) -> (C,): linear between evenly spaced anchors, what `QualityVector` gives for one quality."""
    low, rest = between_anchors(len(anchors), level)
    fraction = np.float32(rest / LEVELS)
    return anchors[low] * (1 - fraction) + anchors[low + 1] * fraction


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """Rows of (height, width) positions, about BLOCK positions at a time."""
    step = max(1, BLOCK // width)
    for start in range(0, height, step):
        yield slice(start, min(height, start + step))


def leaky_relu(x: Floats) -> None:
    """In place."""
    np.maximum(x, x * SLOPE, out=x)


@dataclass(frozen=True)
class Bottleneck:
    """`transforms.blocks.ResidualBottleneck`, folded: `reduce` has taken `input_scale` in.

    Attributes:
        reduce: (C, H).
        reduce_bias: (H,).
        spatial: (16, H, H), as `winograd.transformed` makes it.
        spatial_bias: (H,).
        expand: (H, C).
        expand_bias: (C,).
        gain: (K, H) anchors.
    """

    reduce: Floats
    reduce_bias: Floats
    spatial: Floats
    spatial_bias: Floats
    expand: Floats
    expand_bias: Floats
    gain: Floats

    @classmethod
    def of(cls, part: Tensors) -> Bottleneck:
        """Of the tensors of a block, whose shapes have been checked."""
        reduce = part["reduce.weight"][:, :, 0, 0] * part["input_scale"][0, :, 0, 0]
        return cls(
            np.ascontiguousarray(reduce.T),
            part["reduce.bias"],
            transformed(part["spatial.weight"]),
            part["spatial.bias"],
            np.ascontiguousarray(part["expand.weight"][:, :, 0, 0].T),
            part["expand.bias"],
            part["gain.anchors"],
        )

    def add_to(self, x: Floats, level: int) -> None:
        """Add the branch to x (h, w, C), in place."""
        height, width, channels = x.shape
        hidden = len(self.reduce_bias)
        expand = self.expand * (1 + quality_vector(self.gain, level))[:, None]
        wide = padded(height, width, hidden)
        for rows in row_blocks(height, width):
            branch = np.matmul(x[rows].reshape(-1, channels), self.reduce)
            branch += self.reduce_bias
            leaky_relu(branch)
            wide[1 + rows.start : 1 + rows.stop, 1 : 1 + width] = branch.reshape(-1, width, hidden)
        for first, branch in convolve(wide, self.spatial):
            branch += self.spatial_bias
            leaky_relu(branch)
            out = np.matmul(branch.reshape(-1, hidden), expand).reshape(*branch.shape[:2], channels)
            out += self.expand_bias
            target = x[first : first + len(out)]
            target += out[: len(target), :width]


@dataclass(frozen=True)
class Synthesis:
    """Latents to pixels; the diagram is in `transform.Synthesis`.

    Attributes:
        coarse: blocks at 1/16 of the size.
        split: (M, 768).
        split_bias: (768,).
        fine: blocks at 1/8 of the size.
        idct: (192, 192), to grey levels of `depth_to_space`.
        idct_bias: (192,).
    """

    coarse: tuple[Bottleneck, ...]
    split: Floats
    split_bias: Floats
    fine: tuple[Bottleneck, ...]
    idct: Floats
    idct_bias: Floats

    @classmethod
    def of(cls, tensors: Tensors, sizes: ImageModelConfig, name: str) -> Synthesis:
        """Of the unpacked tensors of the model of this name. Raises ModelError where they are not of these sizes."""
        check_shapes(tensors, shapes_of(sizes), "synthesis", name)

        def blocks(kind: str, count: int) -> tuple[Bottleneck, ...]:
            firsts = [f"{kind}.{number}." for number in range(count)]
            return tuple(
                Bottleneck.of(
                    {key.removeprefix(first): tensors[key] for key in tensors if key.startswith(first)}
                )
                for first in firsts
            )

        to_grey = np.float32(255 / UNIT)  # x / UNIT + 0.5, times 255
        return cls(
            blocks("coarse", sizes.coarse),
            np.ascontiguousarray(tensors["split.weight"][:, :, 0, 0].T),
            tensors["split.bias"],
            blocks("fine", sizes.fine),
            np.ascontiguousarray(tensors["idct.weight"][:, :, 0, 0].T) * to_grey,
            tensors["idct.bias"] * to_grey + np.float32(127.5),
        )

    @property
    def reach(self) -> int:
        """How many latents beyond its own a pixel depends on."""
        return len(self.coarse) + (len(self.fine) + 1) // 2

    def features(self, y: Floats, level: int) -> Floats:
        """Latents (h, w, M) with their gain, which are changed -> what `paint` makes pixels of, (2 h, 2 w, 192)."""
        for block in self.coarse:
            block.add_to(y, level)
        height, width, latents = y.shape
        x = np.empty((2 * height, 2 * width, 192), np.float32)
        cells = x.reshape(height, 2, width, 2, 192)
        for rows in row_blocks(height, width):
            both = np.matmul(y[rows].reshape(-1, latents), self.split)
            both += self.split_bias
            cells[rows] = both.reshape(-1, width, 2, 2, 192).transpose(0, 2, 1, 3, 4)
        for block in self.fine:
            block.add_to(x, level)
        return x

    def paint(self, x: Floats, out: npt.NDArray[np.uint8], shrink: int = 1) -> None:
        """(h, w, 192) -> the pixels `out`, uint8, of at most (8 h, 8 w, 3): what is beyond is left out.

        shrink: each pixel of `out` is the mean of so many a side, which is linear too: 1, 2, 4 or 8.
        """
        side = 8 // shrink
        weight, bias = (
            part.reshape(-1, side, shrink, side, shrink, 3).mean(axis=(2, 4)).reshape(-1, side * side * 3)
            for part in (self.idct, self.idct_bias)
        )
        for rows in row_blocks(*x.shape[:2]):
            grey = np.matmul(x[rows].reshape(-1, 192), weight)
            grey += bias
            np.clip(np.rint(grey, out=grey), 0, 255, out=grey)
            cells = grey.astype(np.uint8).reshape(-1, x.shape[1], side, side, 3).swapaxes(1, 2)
            target = out[side * rows.start : side * rows.stop]
            target[...] = cells.reshape(-1, side * x.shape[1], 3)[: target.shape[0], : target.shape[1]]


def check_shapes(tensors: Tensors, wanted: Mapping[str, tuple[int, ...]], part: str, name: str) -> None:
    """Raises ModelError where a part of the model of this name has other tensors, or of other shapes."""
    apart = {
        key
        for key in wanted.keys() | tensors.keys()
        if wanted.get(key) != getattr(tensors.get(key), "shape", None)
    }
    if apart:
        raise ModelError(
            f"the model {name} has no whole {part} (missing, unknown, or of another size: "
            f"{', '.join(sorted(apart)[:9])}); make or install it again"
        )


def shapes_of(sizes: ImageModelConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of the synthesis with their shapes."""
    shapes: dict[str, tuple[int, ...]] = {
        "split.weight": (768, sizes.latents, 1, 1),
        "split.bias": (768,),
        "idct.weight": (192, 192, 1, 1),
        "idct.bias": (192,),
    }
    kinds = (
        ("coarse", sizes.coarse, sizes.latents, sizes.coarse_hidden),
        ("fine", sizes.fine, 192, sizes.fine_hidden),
    )
    for kind, count, channels, hidden in kinds:
        for number in range(count):
            of_block = {
                "input_scale": (1, channels, 1, 1),
                "reduce.weight": (hidden, channels, 1, 1),
                "reduce.bias": (hidden,),
                "spatial.weight": (hidden, hidden, 3, 3),
                "spatial.bias": (hidden,),
                "expand.weight": (channels, hidden, 1, 1),
                "expand.bias": (channels,),
                "gain.anchors": (ANCHORS, hidden),
            }
            shapes |= {f"{kind}.{number}.{key}": shape for key, shape in of_block.items()}
    return shapes
