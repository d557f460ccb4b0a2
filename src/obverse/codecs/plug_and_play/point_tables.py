"""Tables of integers for the symbols of quantised latents, one for each context of a group, counted on data.

    symbols (A, G, B) ──► counts ──► how many symbols the table names ──► lengths in eighths of a bit ──► TableFamily
                                     (the others go through its escape)

Every symbol that a table names takes at least 2^-16 of the probability, and a byte before packing; where few symbols
are used, a table that names a thousand costs more than it saves. The number is chosen by its cost on the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.activity import Contexts
from obverse.codecs.plug_and_play.point_grid import DYADIC, PointGrid, level_of_symbol
from obverse.coding import TableFamily
from obverse.priors.code_lengths import LARGEST, PRECISION, lengths_of, tables_of

Array = npt.NDArray[Any]
_ESCAPE_CODE = 7  # bits of an escape beside the logarithm of the distance
_ESCAPED = _ESCAPE_CODE + np.floor(
    np.log2(np.arange(1, 1 << 14))
)  # by how many symbols it is outside, less 1
_TRIMS = (0.0, 1e-4, 1e-3, 1e-2)  # of the symbols on either side that a table may leave to its escape
_SHARED = 8.0  # symbols that each context has seen of the whole group's, beside its own
_FLOOR = 2.0**-PRECISION / np.log(2)  # bits that each named symbol costs every other one


@dataclass(frozen=True)
class PointTables:
    """Code lengths of the symbols of each group and context, and what coder tables they make.

    lengths: uint8, eighths of a bit, all tables one after the other, the escape of each last. contexts: which of its C
    tables a group uses where. sizes: (G * C,) how many lengths each has. lows: (G * C,) the smallest symbol that each
    names.
    """

    lengths: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int64]
    lows: npt.NDArray[np.int64]
    contexts: Contexts

    @property
    def groups(self) -> int:
        return self.contexts.groups

    @cached_property
    def family(self) -> TableFamily:
        """Raises DamagedError where sizes and lengths do not agree."""
        return tables_of(self.lengths, self.sizes, self.lows)

    def index(self, symbols: npt.NDArray[np.int32]) -> npt.NDArray[np.uint32]:
        """(A, G, B): the table of each symbol."""
        first = np.arange(self.groups, dtype=np.uint32)[:, None] * np.uint32(self.contexts.count)
        return first + self.contexts.index(symbols)

    def bits(self, symbols: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """The information of each symbol (A, G, B), or (1, 1, n) of a single group."""
        return self.family.bits(symbols, self.index(symbols))

    def point_bits(self, grid: PointGrid) -> npt.NDArray[np.float32]:
        """(G * C, K) the information of each point of a grid that has an end, in each table."""
        family, count = self.family, grid.count or 0
        bits = np.empty((len(self.sizes), count), np.float32)
        entries = family.precision - np.log2(np.diff(family.cdf).clip(1))
        rows = zip(family.offsets.tolist(), self.sizes.tolist(), self.lows.tolist(), bits, strict=False)
        for start, size, low, row in rows:
            first, end = (min(max(at, 0), count) for at in (low, low + size - 1))
            row[first:end] = entries[start + first - low : start + end - low]
            # beyond: the escape, and what it says of the distance; no grid has a point that far
            escape = entries[start + size - 1] + _ESCAPED
            row[:first] = escape[np.minimum(low - 1 - np.arange(first), len(escape) - 1)]
            row[end:] = escape[np.minimum(np.arange(end, count) - (low + size - 1), len(escape) - 1)]
        return bits

    @classmethod
    def of(
        cls,
        symbols: npt.NDArray[np.int32],
        grid: PointGrid,
        smoothing: float = 1.0,
        entry_bits: float = 0.0,
        count: int = 1,
    ) -> PointTables:
        """From the symbols (A, G, B) of some data.

        smoothing: how many symbols' weight is spread over those that were not seen: much where other data will be
        coded. entry_bits: what a length costs where it is stored. count: contexts of a group.
        """
        seen = [symbols[:, group].ravel() for group in range(grid.groups)]
        usual = np.zeros(grid.groups, np.int32)
        if grid.kind not in DYADIC:
            for group, (values, counts) in enumerate(np.unique(row, return_counts=True) for row in seen):
                usual[group] = values[np.argmax(counts)]
        contexts = Contexts.of(symbols, usual, count)
        places = contexts.index(symbols)
        lengths, sizes, lows = [], [], []
        for group, whole in enumerate(seen):
            low = min(int(whole.min()), 0) if grid.kind not in DYADIC else 0
            high = max(int(whole.max()), low)
            # a step far too small: almost all symbols differ
            values = np.arange(low, high + 1) if high - low < 1 << 22 else np.unique(whole)
            at = np.searchsorted(values, whole)
            at += places[:, group].ravel().astype(np.int64) * len(values)
            counted = np.bincount(at, minlength=count * len(values)).reshape(count, -1)
            shared = counted.sum(0) * (_SHARED / len(whole)) if count > 1 else 0.0
            for counts in counted:
                _, first, weights = _cheapest(grid, values, counts + shared, smoothing, entry_bits)
                lengths.append(lengths_of(weights))
                sizes.append(len(weights))
                lows.append(first)
        sizes_, lows_ = np.array(sizes, np.int64), np.array(lows, np.int64)
        return cls(np.concatenate(lengths), sizes_, lows_, contexts)


def _cheapest(
    grid: PointGrid, values: Array, counts: Array, smoothing: float, entry_bits: float
) -> tuple[float, int, npt.NDArray[np.float64]]:
    """Cost, smallest symbol and weights (escape last) of the table that costs least."""
    tried = (
        _table(grid, values, counts, first, last, smoothing, entry_bits)
        for first, last in _ranges(grid, values, counts)
    )
    return min(tried, key=lambda table: table[0])


def _ranges(grid: PointGrid, values: Array, counts: Array) -> Iterator[tuple[int, int]]:
    """Which symbols a table might name: first and last."""
    if grid.kind in DYADIC:
        farthest = int(values[counts > 0].max())
        for level in range(1, grid.depth + 1):  # to name symbols beyond all that were seen only costs
            yield 0, (1 << level) - 2
            if (1 << level) - 2 >= farthest:
                return
        return
    running = np.cumsum(counts)
    for trim in _TRIMS:
        first = int(values[np.searchsorted(running, trim * running[-1], "right")])
        last = int(values[min(np.searchsorted(running, (1 - trim) * running[-1]), len(values) - 1)])
        if last - first + 2 <= LARGEST:
            yield first, last
    middle = int(values[np.searchsorted(running, running[-1] / 2)])
    yield middle, middle


@cache
def _unseen(depth: int) -> npt.NDArray[np.float64]:
    """Shares of the symbols of a dyadic grid of which nothing is known."""
    shares = 2.0 ** -level_of_symbol(depth)
    return np.asarray(shares / shares.sum())


def _table(
    grid: PointGrid, values: Array, counts: Array, first: int, last: int, smoothing: float, entry_bits: float
) -> tuple[float, int, npt.NDArray[np.float64]]:
    """Cost in bits, smallest symbol and weights (escape last) of a table that names first .. last."""
    begin, end = np.searchsorted(values, [first, last + 1])
    weights = np.zeros(last - first + 2)
    weights[values[begin:end] - first] = counts[begin:end]
    if grid.kind in DYADIC:  # half as likely with each level, as long as nothing was seen
        unseen = _unseen(grid.depth)
        weights[:-1] += smoothing * unseen[: last + 1]
        weights[-1] += smoothing * max(1 - unseen[: last + 1].sum(), 1e-3)
    else:
        weights[:-1] += smoothing / len(weights)
        weights[-1] += smoothing / len(weights)
    outside = counts[:begin].sum() + counts[end:].sum()
    weights[-1] += outside
    lengths = -np.log2(np.maximum(weights / weights.sum(), 2.0**-PRECISION))
    cost = float(lengths[values[begin:end] - first] @ counts[begin:end]) + float(outside * lengths[-1])
    for away, escaped in (
        (first - values[:begin], counts[:begin]),
        (values[end:] - last, counts[end:]),
    ):
        if len(away):
            cost += float(escaped @ (_ESCAPE_CODE + np.floor(np.log2(away))))
    return cost + len(weights) * (entry_bits + _FLOOR * float(counts.sum())), first, weights
