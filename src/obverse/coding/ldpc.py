"""Low-density parity checks for bits that the receiver half knows: few sums to send, a graph to find the rest by.

    sender      x ──► sums of a few bits each (the syndrome) ──► receiver
    receiver    log-odds of x (from side information), the sums ──► belief propagation on the graph ──► x

Liveris, Xiong, Georghiades, "Compression of binary sources with side information at the decoder using LDPC
codes" (2002). In long blocks they need fewer bits than polar codes with lists (`benchmarks/slepian_wolf.py`); in short
ones more. The graphs are in `obverse.coding.ldpc_graph`.

More bits: a layer of sums is split in two, and the sums of one half are sent, from which those of the other follow
(Varodayan, Aaron, Girod, "Rate-adaptive codes for distributed source coding", 2006). So every number of bits from
that of the design on is a prefix of one sequence.

    >>> import numpy as np
    >>> from obverse.coding.ldpc import Design, decode, sent_bits
    >>> rng = np.random.default_rng(1)
    >>> x = rng.integers(0, 2, 16_384).astype(np.uint8)
    >>> noisy = x ^ (rng.random(x.size) < 0.05)  # what the receiver has: H(X|Y) = 0.286
    >>> odds = np.log(0.95 / 0.05) * (1.0 - 2.0 * noisy)
    >>> design = Design.of(entropy_bits=0.286, rate_bits=0.36)
    >>> sums = sent_bits(x, design, design.bits(x.size))
    >>> bool((decode(odds.astype(np.float32), sums, design) == x).all()), sums.size / x.size
    (True, 0.3603515625)

The decoder computes in floating point: on another machine it may need an iteration more or fail, never give an x whose
sums are not those that were sent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding.ldpc_graph import Design, graph_of, lanes_of
from obverse.coding.polar import _softplus_tail
from obverse.errors import CodingError
from obverse.jit import njit

__all__ = ["Design", "decode", "sent_bits"]

ITERATIONS = 200
CERTAIN = np.float32(30.0)  # log-odds of a bit that is sent by itself

Bits = npt.NDArray[np.uint8]


def sent_bits(x: Bits, design: Design, count: int) -> Bits:
    """The first `count` bits of the sequence that describes x.

    Args:
        x: (n,) bits, n a multiple of 1,024.
        design: the family of graphs.
        count: design.bits(n) <= count <= n.

    Raises:
        CodingError: for another n or count, or a design of which there is no graph.
    """
    lanes = lanes_of(x.size)
    if not design.bits(x.size) <= count <= x.size:
        raise CodingError(f"{count} bits cannot be sent of {x.size}: from {design.bits(x.size)} on")
    layers = -(-count // lanes)
    graph = graph_of(design, layers, lanes)
    sums = _syndrome(np.ascontiguousarray(x, np.uint8), graph.column, graph.shift, graph.start, lanes)
    for k in range(layers - 1, design.layers - 1, -1):  # a layer's sums before it was split further
        sums[graph.parent[k]] ^= sums[k]
    return np.asarray(sums.ravel()[:count], np.uint8)


def decode(
    log_odds: npt.NDArray[np.float32], bits: Bits, design: Design, iterations: int = ITERATIONS
) -> Bits | None:
    """The x whose sums are `bits`, by belief propagation; None if none is found.

    An x that is found has the right sums, yet need not be the right one: a checksum is for the caller.

    Args:
        log_odds: (n,) ln P(x = 0) / P(x = 1) of each bit given the side information.
        bits: what `sent_bits` made; of those beyond the design's only whole layers are used.
        design: that of `sent_bits`.
        iterations: how many there may be.

    Raises:
        CodingError: where n is no multiple of 1,024, bits are fewer than the design's or more than n, or there is no
            graph of the design.
    """
    n = log_odds.size
    lanes = lanes_of(n)
    if not design.bits(n) <= len(bits) <= n:
        raise CodingError(f"{len(bits)} bits of {n} are not what was sent: from {design.bits(n)} on")
    layers = len(bits) // lanes
    graph = graph_of(design, layers, lanes)
    sums = bits[: layers * lanes].reshape(layers, lanes).astype(np.int32)
    for k in range(design.layers, layers):
        sums[graph.parent[k]] ^= sums[k]
    odds = np.ascontiguousarray(log_odds, np.float32)
    x = np.empty(n, np.uint8)
    found = _propagate(odds, sums, graph.column, graph.shift, graph.start, lanes, iterations, x)
    return x if found else None


@njit(cache=True, nogil=True)
def _syndrome(x: Any, column: Any, shift: Any, start: Any, lanes: int) -> Any:
    """(layers, lanes) sums of x."""
    sums = np.zeros((start.size - 1, lanes), np.uint8)
    for layer in range(start.size - 1):
        for e in range(start[layer], start[layer + 1]):
            for z in range(lanes):
                sums[layer, z] ^= x[column[e] * lanes + (z - shift[e]) % lanes]
    return sums


# -- belief propagation ------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def _sum(a: Any, at: int, b: Any, bt: int, out: Any, ot: int, lanes: int) -> None:
    """Log-odds of the sums of two bits each, those from a[at] on and those from b[bt] on."""
    for z in range(lanes):
        x, y = a[at + z], b[bt + z]
        like, unlike = abs(x + y), abs(x - y)
        out[ot + z] = np.float32(0.5) * (like - unlike) + _softplus_tail(like) - _softplus_tail(unlike)


@njit(cache=True, nogil=True, error_model="numpy")
def _propagate(
    odds: Any, sums: Any, column: Any, shift: Any, start: Any, lanes: int, iterations: int, x: Any
) -> bool:
    """Sum-product decoding, layer after layer, each using what those before it found (Hocevar 2004). Fills x.

    belief: log-odds of each bit, all lanes of a column twice in a row, so that a shifted column lies at a stretch.
    """
    layers = start.size - 1
    width = 0
    for layer in range(layers):
        width = max(width, start[layer + 1] - start[layer])
    belief = np.empty(2 * odds.size, np.float32)
    for c in range(odds.size // lanes):
        for z in range(2 * lanes):
            belief[2 * c * lanes + z] = odds[c * lanes + z % lanes]
    message = np.zeros(column.size * lanes, np.float32)  # from check to bit
    inward = np.empty(width * lanes, np.float32)  # from bit to check
    before = np.empty(width * lanes, np.float32)  # the sums of the bits up to each
    after = np.empty(lanes, np.float32)  # the sums of the bits behind
    spare = np.empty(lanes, np.float32)
    odd = np.empty(lanes, np.int32)
    for _ in range(iterations):
        wrong = 0
        for layer in range(layers):
            first = start[layer]
            degree = start[layer + 1] - first
            for z in range(lanes):
                odd[z] = sums[layer, z]
            for k in range(degree):
                here = (2 * column[first + k] + 1) * lanes - shift[first + k]
                edge = (first + k) * lanes
                for z in range(lanes):
                    odd[z] ^= np.int32(belief[here + z] < 0)
                    inward[k * lanes + z] = belief[here + z] - message[edge + z]
            for z in range(lanes):
                wrong += odd[z]
                # what a check has received counts as the first of its bits, and it is certain
                before[z] = np.float32(1 - 2 * sums[layer, z])
            for z in range(lanes):
                after[z] = inward[(degree - 1) * lanes + z]
            if degree > 1:
                for z in range(lanes):
                    before[lanes + z] = before[z] * inward[z]
                for k in range(2, degree):
                    _sum(before, (k - 1) * lanes, inward, (k - 1) * lanes, before, k * lanes, lanes)
            for k in range(degree - 1, -1, -1):
                edge = (first + k) * lanes
                if degree == 1:
                    for z in range(lanes):
                        message[edge + z] = before[z] * CERTAIN
                elif k == degree - 1:
                    for z in range(lanes):
                        message[edge + z] = before[k * lanes + z]
                elif k == 0:
                    for z in range(lanes):
                        message[edge + z] = before[z] * after[z]
                else:
                    _sum(before, k * lanes, after, 0, message, edge, lanes)
                    _sum(after, 0, inward, k * lanes, spare, 0, lanes)
                    after, spare = spare, after
                place = 2 * column[first + k] * lanes
                turned = shift[first + k]
                here = place + lanes - turned
                for z in range(lanes):
                    belief[here + z] = inward[k * lanes + z] + message[edge + z]
                for z in range(turned):
                    belief[place + 2 * lanes - turned + z] = belief[place + lanes - turned + z]
                for z in range(lanes - turned):
                    belief[place + z] = belief[place + lanes + z]
        if wrong == 0 and _agrees(belief, sums, column, shift, start, lanes):
            for c in range(odds.size // lanes):
                for z in range(lanes):
                    x[c * lanes + z] = belief[2 * c * lanes + z] < 0
            return True
    return False


@njit(cache=True, nogil=True)
def _agrees(belief: Any, sums: Any, column: Any, shift: Any, start: Any, lanes: int) -> bool:
    """Whether the likelier value of every bit gives the sums."""
    odd = np.empty(lanes, np.int32)
    for layer in range(start.size - 1):
        for z in range(lanes):
            odd[z] = sums[layer, z]
        for e in range(start[layer], start[layer + 1]):
            here = (2 * column[e] + 1) * lanes - shift[e]
            for z in range(lanes):
                odd[z] ^= np.int32(belief[here + z] < 0)
        for z in range(lanes):
            if odd[z]:
                return False
    return True
