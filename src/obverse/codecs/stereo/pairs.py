"""Stereo pairs: reading them, and making them from single photos for training.

A rectified pair shows each point of the scene in the same row of both views; the right view has at column c
what the left view has at column c + d, where the disparity d >= 0 is larger for what is nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from obverse.data.deep_images import check_8_bits
from obverse.data.guard import guarded
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PairFiles:
    """One pair on disk: `<name>_left.*` and `<name>_right.*` in one folder."""

    name: str
    left: Path
    right: Path


def pair_files(folders: Sequence[Path]) -> list[PairFiles]:
    """All pairs under the folders, sorted by path within each folder.

    A left view whose right view is missing is an error, since a typing mistake would silently shrink the data.
    Raises InputError for that, for a missing folder, and where there is no pair at all.
    """
    pairs = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}")
        for left in sorted(folder.rglob("*_left.*")):
            if left.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            stem = left.stem.removesuffix("_left")
            right = left.with_name(stem + "_right" + left.suffix)
            if not right.is_file():
                raise InputError(f"{left} has no {right.name} beside it")
            pairs.append(PairFiles(stem, left, right))
    if not pairs:
        raise InputError(
            f"no stereo pairs (<name>_left.png, <name>_right.png) in {', '.join(map(str, folders))}"
        )
    return pairs


def read_pair(files: PairFiles) -> tuple[Bytes, Bytes]:
    """(left, right), uint8: both (H, W) where both files are gray, both (H, W, 3) otherwise. Raises InputError."""
    views = []
    for path in (files.left, files.right):
        with guarded(f"{path} cannot be read as an image"), Image.open(path) as image:
            check_8_bits(image, path)
            views.append(image.convert("L" if image.mode == "L" else "RGB"))
    if views[0].size != views[1].size:
        raise InputError(
            f"the two views of pair {files.name} differ in size: {views[0].size}, {views[1].size}"
        )
    mode = "L" if all(view.mode == "L" for view in views) else "RGB"
    left, right = (np.array(view.convert(mode)) for view in views)
    return left, right


def shift_rows(image: npt.NDArray[np.generic], disparity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a right view shows of `image`: out[r, c] = image[r, c + disparity[r, c]], linear between columns.

    image: (H, W') or (H, W', C); disparity: (H, W) pixels, W and W' independent; columns outside of `image`
    repeat its border. Returns float32 (H, W) or (H, W, C).
    """
    height, width = disparity.shape
    position = np.clip(np.arange(width, dtype=np.float32) + disparity, 0, image.shape[1] - 1)
    low = np.minimum(position.astype(np.int64), max(image.shape[1] - 2, 0))
    fraction = (position - low).astype(np.float32)
    if image.ndim == 3:
        fraction = fraction[:, :, None]
    rows = np.arange(height)[:, None]
    high = np.minimum(low + 1, image.shape[1] - 1)
    return image[rows, low] * (1 - fraction) + image[rows, high] * fraction


def smooth_field(height: int, width: int, cells: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(height, width) random values, standard normal on a grid of cells x cells and bicubic between."""
    grid = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))


def synthetic_pair(
    photo: Bytes, height: int, width: int, largest: int, rng: np.random.Generator
) -> tuple[Bytes, Bytes, npt.NDArray[np.float32]]:
    """A pair made of one photo: (left, right, disparity of the right view).

    photo: (H, W, 3) uint8, at least (height, width + largest). largest: greatest disparity, in pixels.
    The background is a slanted, bent surface; before it float pieces of the photo, each at its own disparity,
    so that either view sees parts of the background that the other does not. The left camera differs in gain,
    gamma, offset and sharpness, and both have noise, as real cameras do.
    Returns uint8 (height, width, 3) twice and float32 (height, width).
    """
    top = rng.integers(photo.shape[0] - height + 1)
    start = rng.integers(photo.shape[1] - width - largest + 1)
    ground = photo[top : top + height, start : start + width + largest]
    most = largest * rng.uniform(0.15, 1) ** 1.5
    slant = np.linspace(rng.uniform(0, 0.5), rng.uniform(0, 1), height, dtype=np.float32)[:, None]
    bend = smooth_field(height, width, int(rng.integers(2, 7)), rng) * rng.uniform(0, 0.15)
    disparity = (np.clip(slant + bend, 0, 1) * 0.6 * most).astype(np.float32)
    left = ground[:, :width].astype(np.float32)
    right = shift_rows(ground, disparity)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    nearness = np.sort(rng.uniform(0.1, 1, rng.integers(0, 8)))
    for near in nearness:
        shift = round(near * most)
        middle = rng.uniform(0, height), rng.uniform(0, width)
        radius = rng.uniform(6, height / 2.5), rng.uniform(4, width / 8)
        power = rng.choice([1, 2, 6])  # a rhombus, an ellipse, nearly a rectangle
        inside = np.abs((rows - middle[0]) / radius[0]) ** power
        inside = inside + np.abs((columns - middle[1]) / radius[1]) ** power < 1
        dy, dx = rng.integers(height), rng.integers(width)
        texture = np.roll(ground[:, :width], (dy, dx), (0, 1)) * rng.uniform(0.6, 1.2) + rng.uniform(-30, 30)
        right[inside] = texture[inside]
        moved_inside = np.zeros_like(inside)
        moved_inside[:, shift:] = inside[:, : max(0, width - shift)]
        left[moved_inside] = np.roll(texture, shift, 1)[moved_inside]
        disparity[inside] = shift
    return other_camera(left, rng), _grain(right, rng.uniform(0, 2), rng), disparity


def other_camera(image: npt.NDArray[np.generic], rng: np.random.Generator) -> Bytes:
    """The image as a camera with another gain, gamma, offset, sharpness and noise would take it; uint8."""
    value = np.clip(image.astype(np.float32), 0, 255) / 255
    value = value ** np.float32(np.exp(rng.normal(0, 0.04))) * 255
    value = value * np.float32(np.exp(rng.normal(0, 0.04))) + np.float32(rng.normal(0, 3))
    if rng.random() < 0.3:
        blur = rng.uniform(0, 0.25)
        value[:, 1:-1] = (1 - 2 * blur) * value[:, 1:-1] + blur * (value[:, :-2] + value[:, 2:])
    return _grain(value, rng.uniform(0, 3), rng)


def _grain(image: npt.NDArray[np.float32], deviation: float, rng: np.random.Generator) -> Bytes:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(deviation)
    return (image + noise).clip(0, 255).round().astype(np.uint8)
