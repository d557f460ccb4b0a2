"""What a picture looks like before it is coded: drawn, computed, or photographed.

A drawing repeats its neighbours, which a photo rarely does. A ramp is what three neighbours predict as a plane;
noise is what they do not.
"""

from __future__ import annotations

import numpy as np

LOOKS_DRAWN = 0.3  # from this share of pixels equal to a neighbour on, what drawings are coded with is tried


def drawn_share(pixels: np.ndarray) -> float:
    """The share of pixels that are equal, in all channels, to the one to the left or the one above."""
    if pixels.shape[0] < 2 or pixels.shape[1] < 2:
        return 1.0
    left = (pixels[1:, 1:] == pixels[1:, :-1]).all(axis=2)
    above = (pixels[1:, 1:] == pixels[:-1, 1:]).all(axis=2)
    return float((left | above).mean())


def planar_error(pixels: np.ndarray) -> float:
    """Of predicting a sample from three neighbours as a plane, in grey levels, the mean over some rows."""
    if min(pixels.shape[:2]) < 2:
        return 0.0
    rows = np.arange(1, len(pixels), max(1, len(pixels) // 128))
    here, above = pixels[rows].astype(np.int16), pixels[rows - 1].astype(np.int16)
    return float(np.abs(here[:, 1:] - here[:, :-1] - above[:, 1:] + above[:, :-1]).mean())
