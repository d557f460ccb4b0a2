"""What a picture looks like before it is coded: drawn, computed, or photographed.

A drawing repeats its neighbours, which a photo rarely does. A ramp is what three neighbours predict as a plane;
noise is what they do not.
"""

from __future__ import annotations

import numpy as np

LOOKS_DRAWN = 0.3  # from this share of pixels equal to a neighbour on, what drawings are coded with is tried


def repeats(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels are equal, in all channels, to the one to the left, and to the one above.

    Args:
        pixels: (H, W, C).

    Returns:
        Two arrays (H, W) bool; False where there is no such neighbour.
    """

    def equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        same = a == b
        whole = same[..., 0]
        for channel in range(1, same.shape[2]):  # far faster than `all` over so short an axis
            whole = whole & same[..., channel]
        return whole

    left, above = np.zeros(pixels.shape[:2], bool), np.zeros(pixels.shape[:2], bool)
    left[:, 1:] = equal(pixels[:, 1:], pixels[:, :-1])
    above[1:] = equal(pixels[1:], pixels[:-1])
    return left, above


def drawn_share(pixels: np.ndarray) -> float:
    """The share of pixels that are equal, in all channels, to the one to the left or the one above."""
    return share_of(*repeats(pixels))


def share_of(left: np.ndarray, above: np.ndarray) -> float:
    """`drawn_share`, of what `repeats` returns."""
    if min(left.shape) < 2:
        return 1.0
    return float((left | above)[1:, 1:].mean())


def planar_error(pixels: np.ndarray) -> float:
    """Of predicting a sample from three neighbours as a plane, in grey levels, the mean over some rows."""
    if min(pixels.shape[:2]) < 2:
        return 0.0
    rows = np.arange(1, len(pixels), max(1, len(pixels) // 128))
    here, above = pixels[rows].astype(np.int16), pixels[rows - 1].astype(np.int16)
    return float(np.abs(here[:, 1:] - here[:, :-1] - above[:, 1:] + above[:, :-1]).mean())
