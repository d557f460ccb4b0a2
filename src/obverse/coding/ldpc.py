"""Low-density parity checks for bits that the receiver half knows: few sums to send, a graph to find the rest by.

    sender      x ──► sums of a few bits each (the syndrome) ──► receiver
    receiver    log-odds of x (from side information), the sums ──► belief propagation on the graph ──► x

Liveris, Xiong, Georghiades, "Compression of binary sources with side information at the decoder using LDPC
codes" (2002). In long blocks such codes need fewer bits than polar codes with lists; `obverse.coding.slepian_wolf`
chooses.

The graph is quasi-cyclic. 1,024 columns and some layers make a base graph, and each of its nodes stands for n / 1024
lanes: an edge (layer, column, shift) means that sum z of the layer contains bit z - shift (mod lanes) of the column.
Columns of degree 2 form a chain through the layers, free of cycles; the others are placed one edge at a time, each
where it closes the longest cycle (Hu, Eleftheriou, Arnold, "Progressive edge growth Tanner graphs", 2005), layers
being kept at equal degree. All of that is integer arithmetic, so both sides make the same graph.

How many columns have which degree (`COLUMNS`) comes from discretised density evolution over the two kinds of edges,
chain and other, and linear programming (Richardson, Shokrollahi, Urbanke 2001; `benchmarks/ldpc_design.py`).

More bits: a layer is split in two, and the sums of one half are sent, from which those of the other follow (Varodayan,
Aaron, Girod, "Rate-adaptive codes for distributed source coding", 2006). So every number of bits from that of the
design on is a prefix of one sequence.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from obverse.coding.polar import _softplus_tail
from obverse.errors import CodingError

BASE = 1_024  # columns of the base graph
ITERATIONS = 200
NEAR = 2_048  # checks that the search for long cycles looks at
CERTAIN = np.float32(30.0)  # log-odds of a bit that is sent by itself

Bits = npt.NDArray[np.uint8]

# entropy of a bit given the side information -> (degree, columns of this degree)
COLUMNS: dict[float, tuple[tuple[int, int], ...]] = {
}  # fmt: skip


@dataclass(frozen=True)
class Design:
    """A family of graphs. columns: (degree, how many of the 1,024 have it); layers: of the base graph, so that
    layers / 1024 is the least part of the bits that can be sent."""

    columns: tuple[tuple[int, int], ...]
    layers: int

    @classmethod
    def of(cls, entropy_bits: float, rate_bits: float) -> Design:
        """For bits of this conditional entropy, sending at least `rate_bits` for each."""
        nearest = min(COLUMNS, key=lambda key: abs(key - entropy_bits))
        return cls(COLUMNS[nearest], min(BASE, -int(-rate_bits * BASE // 1)))

    def bits(self, n: int) -> int:
        """The least number of bits that can be sent of n."""
        return self.layers * lanes_of(n)


def lanes_of(n: int) -> int:
    """Raises CodingError unless n is a multiple of 1,024."""
    if n % BASE or not n:
        raise CodingError(f"parity checks cover blocks of a multiple of {BASE} bits, not {n}")
    return n // BASE


def sent_bits(x: Bits, design: Design, count: int) -> Bits:
    """The first `count` bits of the sequence that describes x.

    x: (n,) bits, n a multiple of 1,024; design.bits(n) <= count <= n. Raises CodingError.
    """
    lanes = lanes_of(x.size)
    if not design.bits(x.size) <= count <= x.size:
        raise CodingError(f"{count} bits cannot be sent of {x.size}: from {design.bits(x.size)} on")
    layers = -(-count // lanes)
    graph = _graph(design, layers, lanes)
    sums = _syndrome(np.ascontiguousarray(x, np.uint8), graph.column, graph.shift, graph.start, lanes)
    for k in range(layers - 1, design.layers - 1, -1):  # a layer's sums before it was split further
        sums[graph.parent[k]] ^= sums[k]
    return sums.ravel()[:count]


def decode(
    log_odds: npt.NDArray[np.float32], bits: Bits, design: Design, iterations: int = ITERATIONS
) -> Bits | None:
    """The x whose sums are `bits`, by belief propagation; None if none is found.

    log_odds: (n,) ln P(x = 0) / P(x = 1) of each bit given the side information. bits: what `sent_bits` made; of
    those beyond the design's only whole layers are used. An x that is found has the right sums, yet need not be the
    right one: a checksum is for the caller. Raises CodingError.
    """
    n = log_odds.size
    lanes = lanes_of(n)
    if not design.bits(n) <= len(bits) <= n:
        raise CodingError(f"{len(bits)} bits of {n} are not what was sent: from {design.bits(n)} on")
    layers = len(bits) // lanes
    graph = _graph(design, layers, lanes)
    sums = bits[: layers * lanes].reshape(layers, lanes).astype(np.int32)
    for k in range(design.layers, layers):
        sums[graph.parent[k]] ^= sums[k]
    odds = np.ascontiguousarray(log_odds, np.float32)
    x = np.empty(n, np.uint8)
    found = _propagate(odds, sums, graph.column, graph.shift, graph.start, lanes, iterations, x)
    return x if found else None


# -- the graph ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Graph:
    """The edges of layer l are start[l] to start[l + 1]; parent[l]: the layer that it was split from, or -1."""

    column: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]


@lru_cache(maxsize=128)
def _base_graph(design: Design, lanes: int) -> _Graph:
    degrees = np.repeat(*np.array(sorted(design.columns), np.int64).T)
    if degrees.size != BASE or degrees[0] < 2 or not degrees[-1] <= design.layers <= BASE:
        raise CodingError(
            f"a design has {BASE} columns of degrees from 2 to the number of its layers, {design.layers}"
        )
    column, shift, start = _grow(degrees, design.layers, lanes)
    return _Graph(column, shift, start, np.full(design.layers, -1, np.int64))


@lru_cache(maxsize=128)
def _graph(design: Design, layers: int, lanes: int) -> _Graph:
    """With layers beyond the design's: each is every other edge of the one that had most edges."""
    base = _base_graph(design, lanes)
    if layers == design.layers:
        return base
    edges = [np.arange(base.start[k], base.start[k + 1]) for k in range(design.layers)]
    parent = base.parent.tolist()
    queue = [(-len(e), k) for k, e in enumerate(edges)]
    heapq.heapify(queue)
    while len(edges) < layers:
        _, k = heapq.heappop(queue)
        edges.append(edges[k][1::2])
        edges[k] = edges[k][0::2]
        parent.append(k)
        for part in (k, len(edges) - 1):
            heapq.heappush(queue, (-len(edges[part]), part))
    order = np.concatenate(edges)
    start = np.cumsum([0, *map(len, edges)]).astype(np.int64)
    return _Graph(base.column[order], base.shift[order], start, np.array(parent, np.int64))


@njit(cache=True, nogil=True)
def _random(state: Any) -> int:
    """xorshift64* (Vigna 2016), its upper 31 bits."""
    state[0] ^= state[0] >> np.uint64(12)
    state[0] ^= state[0] << np.uint64(25)
    state[0] ^= state[0] >> np.uint64(27)
    return np.int64((state[0] * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(33))


@njit(cache=True, nogil=True)
def _grow(degrees: Any, layers: int, lanes: int) -> Any:
    """degrees: (1024,) of the columns, rising. Returns the columns and shifts of the edges, layer by layer, and
    where each layer starts."""
    state = np.full(1, np.uint64(0x9E3779B97F4A7C15), np.uint64)
    width = 2 * (degrees.sum() // layers) + 16
    of_layer = np.zeros((layers, width, 2), np.int64)  # column, shift
    of_column = np.zeros((degrees.size, degrees[-1], 2), np.int64)  # layer, shift
    filled = np.zeros(layers, np.int64)
    placed = np.zeros(degrees.size, np.int64)
    chain = min(np.count_nonzero(degrees == 2), layers - 1)
    c = 0
    for k in range(layers - 1):
        if (k + 1) * chain // (layers - 1) > k * chain // (layers - 1):
            for layer in (k, k + 1):
                of_layer[layer, filled[layer], 0] = c
                of_column[c, placed[c], 0] = layer
                filled[layer] += 1
                placed[c] += 1
            c += 1
    distance = np.empty(layers * lanes, np.int64)
    queue = np.empty(layers * lanes, np.int64)
    seen = np.full(degrees.size * lanes, -1, np.int64)
    free = np.empty(layers, np.int64)
    best = np.empty(layers * lanes, np.int64)
    turn = 0
    for c in range(chain, degrees.size):
        for k in range(degrees[c]):
            _distances(c, k, of_layer, of_column, filled, placed, lanes, distance, queue, seen, turn)
            turn += 1
            # of the layers with fewest edges that the column has not got yet, the farthest checks
            least = width
            count = 0
            for layer in range(layers):
                if filled[layer] > least:
                    continue
                has = False
                for i in range(k):
                    has |= of_column[c, i, 0] == layer
                if has:
                    continue
                if filled[layer] < least:
                    least, count = filled[layer], 0
                free[count] = layer
                count += 1
            farthest = -1
            choices = 0
            for i in range(count):
                for z in range(lanes):
                    check = free[i] * lanes + z
                    if distance[check] > farthest:
                        farthest, choices = distance[check], 0
                    if distance[check] == farthest:
                        best[choices] = check
                        choices += 1
            check = best[_random(state) % choices]
            layer, shift = check // lanes, check % lanes
            of_layer[layer, filled[layer], 0], of_layer[layer, filled[layer], 1] = c, shift
            of_column[c, k, 0], of_column[c, k, 1] = layer, shift
            filled[layer] += 1
            placed[c] += 1
    start = np.zeros(layers + 1, np.int64)
    column = np.empty(degrees.sum(), np.int32)
    shifts = np.empty(degrees.sum(), np.int32)
    for layer in range(layers):
        start[layer + 1] = start[layer] + filled[layer]
        for i in range(filled[layer]):
            column[start[layer] + i], shifts[start[layer] + i] = of_layer[layer, i]
    return column, shifts, start


@njit(cache=True, nogil=True)
def _distances(
    c: int, edges: int, of_layer: Any, of_column: Any, filled: Any, placed: Any, lanes: int, distance: Any,
    queue: Any, seen: Any, turn: int,
) -> None:  # fmt: skip
    """Fills distance: steps over the graph from bit 0 of column c, with its first `edges` edges, to each check; of
    the nearest some 2,048, all others being taken as infinitely far."""
    distance[:] = np.int64(1) << 40
    seen[c * lanes] = turn
    first = last = 0
    for i in range(edges):
        check = of_column[c, i, 0] * lanes + of_column[c, i, 1]
        distance[check] = 0
        queue[last] = check
        last += 1
    while first < last < NEAR:
        check = queue[first]
        first += 1
        layer, z = check // lanes, check % lanes
        for i in range(filled[layer]):
            v = of_layer[layer, i, 0]
            lane = (z - of_layer[layer, i, 1]) % lanes
            if seen[v * lanes + lane] == turn:
                continue
            seen[v * lanes + lane] = turn
            for j in range(placed[v]):
                other = of_column[v, j, 0] * lanes + (lane + of_column[v, j, 1]) % lanes
                if distance[other] > distance[check] + 1:
                    distance[other] = distance[check] + 1
                    queue[last] = other
                    last += 1


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
