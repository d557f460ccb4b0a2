"""Near-lossless: colours in steps, so that none is further than half a step from what it was.

x ──► q = floor((x + e) / s), s = 2 e + 1 ──► coded without loss ──► min(s q, largest value), within e of x

The values q are few and their noise is small, which is where the bits of a photo are: e = 2 leaves about half of them.
"""

from __future__ import annotations

import numpy as np

from obverse.errors import OptionError


def step_of(max_error: int, pixels: np.ndarray) -> int:
    """The step between values that keeps every error within `max_error`.

    Raises:
        OptionError: for an error that leaves one value.
    """
    most = 127 if pixels.itemsize == 1 else 32_767
    if max_error > most:
        raise OptionError(
            f"max_error of an image of {8 * pixels.itemsize} bits is at most {most}, not {max_error}"
        )
    return 2 * max_error + 1


def quantise(pixels: np.ndarray, step: int) -> np.ndarray:
    """The number of each colour's step; (H, W, C), an even C with alpha, which stays as it is."""
    if step == 1:
        return pixels
    numbers = pixels.copy()
    colours = _colours(numbers)
    colours[...] = (_wide(colours) + step // 2) // step
    return numbers


def dequantise(numbers: np.ndarray, step: int) -> np.ndarray:
    """The colours in the middle of their steps; the inverse of `quantise` where step is 1."""
    if step == 1:
        return numbers
    pixels = numbers.copy()
    colours = _colours(pixels)
    np.minimum(_wide(colours) * step, np.iinfo(pixels.dtype).max, out=colours, casting="unsafe")
    return pixels


def _wide(samples: np.ndarray) -> np.ndarray:
    """In a type that holds the product of two of them."""
    return samples.astype(np.uint16 if samples.itemsize == 1 else np.uint32)


def _colours(pixels: np.ndarray) -> np.ndarray:
    """All channels but alpha, a view."""
    return pixels[:, :, : pixels.shape[2] - (pixels.shape[2] + 1) % 2]
