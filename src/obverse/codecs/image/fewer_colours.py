"""A drawing with fewer colours: rare ones become like frequent ones, where the bits saved are worth the error.

Entropy-constrained vector quantisation (Chou, Lookabaugh and Gray, IEEE Trans. ASSP 1989) of the colours of one
picture, greedy, the most frequent first. A colour c that occurs n times of N is coded as the nearest one that is
kept, r, where

    worth |c - r|^2  <=  CONTEXT log2(N / n) + 24 / n

The right side is about what an occurrence of a colour costs: most of its log2(N / n) bits are known from the pixels
around, and a new colour has 24 bits once. So the colour of a page stays what it is, and the greys around its letters
become few.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from obverse.jit import njit

CONTEXT = 0.1  # the share of log2(N / n) that surroundings do not tell
MOST = 1 << 12  # colours: pictures of more are not drawings

_compiled: Any = njit(cache=True, nogil=True)


def with_fewer_colours(pixels: np.ndarray, worth: float) -> np.ndarray | None:
    """The picture with some colours replaced.

    Args:
        pixels: (H, W) or (H, W, 3), uint8.
        worth: bits that a squared grey level of one sample is worth.

    Returns:
        The same shape; None where there are too many colours.
    """
    channels = 1 if pixels.ndim == 2 else 3
    samples = pixels.reshape(-1, channels).astype(np.uint32)
    keys = samples[:, 0] if channels == 1 else (samples[:, 0] << 16) | (samples[:, 1] << 8) | samples[:, 2]
    if len(np.unique(keys[:: max(1, len(keys) >> 16)])) > MOST:
        return None
    found, number, counts = np.unique(keys, return_inverse=True, return_counts=True)
    if len(found) > MOST:
        return None
    colours = np.stack([(found >> shift) & 255 for shift in (16, 8, 0)[3 - channels :]], axis=1).astype(
        np.int64
    )
    order = np.argsort(-counts, kind="stable")
    costs = CONTEXT * np.log2(len(keys) / counts) + 8 * channels / counts
    heirs = _merge(colours, order, costs / worth)
    return colours[heirs][number].astype(np.uint8).reshape(pixels.shape)


@_compiled
def _merge(colours, order, reach):  # type: ignore[no-untyped-def]
    """The number of the colour that takes each colour's place. reach: how large its squared distance may be."""
    heirs = np.empty(len(colours), np.int64)
    kept = np.empty(len(colours), np.int64)
    count = 0
    for i in order:
        best, nearest = -1, np.inf
        for k in range(count):
            distance = 0
            for c in range(colours.shape[1]):
                distance += (colours[i, c] - colours[kept[k], c]) ** 2
            if distance < nearest:
                best, nearest = kept[k], distance
        if nearest <= reach[i]:
            heirs[i] = best
        else:
            heirs[i] = i
            kept[count] = i
            count += 1
    return heirs
