"""More bits for a region of a photo: what is outside is made as plain as a lower quality leaves it, before it is coded.

    image ──► coded at a lower quality, decoded ──┐
      │                                           ├─ by the mask ──► coded at the quality
      └───────────────────────────────────────────┘

The file and its decoder are those of any image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from obverse.data.guard import guarded
from obverse.errors import OptionError

LOWER = 40.0  # qualities, that the background has less where none is given


def region_of(region: str | Path | np.ndarray, height: int, width: int) -> np.ndarray:
    """The region as (height, width) bool.

    Args:
        region: an image file, white inside, or an array of that size; inside is what has half of its largest value.
        height: of the image, in pixels.
        width: likewise.

    Raises:
        InputError: the file cannot be read.
        OptionError: it is of another size, or there is nothing inside.
    """
    if isinstance(region, np.ndarray):
        plane = region
    else:
        with guarded(f"the mask {region} cannot be read as an image"), Image.open(region) as image:
            plane = np.asarray(image.convert("L"))
    if plane.shape != (height, width):
        found = " x ".join(map(str, plane.shape[:2][::-1]))
        raise OptionError(
            f"the mask of --roi has {found} pixels, the image {width} x {height}: give one of its size"
        )
    most = plane.max(initial=0)
    inside = plane if plane.dtype == bool else plane >= max(most / 2, np.finfo(np.float32).tiny)
    if not inside.any():
        raise OptionError("the mask of --roi has nothing inside: what is to be sharp is white in it")
    return np.asarray(inside, bool)


def over(inside: np.ndarray, pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The pixels inside, the background outside; both (H, W) or (H, W, C)."""
    return np.where(inside if pixels.ndim == 2 else inside[:, :, None], pixels, background)
