"""Colours seen before: what a picture has shown so far sharpens the distribution of the next pixel.

Many pictures use few of the colours that they could. One that was converted from YCbCr with 8 bits (any decoded JPEG
file, any Photo CD scan) reaches only a part of all RGB triples: 40 % after JPEG's conversion, 18 % after Photo
CD's. One whose contrast was stretched has gaps in its histogram. No smooth distribution knows of that.

    F, the mixture of a value ──► mass M of the values in a window that were seen with this key ──► adaptive P(seen)
    value ──► was it seen? under P(seen) ──► which one, under F restricted to those that were, or to the others

The key of a channel is what the pixel's earlier channels are. P(seen) is counted for each range of M and each number
of visits to the key; where colours are used without pattern it comes to equal M, and nothing is lost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from obverse.codecs.image_lossless.context import inline, logarithm

REACH = 24  # the window reaches at most so many values to each side of the prediction
VISITS, MASSES = 8, 32  # classes of keys and of masses
LEAST_MASS = 64  # out of 2**24: below it, and above its complement, there is nothing to tell
FULL = 1 << 22  # probabilities of `seen` count in 2**-22


class Seen(NamedTuple):
    """What was seen: bits, a bit for each key and value of the three channels; visits of each key of the last
    channel's, at most 255; probability and count of each class; sums, scratch for the masses in a window."""

    bits: np.ndarray  # (8 + 256 * 8 + 65536 * 8) uint32
    visits: np.ndarray  # (1 + 256 + 65536) uint8
    probability: np.ndarray  # (3, VISITS, MASSES) int64, -1 before its first use
    count: np.ndarray  # (3, VISITS, MASSES) int64
    sums: np.ndarray  # (2 * REACH + 3) int64


def nothing_seen(channels: int) -> Seen:
    """The beginning of a picture."""
    keys = 1 + 256 + 65536 if channels == 3 else 1
    classes = (3, VISITS, MASSES)
    return Seen(
        np.zeros(keys * 8, np.uint32), np.zeros(keys, np.uint8), np.full(classes, -1, np.int64),
        np.zeros(classes, np.int64), np.zeros(2 * REACH + 3, np.int64),
    )  # fmt: skip


@inline
def key_of(c, first, second):  # type: ignore[no-untyped-def]
    """The row of a channel whose pixel has these values in the channels before."""
    if c == 0:
        return np.int64(0)
    return 1 + first if c == 1 else 257 + (first << 8) + second


@inline
def was_seen(seen, key, value):  # type: ignore[no-untyped-def]
    """Whether this value was seen with this key."""
    return (seen.bits[np.uint64((key << 3) + (value >> 5))] >> np.uint32(value & 31)) & np.uint32(1) != 0


@inline
def class_of(seen, key, mass):  # type: ignore[no-untyped-def]
    """-> class of the key's visits, class of the mass."""
    visits, few = seen.visits[np.uint64(key)], 0
    while visits > 0 and few < 7:
        visits >>= 1
        few += 1
    octaves = ((logarithm(mass) - logarithm((1 << 24) - mass)) * 3) >> 3
    return few, min(max(octaves + 16, 0), 31)


@inline
def bounded(p):  # type: ignore[no-untyped-def]
    """A probability out of FULL, kept from 0 and 1."""
    return min(max(p, FULL >> 12), FULL - (FULL >> 12))


@inline
def learn_class(seen, c, few, octave, hit):  # type: ignore[no-untyped-def]
    """Move a class's probability towards what happened, ever more slowly."""
    n = min(seen.count[c, few, octave] + 1, 255)
    seen.count[c, few, octave] = n
    p = seen.probability[c, few, octave]
    p += ((FULL if hit else 0) - p) // (n + 1)
    seen.probability[c, few, octave] = bounded(p)


@inline
def remember_value(seen, key, value):  # type: ignore[no-untyped-def]
    """The value was seen with this key."""
    at = np.uint64((key << 3) + (value >> 5))
    seen.bits[at] = seen.bits[at] | (np.uint32(1) << np.uint32(value & 31))
    if seen.visits[np.uint64(key)] < 255:
        seen.visits[np.uint64(key)] += 1
