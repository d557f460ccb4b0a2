"""One bit plane for a receiver that half knows it: polar code, parity checks, or raw.

    sender      x ──► plane.bits(x, count)  ──────────► receiver
    receiver    log-odds, those bits, a checksum ──► plane.find ──► x

A plane's bits are a sequence of which any first part from `plane.count(n)` on can be sent: more of it make the finding
safer. Long blocks go by parity checks where those were measured to need fewer bits, short ones by a polar code.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding import ldpc, polar
from obverse.jit import njit

SMALLEST = 1_024  # bits of a block that is coded; shorter ones go raw
LISTS = (8, 32, 128, 512)  # paths of a polar code: more only where fewer did not lead to the checksum
CHUNK = 8_192  # rows of soft information held at once

Bits = npt.NDArray[np.uint8]
Odds = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Rows = Callable[[int, int], Odds]


@dataclass(frozen=True)
class Plane:
    """How one bit plane is coded.

    Attributes:
        entropy: bits that remain of each bit given y and the planes below.
        counts: how many bits are sent of blocks of SMALLEST, 2 * SMALLEST, ... bits.
        log2_mean: the channel that the polar order is made for (`polar.log2_mean_of`).
        graph: parity checks for the largest of these blocks, in place of the polar code.
    """

    entropy: float
    counts: tuple[int, ...]
    log2_mean: int
    graph: ldpc.Design | None = None

    def count(self, n: int) -> int:
        """How many of n bits are sent; n where they go raw."""
        return n if n < SMALLEST else self.counts[(n // SMALLEST).bit_length() - 1]

    def holds(self, sizes: list[int]) -> bool:
        """Whether the numbers are possible ones for blocks of these sizes: kernels rely on it."""
        if len(self.counts) != len(sizes) or not polar.LOWEST <= self.log2_mean <= polar.HIGHEST:
            return False
        if any(not 0 <= count <= n for count, n in zip(self.counts, sizes, strict=True)):
            return False
        return self.graph is None or (self.graph.holds() and self.graph.bits(sizes[-1]) <= self.counts[-1])

    def gap(self, n: int) -> float:
        """Bits sent of each bit beyond its entropy."""
        return self.count(n) / n - self.entropy

    def bits(self, x: Bits, first: int, last: int) -> Bits:
        """Bits `first` to `last` of the sequence that describes x, from bit 0 up to at least `count` of them."""
        if self._checks(x.size) and self.graph is not None:
            return ldpc.sent_bits(x, self.graph, last)[first:]
        order = polar.order(self.log2_mean, x.size.bit_length() - 1)
        return polar.transform(x)[order[first:last]]

    def find(self, odds: Odds, sent: Bits, check: int) -> Bits | None:
        """The x with these first bits and this checksum, or None.

        Args:
            odds: (n,) ln P(x = 0) / P(x = 1) given the side information.
            sent: its first bits.
            check: its `checksum`.
        """
        if self._checks(odds.size) and self.graph is not None:
            x = ldpc.decode(odds, sent, self.graph)
            return x if x is not None and checksum(x) == check else None
        order = polar.order(self.log2_mean, odds.size.bit_length() - 1)
        for lists in LISTS:
            found, _ = polar.list_decode(odds, order[: len(sent)], sent, self.log2_mean, lists)
            for k in range(len(found)):
                if checksum(found[k]) == check:
                    return np.array(found[k], np.uint8)
        return None

    def _checks(self, n: int) -> bool:
        return self.graph is not None and n == SMALLEST << (len(self.counts) - 1)


def plane_of(u: Indices, b: int) -> Bits:
    """Bit b of every index."""
    return ((u >> b) & 1).astype(np.uint8)


def checksum(x: Bits) -> int:
    """16 bits by which a plane is known."""
    return zlib.crc32(np.packbits(x).tobytes()) & 0xFFFF


def plane_odds(rows: Rows, u: Indices, b: int) -> Odds:
    """(n,) log-odds of plane b given the lower planes of u.

    Args:
        rows: rows(first, last) is (last - first, K) ln q(u|y).
        u: (n,) indices, of which the lower planes are read.
        b: number of the plane.
    """
    odds = np.empty(u.size, np.float32)
    below = u & ((1 << b) - 1)
    for first in range(0, u.size, CHUNK):
        last = min(first + CHUNK, u.size)
        part = np.ascontiguousarray(rows(first, last), np.float32)
        _plane_odds(part, below[first:last], b, odds[first:last])
    return odds


def conditional_bits(u: Indices, rows: Rows, alphabet: int) -> list[float]:
    """Conditional entropy, in bits, of each plane given y and the planes below: what an ideal code would send.

    Args:
        u: (n,) samples of the indices.
        rows: as for `plane_odds`.
        alphabet: number of possible indices.
    """
    entropies = []
    for b in range((alphabet - 1).bit_length()):
        x, odds = plane_of(u, b), plane_odds(rows, u, b)
        nats = np.logaddexp(0, np.where(x == 1, odds, -odds).astype(np.float64))
        entropies.append(float(nats.mean() / math.log(2)))
    return entropies


@njit(cache=True, nogil=True)
def _plane_odds(rows: Any, below: Any, b: int, out: Any) -> None:
    """ln of P(bit b is 0) / P(bit b is 1) among the u whose lower bits are `below`."""
    step = 1 << b
    for i in range(below.size):
        top = np.float32(-np.inf)
        for u in range(below[i], rows.shape[1], step):
            top = max(top, rows[i, u])
        zero = one = 0.0
        if top > -np.inf:
            for u in range(below[i], rows.shape[1], 2 * step):
                zero += math.exp(rows[i, u] - top)
            for u in range(below[i] + step, rows.shape[1], 2 * step):
                one += math.exp(rows[i, u] - top)
        out[i] = math.log((zero + 1e-30) / (one + 1e-30))
