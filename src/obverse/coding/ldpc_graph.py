"""Graphs of parity checks that sender and receiver make alike, for any rate.

A graph is quasi-cyclic. 1,024 columns and some layers make a base graph, and each of its nodes stands for n / 1024
lanes: an edge (layer, column, shift) means that sum z of the layer contains bit z - shift (mod lanes) of the column.
Columns of degree 2 form a chain through the layers, free of cycles. The others are placed in random order one edge at
a time, each where it closes the longest cycle (Hu, Eleftheriou, Arnold, "Progressive edge growth Tanner graphs",
2005), layers being kept at equal degree. (In order of degree, each check would get the same mix of degrees; blocks
of entropy .8 then need .02 bit more.) All of that is integer arithmetic.

How many columns have which degree comes from discretised density evolution over the two kinds of edges, chain and
other, and linear programming (Richardson, Shokrollahi, Urbanke 2001; `benchmarks/ldpc_design.py`).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.errors import CodingError
from obverse.jit import njit

BASE = 1_024  # columns of the base graph
NEAR = 2_048  # checks that the search for long cycles looks at

# entropy of a bit given the side information -> (degree, columns of this degree)
COLUMNS: dict[float, tuple[tuple[int, int], ...]] = {
    0.05: ((2, 55), (3, 799), (8, 1), (10, 45), (12, 76), (14, 40), (17, 8)),
    0.08: ((2, 86), (3, 764), (12, 64), (14, 88), (20, 4), (24, 1), (28, 17)),
    0.11: ((2, 118), (3, 736), (12, 63), (14, 91), (20, 2), (24, 8), (28, 6)),
    0.16: ((2, 169), (3, 666), (10, 27), (12, 94), (14, 37), (40, 4), (48, 27)),
    0.22: ((2, 230), (3, 599), (10, 58), (12, 98), (14, 1), (58, 38)),
    0.28: ((2, 294), (3, 538), (9, 59), (10, 67), (12, 16), (24, 5), (58, 45)),
    0.35: ((2, 365), (3, 471), (9, 45), (10, 68), (12, 32), (24, 4), (58, 39)),
    0.41: ((2, 422), (3, 421), (10, 45), (12, 96), (14, 11), (24, 1), (58, 28)),
    0.48: ((2, 493), (3, 357), (10, 79), (12, 45), (14, 17), (17, 2), (24, 4), (58, 27)),
    0.56: ((2, 572), (3, 293), (10, 42), (12, 85), (24, 7), (28, 2), (58, 23)),
    0.64: ((2, 651), (3, 228), (8, 21), (9, 6), (10, 33), (12, 42), (24, 26), (58, 17)),
    0.72: ((2, 731), (3, 177), (10, 19), (12, 63), (14, 3), (24, 8), (40, 9), (48, 12), (58, 2)),
    0.8: ((2, 812), (3, 116), (10, 52), (12, 13), (24, 6), (28, 4), (40, 7), (48, 14)),
    0.87: ((2, 880), (3, 79), (10, 10), (12, 32), (24, 7), (28, 1), (33, 1), (58, 14)),
}


@dataclass(frozen=True)
class Design:
    """A family of graphs; plain numbers, to be stored.

    Attributes:
        columns: (degree, how many of the 1,024 have it).
        layers: of the base graph, such that layers / 1024 is the least part of the bits that can be sent.
    """

    columns: tuple[tuple[int, int], ...]
    layers: int

    @classmethod
    def of(cls, entropy_bits: float, rate_bits: float) -> Design:
        """For bits of this conditional entropy, of each of which at least `rate_bits` are sent."""
        nearest = min(COLUMNS, key=lambda key: abs(key - entropy_bits))
        degree = COLUMNS[nearest][-1][0]
        return cls(COLUMNS[nearest], min(BASE, max(degree, -int(-rate_bits * BASE // 1))))

    def holds(self) -> bool:
        """Whether there is such a graph: BASE columns, of degrees from 2 to the number of layers."""
        degrees, counts = [d for d, _ in self.columns], [count for _, count in self.columns]
        return (
            sum(counts) == BASE and min(counts) >= 0 and min(degrees) >= 2 and max(degrees) <= self.layers <= BASE
        )  # fmt: skip

    def bits(self, n: int) -> int:
        """The least number of bits that can be sent of n.

        Raises:
            CodingError: unless n is a multiple of 1,024.
        """
        return self.layers * lanes_of(n)


def lanes_of(n: int) -> int:
    """How many lanes each node of the base graph stands for in a block of n bits.

    Raises:
        CodingError: unless n is a multiple of 1,024.
    """
    if n % BASE or not n:
        raise CodingError(f"parity checks cover blocks of a multiple of {BASE} bits, not {n}")
    return n // BASE


@dataclass(frozen=True)
class Graph:
    """The edges, layer by layer.

    Attributes:
        column: of each edge.
        shift: of each edge.
        start: the edges of layer l are start[l] to start[l + 1].
        parent: parent[l] is the layer that layer l was split from, or -1.
    """

    column: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]


@lru_cache(maxsize=128)
def _base_graph(design: Design, lanes: int) -> Graph:
    if not design.holds():
        raise CodingError(
            f"a design has {BASE} columns of degrees from 2 to the number of its layers, {design.layers}"
        )
    pairs = np.array(sorted(design.columns), np.int64)
    degrees = np.repeat(pairs[:, 0], pairs[:, 1])
    column, shift, start = _grow(degrees, design.layers, lanes)
    return Graph(column, shift, start, np.full(design.layers, -1, np.int64))


@lru_cache(maxsize=128)
def graph_of(design: Design, layers: int, lanes: int) -> Graph:
    """The graph with so many layers, each beyond the design's being every other edge of the one with most edges."""
    base = _base_graph(design, lanes)
    if layers == design.layers:
        return base
    edges = [np.arange(base.start[k], base.start[k + 1]) for k in range(design.layers)]
    parent = base.parent.tolist()
    queue = [(-e.size, k) for k, e in enumerate(edges)]
    heapq.heapify(queue)
    while len(edges) < layers:
        _, k = heapq.heappop(queue)
        edges.append(edges[k][1::2])
        edges[k] = edges[k][0::2]
        parent.append(k)
        for part in (k, len(edges) - 1):
            heapq.heappush(queue, (-edges[part].size, part))
    order = np.concatenate(edges)
    start = np.cumsum([0, *(e.size for e in edges)]).astype(np.int64)
    return Graph(base.column[order], base.shift[order], start, np.array(parent, np.int64))


@njit(cache=True, nogil=True)
def _random(state: Any) -> Any:
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
    chain: Any = min(np.count_nonzero(degrees == 2), layers - 1)
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
    order = np.arange(degrees.size)
    for i in range(degrees.size - 1, chain, -1):
        j = chain + _random(state) % (i + 1 - chain)
        order[i], order[j] = order[j], order[i]
    turn = 0
    for c in order[chain:]:
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
