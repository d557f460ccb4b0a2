"""How latents are counted and cut: what training, encoder and decoder agree on, without torch.

A quality is a level 0..LEVELS; what depends on it is interpolated between anchors. ẑ are integers within +-Z_MAX; a
latent ŷ is counted in 32nds, and cut into four slices (`codecs/image/prior.py` says why).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

ALIGN = 64  # pixels: one position of z
LEVELS = 1980  # quality = 1 + level / 20
STEPS = 4  # slices of the latents
FRACTION = 32  # latents and means are counted in 32nds
CONTEXT_STEP = 8  # the context networks see latents in quarters: 8 of the 32nds
CONTEXT_MAX = 1023  # clipped to about +-256
Z_MAX = 127
# a hostile file may hold any residual: this clamp keeps sums within int32, and what real files hold
RESIDUAL_MAX = 2**20

Integers = npt.NDArray[np.int64]


class Coded(NamedTuple):
    """One piece of what is coded: z, or a slice of y; both of one shape.

    Attributes:
        symbols: int32.
        index: of the table of each symbol, uint8.
    """

    symbols: npt.NDArray[np.int32]
    index: npt.NDArray[Any]


def between_anchors(count: int, level: int) -> tuple[int, int]:
    """Where a level lies among evenly spaced anchors.

    Args:
        count: of the anchors, at least 2.
        level: 0 to LEVELS.

    Returns:
        The anchor below, and how far from it to the next, in LEVELS-ths.
    """
    last = count - 1
    low = min(level * last // LEVELS, last - 1)
    return low, level * last - low * LEVELS


def interpolate_level(anchors: Integers, level: int) -> Integers:
    """(K, C) integers -> (C,): linear between evenly spaced anchors, rounded down, in int64 throughout."""
    low, rest = between_anchors(len(anchors), level)
    a, b = anchors[low].astype(np.int64), anchors[low + 1].astype(np.int64)
    return (a * (LEVELS - rest) + b * rest) // LEVELS


def slice_parts(step: int, latents: int) -> list[tuple[slice, slice, slice]]:
    """Where slice `step` lies in y: for each position of the 2x2 cell, its (channels, rows, columns)."""
    quarter = latents // 4
    parts = []
    for position in range(4):
        first = (position + step) % 4 * quarter
        row, column = divmod(position, 2)
        parts.append((slice(first, first + quarter), slice(row, None, 2), slice(column, None, 2)))
    return parts
