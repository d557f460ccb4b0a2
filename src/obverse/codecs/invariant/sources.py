"""Where invariant compressors get their training data: items, and what changes an item without changing what it means.

A source draws views of random items:

    item ──► random change ──► x               what is coded
         ──► no change     ──► representative  what stands for all views of this item
         ──► random change ──► positive        another view of the same item, for objectives that compare pairs
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.invariant.items import gray_images, read_items
from obverse.codecs.invariant.recipe import Affine
from obverse.data.image_sets import Bytes
from obverse.errors import InputError, UnsupportedInputError

DIRECTION = (-math.sqrt(0.5), -math.sqrt(0.5))  # in which the representative of a rotated point lies


class Views(NamedTuple):
    """x, representative, positive: (n, d) points, or (n, 1, H, W) images in [0, 1]. Without a pair positive is x."""

    x: Tensor
    representative: Tensor
    positive: Tensor

    def to(self, device: torch.device) -> Views:
        return Views(*(view.to(device) for view in self))


class Source(Protocol):
    """What `train` draws its batches from."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def draw(self, count: int, rng: np.random.Generator, pair: bool) -> Views: ...

    def facts(self) -> dict[str, Any]: ...


class RotatedPoints:
    """Points of the plane whose meaning is their distance from the origin (maximal invariant of rotations).

    points: (n, 2) finite numbers. augment: whether x is turned by a random angle; else it is coded as it is. Raises
    InputError.
    """

    def __init__(self, points: npt.ArrayLike, augment: bool = True):
        x = np.asarray(points)
        if x.dtype.kind not in "fiu" or x.ndim != 2 or x.shape[1] != 2 or not len(x):
            raise UnsupportedInputError(
                f"rotations are for points of the plane, (n, 2) numbers, not {x.dtype} of shape {x.shape}"
            )
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise InputError("the points hold NaN or infinite values; replace them first")
        self.points = torch.from_numpy(x)
        self.augment = augment
        self.shape = (2,)

    def __len__(self) -> int:
        return len(self.points)

    def draw(self, count: int, rng: np.random.Generator, pair: bool) -> Views:
        points = self.points[torch.from_numpy(rng.integers(0, len(self), count))]
        radius = points.norm(dim=1, keepdim=True)
        x = rotated(points, rng.uniform(0, 2 * math.pi, count)) if self.augment else points
        positive = rotated(points, rng.uniform(0, 2 * math.pi, count)) if pair else x
        return Views(x, radius * torch.tensor(DIRECTION), positive)

    def facts(self) -> dict[str, Any]:
        return {"points": len(self), "rotated": self.augment}


def rotated(points: Tensor, angles: npt.ArrayLike) -> Tensor:
    """(n, 2) points, each turned about the origin by its angle in radians."""
    angle = torch.from_numpy(np.asarray(angles, np.float32))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    x, y = points.unbind(1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], 1)


def transformed(images: Tensor, affine: Affine, rng: np.random.Generator) -> Tensor:
    """(n, 1, H, W): each image turned, sheared, scaled and moved at random, bilinear, black outside."""
    n = len(images)
    turn = np.deg2rad(rng.uniform(-affine.degrees, affine.degrees, n))
    lean = np.tan(np.deg2rad(rng.uniform(-affine.shear, affine.shear, n)))
    size = rng.uniform(*affine.scale, n)
    moves = rng.uniform(-affine.translate, affine.translate, (n, 2)) * 2  # the sides reach from -1 to 1
    mirror = np.where(rng.random(n) < 0.5, -1.0, 1.0) if affine.flip else np.ones(n)
    cosine, sine = np.cos(turn), np.sin(turn)
    # from a place in the result to the place in the image that it shows, in pixels
    back = np.empty((n, 2, 3))
    back[:, 0, 0], back[:, 0, 1] = (
        mirror * (cosine + lean * sine) / size,
        mirror * (lean * cosine - sine) / size,
    )
    back[:, 1, 0], back[:, 1, 1] = sine / size, cosine / size
    return resampled(images, back, moves)


def resampled(images: Tensor, back: npt.NDArray[np.float64], moves: npt.NDArray[np.float64]) -> Tensor:
    """(n, 1, H, W): at each place, counted in pixels from the centre, what the images show at `back` times that place
    plus `moves`, bilinear, black outside.

    back: (n, 2, 3), the last column overwritten. moves: (n, 2) in halves of the sides, from -1 to 1.
    """
    n, _, height, width = images.shape
    back[:, 0, 1] *= height / width  # in halves of the sides too, which is how grid_sample counts
    back[:, 1, 0] *= width / height
    back[:, :, 2] = moves
    grid = functional.affine_grid(torch.from_numpy(back.astype(np.float32)), [n, 1, height, width], False)
    return functional.grid_sample(images, grid, align_corners=False)


def upright(images: Tensor) -> Tensor:
    """(n, 1, H, W) in [0, 1]: each image moved, sheared and scaled until its mass lies as that of all others does.

    Centre of mass in the middle, no covariance of x and y, RMS distance from the middle a quarter of the height; x and
    y are never scaled apart. Images that differ by how they lean, how large and where they are have the same one, or
    nearly: for what ignores such changes it is a maximal invariant, where an image as it was found is one of its own
    orbit's many. Images without mass stay as they are, and none is sheared by more than its height or scaled by more
    than 2.
    """
    n, _, height, width = images.shape
    mass = images[:, 0].double().numpy()
    total = np.maximum(mass.sum((1, 2)), 1e-9)
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    rows, columns = mass.sum(2) / total[:, None], mass.sum(1) / total[:, None]
    middle_x, middle_y = columns @ x, rows @ y
    var_x = np.maximum(columns @ x**2 - middle_x**2, 1e-9)
    var_y = np.maximum(rows @ y**2 - middle_y**2, 1e-9)
    covariance = np.einsum("nyx,y,x->n", mass, y, x) / total - middle_x * middle_y
    lean = np.clip(covariance / var_y, -1, 1)
    spread = np.sqrt(np.maximum(var_x - 2 * lean * covariance + lean**2 * var_y, 0) + var_y)
    size = np.where(total > 1e-6, np.clip(spread / (height / 4), 0.5, 2), 1.0)
    back = np.zeros((n, 2, 3))
    back[:, 0, 0], back[:, 0, 1], back[:, 1, 1] = size, size * lean, size
    return resampled(images, back, np.stack([2 * middle_x / width, 2 * middle_y / height], 1))


class TransformedImages:
    """Gray images that mean the same when turned, sheared, scaled or moved a little.

    images: (n, H, W) uint8. upright: whether what stands for an image is that, see `upright`, not the image as it was
    found. Raises InputError, UnsupportedInputError (colour).
    """

    def __init__(self, images: npt.ArrayLike, affine: Affine | None = None, upright: bool = False):
        self.affine = affine or Affine()
        self.images = torch.from_numpy(np.array(gray_images(images)))
        self.upright = upright
        self.representatives = _upright_set(self.images) if upright else self.images
        self.shape = tuple(self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, count: int, rng: np.random.Generator, pair: bool) -> Views:
        chosen = torch.from_numpy(rng.integers(0, len(self), count))
        images = self.images[chosen].unsqueeze(1).float() / 255
        x = transformed(images, self.affine, rng)
        representatives = self.representatives[chosen].unsqueeze(1).float() / 255 if self.upright else images
        return Views(x, representatives, transformed(images, self.affine, rng) if pair else x)

    def facts(self) -> dict[str, Any]:
        return {"images": len(self), "affine": asdict(self.affine), "upright": self.upright}


def _upright_set(images: Tensor) -> Tensor:
    """(n, H, W) uint8 -> the same of `upright`."""
    parts = [upright(part.unsqueeze(1).float() / 255) for part in images.split(1000)]
    return (torch.cat(parts)[:, 0] * 255).round().clamp(0, 255).byte()


def transformed_set(images: npt.ArrayLike, affine: Affine, seed: int) -> Bytes:
    """(n, H, W) uint8: every image of a set changed once at random: what there is to be coded."""
    checked = gray_images(images)
    rng = np.random.default_rng(seed)
    out = np.empty_like(checked)
    for first in range(0, len(checked), 1000):
        part = torch.from_numpy(np.array(checked[first : first + 1000])).unsqueeze(1).float()
        out[first : first + 1000] = transformed(part, affine, rng)[:, 0].round().clamp(0, 255).byte().numpy()
    return out


def read_sources(data: Sequence[Path], affine: Affine, upright: bool = False) -> tuple[Source, Source]:
    """What to train on, and the last twentieth, at most 5000 items, to validate on.

    data: as `read_items` takes them. upright: see `TransformedImages`. Raises InputError, UnsupportedInputError,
    TrainingError for too few items.
    """
    return sources_of(read_items(data), affine, upright)


def sources_of(items: npt.NDArray[Any], affine: Affine, upright: bool = False) -> tuple[Source, Source]:
    """The same of items that have been read. Raises TrainingError for too few."""
    held = min(5000, len(items) // 20)
    if items.ndim == 2:
        return RotatedPoints(items[:-held]), RotatedPoints(items[-held:])
    return TransformedImages(items[:-held], affine, upright), TransformedImages(
        items[-held:], affine, upright
    )
