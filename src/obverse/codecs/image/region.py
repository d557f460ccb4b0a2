"""More bits for a region of a photo: what is outside is made as plain as a lower quality leaves it, before it is coded.

    image ──► coded at a lower quality, decoded ──┐
      │                                           ├─ by the mask ──► coded at the quality
      └───────────────────────────────────────────┘

The file and its decoder are those of any image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from obverse.container.limits import Limits
from obverse.data.arrays import as_array
from obverse.data.images import read_photo
from obverse.data.loading import loading_within
from obverse.errors import InputError, LimitError, OptionError

LOWER = 40.0  # qualities, that the background has less where none is given
MASK = "the mask of --roi"


def region_of(region: Any, height: int, width: int, limits: Limits) -> np.ndarray:
    """The region as (height, width) bool.

    Args:
        region: an image file, white inside, or an array of that size. Inside is what has half of its largest value;
            what is transparent counts as black.
        height: of the image, in pixels.
        width: likewise.
        limits: on the pixels and the memory of the file.

    Raises:
        InputError: the file cannot be read, or what is given is no array.
        LimitError: it is larger than the limits allow.
        OptionError: it is of another size, or there is nothing inside.
    """
    plane = _brightness(Path(region), limits) if isinstance(region, str | Path) else as_array(region, MASK)
    if plane.dtype.kind not in "biuf":
        raise OptionError(f"{MASK} is of dtype {plane.dtype}: give numbers, or True inside")
    if plane.ndim != 2:
        raise OptionError(f"{MASK} has {plane.ndim} dimensions: give two, (height, width)")
    if plane.shape != (height, width):
        found = " x ".join(map(str, plane.shape[::-1]))
        raise OptionError(f"{MASK} has {found} pixels, the image {width} x {height}: give one of its size")
    if plane.dtype.kind == "f" and np.isnan(plane).any():
        raise OptionError(f"{MASK} has values that are NaN: give numbers")
    most = plane.max(initial=0)
    inside = plane if plane.dtype == bool else plane >= max(most / 2, np.finfo(np.float32).tiny)
    if not inside.any():
        raise OptionError(f"{MASK} has nothing inside: what is to be sharp is white in it")
    return np.asarray(inside, bool)


def _brightness(path: Path, limits: Limits) -> np.ndarray:
    """Of the pixels of an image file, 0 where nothing is seen."""
    try:
        with loading_within(limits):
            photo = read_photo(path)
    except (InputError, LimitError) as error:
        raise type(error)(f"{MASK}: {error}") from None
    bright = photo.pixels if photo.pixels.ndim == 2 else photo.pixels.mean(axis=2, dtype=np.float32)
    return bright if photo.alpha is None else bright * (photo.alpha / np.float32(255))


def over(inside: np.ndarray, pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The pixels inside, the background outside; both (H, W) or (H, W, C)."""
    return np.where(inside if pixels.ndim == 2 else inside[:, :, None], pixels, background)
